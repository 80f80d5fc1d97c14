"""Resizing of images as CellProfiler's Resize module does it (bilinear), as one matrix for each axis.

scikit-image's `resize`, which the module calls, first blurs with a Gaussian of (factor - 1) / 2 pixels where it shrinks
and then interpolates linearly, with edges reflected. Both steps are linear and separable, so that two matrix products
do them, and resizing a mean of images equals the mean of resized images.
"""

import functools

import numpy as np


def smaller_shape(shape, downsample):
    """Shape after division by `downsample`, rounded half to even as CellProfiler does, at least one pixel."""
    return tuple(max(1, int(np.round(length / downsample))) for length in shape)


def resize(image, shape):
    """Image resized to `shape` (height, width) as float64; linear in `image`."""
    if image.shape == tuple(shape):
        return np.asarray(image, np.float64)
    rows, columns = (_axis_matrix(old, new) for old, new in zip(image.shape, shape, strict=True))
    return np.ascontiguousarray(_banded_product(columns, _banded_product(rows, image).T).T)


def _banded_product(matrix, image, block=32):
    """matrix @ image where each row of `matrix` is zero but near its diagonal: in blocks that leave the zeros out."""
    product = np.empty((matrix.shape[0], image.shape[1]))
    for start in range(0, matrix.shape[0], block):
        part = matrix[start : start + block]
        used = np.flatnonzero(part.any(axis=0))
        band = slice(used[0], used[-1] + 1)
        np.matmul(part[:, band], image[band], out=product[start : start + block])
    return product


@functools.cache
def _axis_matrix(old, new):
    """(new, old) matrix that resamples an axis of `old` pixels to `new` pixels."""
    factor = old / new
    centres = np.clip((np.arange(new) + 0.5) * factor - 0.5, 0, old - 1)
    left = np.floor(centres).astype(int)
    right_weight = centres - left
    rows = np.arange(new)
    matrix = np.zeros((new, old))
    for offset, weight in zip(*_gaussian_taps(max(0.0, (factor - 1) / 2)), strict=True):
        np.add.at(matrix, (rows, _reflect(left + offset, old)), weight * (1 - right_weight))
        np.add.at(matrix, (rows, _reflect(np.minimum(left + 1, old - 1) + offset, old)), weight * right_weight)
    return matrix


def _gaussian_taps(sigma):
    """Offsets and weights of a Gaussian that ends at 4 sigma; a single tap when sigma is 0."""
    offsets = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma else np.ones(1)
    return offsets, weights / weights.sum()


def _reflect(positions, length):
    """Positions beyond an edge mirrored at it, the edge pixel repeated: d c b a | a b c d | d c b a."""
    positions = positions % (2 * length)
    return np.where(positions < length, positions, 2 * length - 1 - positions)
