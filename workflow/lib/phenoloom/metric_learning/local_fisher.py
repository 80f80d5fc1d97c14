"""Local Fisher discriminant analysis: between-class scatter over within-class scatter, both weighted by locality.

Source: Sugiyama 2007, Journal of Machine Learning Research 8:1027-1061; local scales after Zelnik-Manor and Perona
2004. Written from the publication: metric-learn 0.7.0 takes the local scale from the wrong axis, lets a small class
lower the number of neighbours of those that follow, adds the within-class scatter where the publication subtracts it,
and starts from an unseeded random vector.
"""

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from phenoloom.metric_learning.objectives import limited_threads

#: Directions with less than this share of the largest standard deviation are rounding: collinear features.
RANK = 1e-6


def affinities(values, neighbours):
    """Affinity (n, n) of the cells of one class: exp(-d^2 / (s_i s_j)), s the distance to the k-th neighbour.

    A class of at most `neighbours` cells takes its furthest cell; a cell with k repeats of itself the nearest cell that
    differs. Without any, the affinity is zero.
    """
    distances = cdist(values, values, "sqeuclidean")
    kth = min(neighbours, len(values) - 1)
    scale = np.partition(distances, kth, axis=1)[:, kth]
    other = np.where(distances > 0, distances, np.inf).min(axis=1)
    scale = np.sqrt(np.where((scale == 0) & np.isfinite(other), other, scale))
    product = np.outer(scale, scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(product > 0, np.exp(-distances / product), 0.0)


def scatters(values, codes, neighbours):
    """(between, within): the local scatter matrices (d, d).

    Each is half the sum over pairs of weight x (difference)(difference)^T. Weights of a pair within a class of m of n
    cells with affinity A: A (1/n - 1/m) between, A/m within; of a pair across classes: 1/n between, 0 within.
    """
    values = values - values.mean(axis=0)
    n, width = values.shape
    mixture, within = np.zeros((width, width)), np.zeros((width, width))
    for code in np.unique(codes):
        inside = values[codes == code]
        size, total = len(inside), inside.sum(axis=0)
        affinity = affinities(inside, neighbours)
        local = inside.T @ (affinity.sum(axis=1)[:, None] * inside) - inside.T @ affinity @ inside
        mixture += local / n + (1 - size / n) * inside.T @ inside + np.outer(total, total) / n
        within += local / size
    between = mixture - within
    return (between + between.T) / 2, (within + within.T) / 2


def fit_local_fisher(values, codes, n_out, neighbours=7, threads=1):
    """(components (n, d), facts) of the n_out directions, or fewer, with most local between-class scatter.

    values: (n, d) finite. codes: (n,) integer classes. The weighted embedding of the publication: directions of unit
    within-class scatter, times the square root of their eigenvalue. Features are rotated onto their principal axes
    first and axes without variance left out, since collinear features make the problem singular.
    """
    with limited_threads(threads):
        _, strength, axes = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
        axes = axes[strength > RANK * strength[0]]
        between, within = scatters(values @ axes.T, codes, neighbours)
        within[np.diag_indices_from(within)] += RANK**2 * np.trace(between + within)
        eigenvalues, vectors = eigh(between, within)
    order = np.argsort(-eigenvalues, kind="stable")[:n_out]
    eigenvalues, vectors = eigenvalues[order].clip(min=0), vectors[:, order]
    components = (vectors * np.sqrt(eigenvalues)).T @ axes
    return with_fixed_signs(components), {"eigenvalues": eigenvalues, "rank": len(axes)}


def with_fixed_signs(components):
    """Components with the largest entry of each row positive: eigenvectors have no sign of their own."""
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return components * np.where(signs == 0, 1, signs)[:, None]
