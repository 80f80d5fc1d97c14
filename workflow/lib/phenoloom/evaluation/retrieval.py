"""Mean average precision of replicates and of mechanisms, and activity against negative controls."""

import numpy as np
import pandas as pd

from phenoloom.core.tables import METADATA
from phenoloom.evaluation.average_precision import Pairing, average_precisions, mean_by, significance
from phenoloom.evaluation.intervals import bootstrap_mean, exact_share, permutation_pvalue, shuffled_rows
from phenoloom.evaluation.results import Result, describe, row, with_left_out
from phenoloom.evaluation.units import SEPARATOR, codes, is_control, members, text, units


def mean_average_precision(
    table,
    positives="Treatment",
    pos_sameby=(),
    pos_diffby=(),
    negatives="others",
    neg_sameby=(),
    neg_diffby=(),
    compound="Perturbation",
    per="",
    samples="",
    distance="cosine",
    null_size=10000,
    threshold=0.05,
    permutations=100,
    permute_within=(),
    bootstrap=1000,
    seed=0,
):
    """How well each profile retrieves those of its own label: mean average precision per label.

    table: DataFrame of profiles with Metadata_* columns. positives: the column whose label positives share; 'a|b' is
    two labels. pos_sameby, pos_diffby: columns that positives must share, must differ in, besides; neg_sameby,
    neg_diffby: the same for negatives. negatives: `others` (other labelled profiles), `controls` (negative controls) or
    `all` (both). compound: pairs of one compound never are negatives, and are positives only when `positives` is
    the compound column, Perturbation or Treatment; empty: no such rule. per: column over which average precisions are
    averaged instead of the label.
    Negative controls and profiles without a label ask nothing and are nobody's positives. Shuffled labels: replicates
    are shuffled among profiles (with the role as a control where controls are negatives), mechanisms among compounds.
    Returns a Result. Raises InputError for missing columns.
    """
    chosen = units(table, samples, distance)
    control = is_control(chosen.table)
    labels = text(chosen.table, positives)
    replicates = positives.removeprefix(METADATA) in ("Treatment", "Perturbation", compound.removeprefix(METADATA))
    membership, names = members(np.where(control, "", labels), None if replicates else SEPARATOR)
    labelled = membership.any(axis=1)
    compounds = _compounds(chosen.table, compound)
    pairing = Pairing(
        labels=membership,
        query=labelled,
        negative={"others": labelled, "controls": control, "all": labelled | control}[negatives],
        compound=compounds,
        positives_within_compound=replicates,
        positive_same=codes(chosen.table, pos_sameby),
        negative_same=codes(chosen.table, neg_sameby),
        positive_different=tuple(codes(chosen.table, [name]) for name in pos_diffby),
        negative_different=tuple(codes(chosen.table, [name]) for name in neg_diffby),
    )
    rng = np.random.default_rng(seed)
    moving = labelled if negatives == "others" or not replicates else labelled | control
    clusters = np.arange(len(chosen)) if replicates else _own_where_none(compounds)
    strata = codes(chosen.table, permute_within)
    shuffles = [_shuffle(moving, clusters, strata, rng) for _ in range(permutations)]

    of_rows = text(chosen.table, per) if per else None
    scores, *null_scores = (
        _with_unit(frame, names, of_rows)
        for frame in average_precisions(chosen.values, pairing, chosen.distance, shuffles)
    )
    tested = significance(scores, "unit", null_size, seed)
    tested["significant"] = tested["qvalue"] < threshold
    details = _details(scores, tested)
    unit_of_row = of_rows if per else np.where(membership.sum(axis=1) == 1, labels, "").astype(object)
    describe(details, chosen.table, np.where(labelled, unit_of_row, ""))
    details = with_left_out(details, chosen, per or positives)
    details["significant"] = details["significant"].eq(True)

    null_means = [mean_by(frame, "unit")["value"].mean() for frame in null_scores]
    null_share = np.nan
    if null_scores:
        null_share = (significance(null_scores[0], "unit", null_size, seed)["qvalue"] < threshold).mean()
    together = _clusters_of(tested.index, unit_of_row, compounds)
    low, high = bootstrap_mean(tested["value"], together, bootstrap, seed=seed)
    missing = len(details) - len(tested)
    notes = [
        *chosen.notes,
        *([f"{missing} of {len(details)} units without a value, listed in the details"] if missing else []),
    ]
    if not len(tested):
        notes.append(_why_nothing(labelled, pairing.negative, negatives))
    n_significant = int(tested["significant"].sum())
    observed = tested["value"].mean()
    summary = [
        row(
            "mean average precision",
            observed,
            len(tested),
            low,
            high,
            np.mean(null_means) if null_means else np.nan,
            permutation_pvalue(observed, null_means),
            [f"null: mean of {permutations} shuffles of the labels", *notes],
        ),
        row(
            f"share with q < {threshold:g}",
            n_significant / len(tested) if len(tested) else np.nan,
            len(tested),
            *exact_share(n_significant, len(tested)),
            null=null_share,
            note=["null: one shuffle of the labels", *notes],
        ),
    ]
    return Result(details.sort_values("unit", kind="stable").reset_index(drop=True), summary, chosen.left_out)


