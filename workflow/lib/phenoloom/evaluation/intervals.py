"""How sure a figure is: bootstrap over units or clusters of units, exact binomial intervals, permutation p-values."""

import numpy as np
from scipy import stats


def bootstrap_mean(values, clusters=None, n_bootstrap=1000, confidence=0.95, seed=0):
    """Percentile interval (low, high) of the mean, resampling clusters of units with replacement.

    values: (n,) finite floats. clusters: (n,) any labels; units of one cluster (the doses of one compound) are not
    independent and are drawn together. None: every unit is its own cluster. (NaN, NaN) for less than two clusters.
    """
    values = np.asarray(values, dtype=float)
    keys = np.arange(len(values)) if clusters is None else _codes(clusters)
    n_clusters = int(keys.max()) + 1 if len(values) else 0
    if n_clusters < 2:
        return np.nan, np.nan
    totals = np.bincount(keys, weights=values, minlength=n_clusters)
    counts = np.bincount(keys, minlength=n_clusters)
    drawn = np.random.default_rng(seed).integers(0, n_clusters, size=(n_bootstrap, n_clusters))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def mean_of_groups(values, groups):
    """Mean over the groups of the means of their values, as a balanced accuracy is; groups: (n,) any labels."""
    return _weighted(np.asarray(values, dtype=float), _codes(groups), np.ones(len(values))) if len(values) else np.nan


def _weighted(values, codes, weights):
    """mean_of_groups with integer codes and weights; a group without weight does not count."""
    counts, totals = np.bincount(codes, weights), np.bincount(codes, values * weights)
    return float((totals[counts > 0] / counts[counts > 0]).mean())


def bootstrap_difference_of_groups(first, second, clusters, n_bootstrap=1000, confidence=0.95, seed=0):
    """Percentile interval (low, high) of mean_of_groups(*first) - mean_of_groups(*second) of the same units.

    first, second: (values (n,), groups (n,)). clusters: (n,) any labels, resampled as in bootstrap_mean.
    """
    keys = _codes(clusters)
    n_clusters = keys.max(initial=-1) + 1
    if n_clusters < 2:
        return np.nan, np.nan
    ours, theirs = ((np.asarray(values, dtype=float), _codes(groups)) for values, groups in (first, second))
    random, differences = np.random.default_rng(seed), np.empty(n_bootstrap)
    for turn in range(n_bootstrap):
        weights = np.bincount(random.integers(0, n_clusters, n_clusters), minlength=n_clusters)[keys]
        differences[turn] = _weighted(*ours, weights) - _weighted(*theirs, weights)
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(low), float(high)


def exact_share(hits, n, confidence=0.95):
    """Clopper-Pearson interval (low, high) of a share of independent units; (NaN, NaN) for n = 0."""
    if n == 0:
        return np.nan, np.nan
    interval = stats.binomtest(int(hits), int(n)).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def permutation_pvalue(observed, null):
    """(1 + number of null values at least as large) / (1 + number of them); NaN without any.

    Source: Phipson and Smyth 2010, doi:10.2202/1544-6115.1585: a permutation p-value is never zero.
    """
    null = np.asarray(null, dtype=float)
    null = null[np.isfinite(null)]
    if not len(null) or not np.isfinite(observed):
        return np.nan
    return float((1 + np.sum(null >= observed - 1e-12)) / (1 + len(null)))


def adjusted(pvalues):
    """Benjamini-Hochberg adjusted p-values; NaN stays NaN and does not count as a test."""
    pvalues = np.asarray(pvalues, dtype=float)
    tested = np.isfinite(pvalues)
    result = np.full(len(pvalues), np.nan)
    if tested.any():
        result[tested] = stats.false_discovery_control(pvalues[tested])
    return result


def shuffled_rows(clusters, strata, rng):
    """Row indices (n,) that move identities between clusters: row i takes the identity of row result[i].

    Rows of one cluster stay together: they take the identities of another cluster of their stratum (cyclically, where
    the sizes differ). clusters, strata: (n,) integer codes; every row its own cluster gives a plain shuffle.
    """
    clusters, strata = np.asarray(clusters), np.asarray(strata)
    result = np.empty(len(clusters), dtype=np.int64)
    for stratum in np.unique(strata):
        inside = np.flatnonzero(strata == stratum)
        groups = _groups(clusters[inside])
        for target, source in zip(groups, rng.permutation(len(groups)), strict=True):
            result[inside[target]] = inside[np.resize(groups[source], len(target))]
    return result


def _codes(labels):
    return np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1]


def _groups(keys):
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)
