"""Classification of treatments by their nearest neighbour: not-same-compound (NSC) and also not-same-batch (NSCB)."""

import numpy as np
import pandas as pd

from phenoloom.core.words import count
from phenoloom.evaluation.intervals import bootstrap_mean, permutation_pvalue, shuffled_rows
from phenoloom.evaluation.results import Result, row
from phenoloom.evaluation.similarity import between, blocks, prepared
from phenoloom.evaluation.units import is_control, members, text, units


def nearest_neighbours(values, excluded, distance="cosine"):
    """Index of the most similar allowed row of each row (-1: none is allowed), and that similarity (NaN).

    values: (n, d) finite floats. excluded: list of (n, L) bool memberships; rows that share a member in any of them
    (the same compound; the same batch) are no neighbours, nor is the row itself. Ties go to the first row.
    Raises ValueError when a profile holds NaN.
    """
    vectors = prepared(values, distance)
    nearest = np.full(len(vectors), -1)
    best = np.full(len(vectors), np.nan)
    for rows in blocks(len(vectors), len(vectors)):
        similarities = between(vectors, rows, slice(None), distance).copy()
        inside = np.arange(rows.start, rows.stop)
        similarities[np.arange(len(inside)), inside] = -np.inf
        for membership in excluded:
            shared = membership[rows].astype(np.float32) @ membership.T.astype(np.float32)
            similarities[shared > 0] = -np.inf
        nearest[rows] = similarities.argmax(axis=1)
        best[rows] = similarities.max(axis=1)
    nearest[np.isneginf(best)] = -1
    best[nearest < 0] = np.nan
    return nearest, best


def nsc(
    table,
    label="MoA",
    compound="Perturbation",
    unit="Treatment",
    samples="",
    distance="cosine",
    permutations=1000,
    bootstrap=1000,
    seed=0,
):
    """Not-same-compound accuracy: predict each treatment's label as its nearest neighbour's of another compound.

    Treatments without a label and negative controls are left out; so are those whose label has one compound only, which
    no neighbour could name (they stay as neighbours of others). Interval: bootstrap of compounds. Chance: labels
    shuffled among compounds. Returns a Result; its details name every neighbour.
    Source: Ljosa et al. 2013, doi:10.1177/1087057113503553.
    """
    return _classify(table, label, compound, "", unit, samples, distance, permutations, bootstrap, seed)


def nscb(
    table,
    label="MoA",
    compound="Perturbation",
    batch="Batch",
    unit="Treatment",
    samples="",
    distance="cosine",
    permutations=1000,
    bootstrap=1000,
    seed=0,
):
    """Not-same-compound-and-batch accuracy: as nsc, and neighbours of the same batch are excluded too.

    A neighbour of the same compound or of the same batch is excluded. A treatment that spans batches ('0001|0002')
    shares a batch with every treatment that has any of them. Labels that exist in one batch only are left out (they
    stay as neighbours of others). Returns a Result.
    Source: Ando et al. 2017, doi:10.1101/161422.
    """
    return _classify(table, label, compound, batch, unit, samples, distance, permutations, bootstrap, seed)


def _classify(table, label, compound, batch, unit, samples, distance, permutations, bootstrap, seed):
    chosen = units(table, samples, distance)
    labels = text(chosen.table, label)
    labelled = (labels != "") & ~is_control(chosen.table)
    kept = chosen.table[labelled].reset_index(drop=True)
    compounds = text(kept, compound)
    labels = labels[labelled]
    of_compound = members(compounds, None)[0]
    excluded = [of_compound]
    if batch:
        batches = members(text(kept, batch))[0]
        excluded.append(batches)
    if len(kept):
        nearest, best = nearest_neighbours(chosen.values_of(labelled), excluded, chosen.distance)
    else:
        nearest, best = np.empty(0, dtype=int), np.empty(0)
    membership, _ = members(labels)
    unanswerable = np.full(len(kept), "", dtype=object)
    unanswerable[nearest < 0] = "every other treatment is excluded as a neighbour"
    if batch:
        unanswerable[_confined(membership, batches)] = "its label exists in one batch only"
    unanswerable[_confined(membership, of_compound)] = "its label has one compound only"
    asked = unanswerable == ""
    hits = (membership & membership[nearest]).any(axis=1) & asked

    names = text(kept, unit)
    found = nearest >= 0
    details = pd.DataFrame({"unit": names, "label": labels, "compound": compounds})
    if batch:
        details["batch"] = text(kept, batch)
    for name in ("Metadata_Plate", "Metadata_Well", "Metadata_Perturbation", "Metadata_Concentration", "Metadata_Unit"):
        if name in kept:
            details[name] = kept[name]
    for column, source in (("neighbour", names), ("neighbour_label", labels), ("neighbour_compound", compounds)):
        details[column] = np.where(found, source[nearest], "") if len(kept) else source
    details["similarity"] = best
    details["evaluated"] = asked
    details["hit"] = hits
    details["note"] = unanswerable
    lost = chosen.left_out
    if len(lost):
        more = pd.DataFrame({"unit": text(lost, unit), "label": text(lost, label), "note": lost["note"]})
        more = more[(more["label"] != "") & ~is_control(lost)].assign(evaluated=False, hit=False)
        details = pd.concat([details, more], ignore_index=True) if len(more) else details

    null = _shuffled_accuracies(membership, nearest, asked, compounds, permutations, seed)
    n = int(asked.sum())
    accuracy = hits.sum() / n if n else np.nan
    low, high = bootstrap_mean(hits[asked], compounds[asked], bootstrap, seed=seed)
    notes = [f"{int(hits.sum())} of {n}", *chosen.notes]
    if not labelled.all():
        notes.append(f"{count(int((~labelled).sum()), 'profile')} without a label or controls left out")
    reasons = pd.Series(unanswerable[~asked]).value_counts()
    notes.extend(f"{number:,} left out: {reason}" for reason, number in reasons.sort_index().items())
    summary = [
        row(
            "accuracy",
            accuracy,
            n,
            low,
            high,
            np.mean(null) if len(null) else np.nan,
            permutation_pvalue(accuracy, null),
            notes,
        )
    ]
    return Result(details, summary, chosen.left_out)


def _confined(membership, places):
    """Rows all of whose labels lie in one place (compound, batch) only."""
    reach = (membership.T.astype(np.int32) @ places.astype(np.int32) > 0).sum(axis=1)
    return ~(membership & (reach > 1)[None, :]).any(axis=1)


def _shuffled_accuracies(membership, nearest, asked, compounds, permutations, seed):
    """Accuracies after moving whole compounds' labels to other compounds; the neighbours stay."""
    if not asked.any():
        return np.empty(0)
    rng = np.random.default_rng(seed)
    clusters = pd.factorize(compounds)[0]
    strata = np.zeros(len(clusters), dtype=int)
    accuracies = []
    for _ in range(permutations):
        moved = membership[shuffled_rows(clusters, strata, rng)]
        accuracies.append((moved & moved[nearest]).any(axis=1)[asked].mean())
    return np.array(accuracies)


def confusion(details):
    """Confusion matrix of the details of nsc or nscb: labels in rows, their neighbours' labels in columns, counts.

    Only evaluated rows count; both axes hold the same labels in order.
    """
    rows = details[details["evaluated"].astype(bool)]
    names = sorted(set(rows["label"]) | set(rows["neighbour_label"]))
    return pd.crosstab(rows["label"], rows["neighbour_label"]).reindex(index=names, columns=names, fill_value=0)
