"""Principal components of training cells as plain arrays."""

import numpy as np
from sklearn.decomposition import PCA

#: Components with less than this share of the first one's variance are rounding and left out.
ROUNDING = 1e-10


def fit_pca(values, n, whiten):
    """(centre (d,), components (k, d), explained (k,)): the projection (x - centre) @ components.T.

    values: (cells, d) finite. n: number of components, or a share of the variance below 1. k may be smaller than n
    where there are fewer cells, features or directions with variance. whiten: unit variance of every component.
    explained: share of the variance of each component.
    """
    number = min(n, *values.shape) if n >= 1 else n
    tall = len(values) >= 10 * values.shape[1]
    fitted = PCA(number, svd_solver="covariance_eigh" if tall else "full").fit(values)
    variance = fitted.explained_variance_
    kept = variance > ROUNDING * variance.max(initial=0)
    components = fitted.components_[kept]
    if whiten:
        components = components / np.sqrt(variance[kept])[:, None]
    return fitted.mean_, components, fitted.explained_variance_ratio_[kept]
