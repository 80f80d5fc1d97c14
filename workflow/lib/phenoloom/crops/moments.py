"""Moments up to order three of many images at once, and what follows from them."""

from math import comb

import numpy as np

ORDER = 4


def raw_moments(weights, rows, columns):
    """(n, 4, 4) float64 sums of weights (n, H, W) times row**p times column**q.

    rows (H,), columns (W,): coordinates; near the middle of the canvas they lose the least precision.
    """
    powers = np.arange(ORDER)
    down = np.asarray(rows, float)[:, None] ** powers
    across = np.asarray(columns, float)[:, None] ** powers
    return np.matmul(down.T, np.matmul(weights.astype(float), across))


def central_moments(raw):
    """(moments about the centroid (n, 4, 4), centroid (n, 2)); NaN where the weights sum to 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        centroid = np.stack([raw[:, 1, 0], raw[:, 0, 1]], axis=1) / raw[:, 0, 0, None]
    row, column = (_shift(-coordinate) for coordinate in centroid.T)
    return row @ raw @ column.transpose(0, 2, 1), centroid


def _shift(distance):
    """(n, 4, 4) binomial matrices that move moments by `distance` (n,)."""
    matrix = np.zeros((len(distance), ORDER, ORDER))
    for p in range(ORDER):
        for k in range(p + 1):
            matrix[:, p, k] = comb(p, k) * distance ** (p - k)
    return matrix


def principal_variances(central):
    """(n, 2): variance along the major and the minor axis."""
    with np.errstate(invalid="ignore", divide="ignore"):
        row, column, both = (central[:, p, q] / central[:, 0, 0] for p, q in ((2, 0), (0, 2), (1, 1)))
    half = np.hypot((row - column) / 2, both)
    middle = (row + column) / 2
    return np.stack([middle + half, np.maximum(middle - half, 0)], axis=1)


def hu_moments(central):
    """(n, 7) moments that neither shift, size nor rotation changes. Source: Hu 1962, doi:10.1109/TIT.1962.1057692."""
    order = np.add.outer(np.arange(ORDER), np.arange(ORDER))
    with np.errstate(invalid="ignore", divide="ignore"):
        eta = central / central[:, :1, :1] ** (1 + order / 2)
    n20, n02, n11 = eta[:, 2, 0], eta[:, 0, 2], eta[:, 1, 1]
    n30, n03, n21, n12 = eta[:, 3, 0], eta[:, 0, 3], eta[:, 2, 1], eta[:, 1, 2]
    a, b = n30 + n12, n21 + n03
    c, d = n30 - 3 * n12, 3 * n21 - n03
    e, f = a**2 - 3 * b**2, 3 * a**2 - b**2
    return np.stack(
        [
            n20 + n02,
            (n20 - n02) ** 2 + 4 * n11**2,
            c**2 + d**2,
            a**2 + b**2,
            c * a * e + d * b * f,
            (n20 - n02) * (a**2 - b**2) + 4 * n11 * a * b,
            d * a * e - c * b * f,
        ],
        axis=1,
    )
