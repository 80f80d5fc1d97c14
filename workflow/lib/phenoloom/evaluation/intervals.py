"""How sure a figure is: bootstrap over units or clusters of units, exact binomial intervals, permutation p-values."""

import numpy as np
from scipy import stats


def bootstrap_mean(values, clusters=None, n_bootstrap=1000, confidence=0.95, seed=0):
    """Percentile interval (low, high) of the mean, resampling clusters of units with replacement.

    values: (n,) finite floats. clusters: (n,) any labels; units of one cluster (the doses of one compound) are not
    independent and are drawn together. None: every unit is its own cluster. (NaN, NaN) for less than two clusters.
    """
    values = np.asarray(values, dtype=float)
    keys = (
        np.arange(len(values))
        if clusters is None
        else np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    )
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


def _groups(keys):
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)
