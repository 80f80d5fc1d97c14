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
    return _axis_matrix(image.shape[0], shape[0]) @ image @ _axis_matrix(image.shape[1], shape[1]).T


@functools.cache
def _axis_matrix(old, new):
    """(new, old) matrix that resamples an axis of `old` pixels to `new` pixels."""
    factor = old / new
    centres = np.clip((np.arange(new) + 0.5) * factor - 0.5, 0, old - 1)
    left = np.minimum(np.floor(centres).astype(int), max(old - 2, 0))
    weight = centres - left
    matrix = np.zeros((new, old))
    rows = np.arange(new)
    matrix[rows, left] += 1 - weight
    matrix[rows, np.minimum(left + 1, old - 1)] += weight
    return matrix @ _gaussian_matrix(old, (factor - 1) / 2) if factor > 1 else matrix


def _gaussian_matrix(length, sigma):
    """(length, length) matrix of a Gaussian filter that ends at 4 sigma, edges reflected (d c b a | a b c d | d c b a)."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    matrix = np.zeros((length, length))
    rows = np.arange(length)
    for offset, weight in zip(offsets, kernel, strict=True):
        columns = (rows + offset) % (2 * length)
        np.add.at(matrix, (rows, np.where(columns < length, columns, 2 * length - 1 - columns)), weight)
    return matrix