def _compounds(table, compound):
    """Code of each profile's compound, -1 where there is none."""
    if not compound:
        return np.full(len(table), -1, dtype=np.int32)
    names = text(table, compound)
    return np.where(names == "", -1, pd.factorize(names)[0]).astype(np.int32)


def _own_where_none(compounds):
    """Cluster codes: the compound, or a cluster of its own for a profile without one."""
    free = compounds.max(initial=0) + 1 + np.arange(len(compounds))
    return np.where(compounds < 0, free, compounds)


def _shuffle(moving, clusters, strata, rng):
    rows = np.arange(len(moving))
    inside = np.flatnonzero(moving)
    rows[inside] = inside[shuffled_rows(clusters[inside], strata[inside], rng)]
    return rows


def _with_unit(frame, names, of_rows):
    unit = np.asarray(names, dtype=object)[frame["label"]] if of_rows is None else of_rows[frame["row"]]
    return frame.assign(unit=unit)


def _details(scores, tested):
    grouped = scores.groupby("unit")
    details = pd.DataFrame({"unit": sorted(grouped.groups)})
    details["n_profiles"] = details["unit"].map(grouped["row"].nunique())
    details["n_queries"] = details["unit"].map(tested["n_queries"]).fillna(0).astype(int)
    details["mean_average_precision"] = details["unit"].map(tested["value"])
    details["mean_normalized_average_precision"] = details["unit"].map(tested["normalized"])
    for name in ("pvalue", "qvalue", "significant"):
        details[name] = details["unit"].map(tested[name])
    no_positive = details["unit"].map(grouped["n_pos_pairs"].max()) == 0
    reason = np.where(
        no_positive, "no positive: too few profiles that the rule pairs", "no negative that the rule pairs"
    )
    details["note"] = np.where(details["n_queries"] == 0, reason, "")
    return details


def _clusters_of(index, unit_of_row, compounds):
    """Compound of each unit of the index, so that the doses of one compound are resampled together."""
    first = dict(zip(unit_of_row[::-1], compounds[::-1], strict=True))
    found = [first.get(unit, -1) for unit in index]
    return [unit if code < 0 else str(code) for unit, code in zip(index, found, strict=True)]


def _why_nothing(query, negative, negatives):
    if not query.any():
        return "no profile has a label"
    if not negative.any():
        return "no negative control" if negatives == "controls" else "no negative"
    return "no profile has both a positive and a negative"


def activity(
    table,
    method="average_precision",
    treatment="Treatment",
    neg_sameby=("Plate",),
    samples="",
    distance="cosine",
    null_size=10000,
    threshold=0.05,
    permutations=20,
    bootstrap=1000,
    seed=0,
):
    """Which treatments differ from the negative controls, at a false discovery rate of `threshold`.

    method `average_precision`: replicates retrieved against the negative controls that agree in `neg_sameby` (copairs'
    activity; cautious, and blind where a query has few controls). `energy`: energy distance between the treatment's
    profiles and the controls, tested exactly by exchanging them within the groups of `neg_sameby`. Needs a table of
    wells: a treatment's only profile has no replicate.
    Returns a Result whose details have the column `active`.
    """
    if method == "energy":
        from phenoloom.evaluation.energy import activity_by_energy

        return activity_by_energy(table, treatment, neg_sameby, samples, distance, null_size, threshold, seed)
    result = mean_average_precision(
        table,
        positives=treatment,
        negatives="controls",
        neg_sameby=neg_sameby,
        compound="",
        samples=samples,
        distance=distance,
        null_size=null_size,
        threshold=threshold,
        permutations=permutations,
        permute_within=neg_sameby,
        bootstrap=bootstrap,
        seed=seed,
    )
    details = result.details.rename(columns={"significant": "active"})
    precision, share = result.summary
    return Result(details, [{**share, "label": "share active"}, precision], result.left_out)
