"""Percent replicating and percent matching: median similarity within a group against random groups of its shape."""

import numpy as np
import pandas as pd

from phenoloom.evaluation.intervals import exact_share, permutation_pvalue
from phenoloom.evaluation.results import Result, describe, row, with_left_out
from phenoloom.evaluation.similarity import between, prepared
from phenoloom.evaluation.units import SEPARATOR, is_control, members, text, units


def percent_replicating(
    table,
    positives="Treatment",
    samples="",
    distance="correlation",
    null_size=1000,
    percentile=95,
    permutations=20,
    seed=0,
):
    """Share of treatments whose replicates are more alike than random groups of different treatments.

    Statistic: median pairwise similarity of a treatment's profiles. Null: `null_size` groups of the same number of
    profiles, each of another treatment, negative controls left out; a treatment replicates above the null's
    `percentile`.
    Returns a Result. Source: Way et al. 2022, doi:10.1016/j.cels.2022.10.001.
    """
    chosen = units(table, samples, distance)
    labels = np.where(is_control(chosen.table), "", text(chosen.table, positives))
    own = np.arange(len(labels))
    return _percent(chosen, positives, labels, own, labels, "replicating", null_size, percentile, permutations, seed)


def percent_matching(
    table,
    label="MoA",
    compound="Perturbation",
    samples="",
    distance="correlation",
    null_size=1000,
    percentile=95,
    permutations=20,
    seed=0,
):
    """Share of labels whose compounds are more alike than random groups of compounds of different labels.

    Statistic: median similarity of the pairs of profiles of one label and different compounds. Null: `null_size` groups
    of as many compounds, no two of which share a label, with as many profiles of each as the label has (fewer where a
    compound has fewer). Returns a Result. Source: Way et al. 2022, doi:10.1016/j.cels.2022.10.001.
    """
    chosen = units(table, samples, distance)
    labels = np.where(is_control(chosen.table), "", text(chosen.table, label))
    compounds = text(chosen.table, compound)
    own = pd.factorize(np.where(compounds == "", np.arange(len(labels)).astype(str), compounds))[0]
    return _percent(chosen, label, labels, own, None, "matching", null_size, percentile, permutations, seed)


def _percent(chosen, column, labels, clusters, describing, what, null_size, percentile, permutations, seed):
    membership, names = members(labels, SEPARATOR if what == "matching" else None)
    distance = chosen.distance
    vectors = prepared(chosen.values, distance)
    pool = _Pool(membership, clusters)
    nulls = {}
    rows = []
    for place, name in enumerate(names):
        inside = np.flatnonzero(membership[:, place])
        shape = _shape(clusters[inside])
        found = {"unit": name, "n_profiles": len(inside), "n_groups": len(shape)}
        if len(shape) < 2:
            rows.append({**found, "note": "fewer than two profiles or compounds to compare"})
            continue
        if shape not in nulls:
            rng = np.random.default_rng([seed, *shape])
            groups = [pool.draw(shape, rng) for _ in range(null_size)]
            nulls[shape] = np.array([median_similarity(vectors, *group, distance) for group in groups if group])
        if not len(nulls[shape]):
            rows.append({**found, "note": "too few other labels for a random group of its shape"})
            continue
        value = median_similarity(vectors, inside, clusters[inside], distance)
        limit = np.percentile(nulls[shape], percentile)
        pvalue = permutation_pvalue(value, nulls[shape])
        rows.append({**found, "median_similarity": value, "threshold": limit, "pvalue": pvalue, "note": ""})
    columns = ["unit", "n_profiles", "n_groups", "median_similarity", "threshold", "pvalue", "note"]
    details = pd.DataFrame(rows, columns=columns)
    tested = details["median_similarity"].notna()
    details[what] = tested & (details["median_similarity"] > details["threshold"])
    if describing is not None:
        describe(details, chosen.table, describing)
    limits = {shape: np.percentile(null, percentile) for shape, null in nulls.items() if len(null)}
    null = _shuffled_shares(vectors, membership, clusters, limits, distance, permutations, seed)
    details = with_left_out(details, chosen, column)
    details[what] = details[what].eq(True)
    n, hits = int(tested.sum()), int(details[what].sum())
    share = hits / n if n else np.nan
    missing = len(details) - n
    notes = [f"threshold: {percentile:g}th percentile of {null_size} random groups of the same shape", *chosen.notes]
    if missing:
        notes.append(f"{missing} of {len(details)} units without a value, listed in the details")
    summary = [
        row(
            f"share {what}",
            share,
            n,
            *exact_share(hits, n),
            null=np.mean(null) if len(null) else np.nan,
            pvalue=permutation_pvalue(share, null),
            note=notes,
        )
    ]
    return Result(details, summary, chosen.left_out)


def median_similarity(vectors, rows, clusters, distance):
    """Median similarity of the pairs of `rows` whose clusters differ. vectors: prepared (n, d)."""
    pairs = between(vectors, rows, rows, distance)
    first, second = np.triu_indices(len(rows), 1)
    apart = clusters[first] != clusters[second]
    return float(np.median(pairs[first[apart], second[apart]]))


def _shape(clusters):
    """Sizes of the clusters in a group, descending: what a random group has to resemble."""
    return tuple(int(size) for size in np.sort(np.unique(clusters, return_counts=True)[1])[::-1])


class _Pool:
    """Clusters of labelled profiles, from which random groups without a common label are drawn."""

    def __init__(self, membership, clusters):
        labelled = np.flatnonzero(membership.any(axis=1))
        order = labelled[np.argsort(clusters[labelled], kind="stable")]
        cuts = np.flatnonzero(np.diff(clusters[order])) + 1
        self.rows = [part for part in np.split(order, cuts) if len(part)]
        self.labels = [membership[part].any(axis=0) for part in self.rows]

    def draw(self, shape, rng):
        """(rows, clusters) of one random group with len(shape) clusters, or None when there are too few labels."""
        taken = np.zeros_like(self.labels[0])
        rows, clusters = [], []
        for candidate in rng.permutation(len(self.rows)):
            if (taken & self.labels[candidate]).any():
                continue
            taken |= self.labels[candidate]
            size = min(shape[len(rows)], len(self.rows[candidate]))
            rows.append(rng.choice(self.rows[candidate], size, replace=False))
            clusters.append(np.full(size, candidate))
            if len(rows) == len(shape):
                return np.concatenate(rows), np.concatenate(clusters)
        return None


def _shuffled_shares(vectors, membership, clusters, limits, distance, permutations, seed):
    """Share above the threshold when labels are dealt out anew among the clusters, `permutations` times."""
    rng = np.random.default_rng(seed)
    pool = _Pool(membership, clusters) if membership.any() else None
    sizes = [len(np.unique(clusters[membership[:, place]])) for place in range(membership.shape[1])]
    shares = []
    for _ in range(permutations if pool else 0):
        order = rng.permutation(len(pool.rows))
        results, start = [], 0
        for size in sizes:
            group = [pool.rows[item] for item in np.resize(np.roll(order, -start), size)]
            start += size
            keys = np.repeat(np.arange(size), [len(part) for part in group])
            shape = tuple(sorted((len(part) for part in group), reverse=True))
            limit = limits.get(shape, next((limits[key] for key in limits if len(key) == size), None))
            if size < 2 or limit is None:
                continue
            results.append(median_similarity(vectors, np.concatenate(group), keys, distance) > limit)
        if results:
            shares.append(np.mean(results))
    return np.array(shares)
