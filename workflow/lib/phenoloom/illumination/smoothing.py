"""Smoothing and rescaling of a mean image as CellProfiler's CorrectIlluminationCalculate does it."""

import warnings

import numpy as np

from phenoloom.core.errors import InputError

#: CellProfiler's median filter works on images of 16 bits.
LEVELS = 65535

#: Share of the lowest pixels that rescaling raises to one value.
FLOOR_SHARE = 0.02

#: Discs of more pixels than this take less time with histograms than with bisection.
LARGE_DISC = 1000

#: Pixels that are bisected at a time.
BLOCK_PIXELS = 2**17


def filter_width(shape, filter_by="manual", filter_size=20):
    """Width of the smoothing filter in pixels, by CellProfiler's three ways.

    manual: `filter_size` itself. object_size: `filter_size` is an object's diameter. automatic: a fortieth of the
    longer side, 30 at most. The filter's sigma is this width over 2.35.
    """
    if filter_by == "manual":
        return float(filter_size)
    if filter_by == "object_size":
        return filter_size * 2.35 / 3.5
    if filter_by == "automatic":
        return min(30.0, max(shape) / 40.0)
    raise InputError(f"filter_by is manual, object_size or automatic, not {filter_by!r}")


def smooth_median(mean, width):
    """Median in a disc around each pixel, of the image cut to 16 bits; float64, in units of the input.

    The disc's radius is width / 2.35, rounded, at least 1; pixels outside the image do not count; of an even number
    the upper middle counts. Cutting to whole levels is CellProfiler's and kept, so that results agree. An image
    that exceeds 1 (float images only) is first divided by its maximum.
    """
    scale = max(1.0, float(mean.max(initial=0.0)))
    # CellProfiler holds images in 32 bits: so do we, for the same side of a level
    levels = np.clip((mean / scale).astype(np.float32) * np.float32(LEVELS), 0, LEVELS).astype(np.uint16)
    return disc_median(levels, max(1, int(width / 2.35 + 0.5))) / LEVELS * scale


def disc_median(levels, radius):
    """Median of a uint16 image in discs of `radius` pixels (x*x + y*y <= radius*radius), uint16.

    Pixels outside the image do not count; of an even number the upper middle is taken. Small discs are solved by
    bisection (several times faster than scikit-image's rank filter, which solves large ones), with the same result.
    """
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = x * x + y * y <= radius * radius
    lowest = levels.min()
    shifted = levels - lowest  # fewer levels to search, and a median moves with its values
    median = _median_by_bisection if disc.sum() <= LARGE_DISC else _median_by_histograms
    return median(shifted, disc) + lowest


def _median_by_bisection(levels, footprint):
    """For each pixel, bit by bit, the highest level with at most half of its neighbours below: whole-image compares."""
    radius = len(footprint) // 2
    outside = np.iinfo(np.uint16).max  # below no level: never counted
    padded = np.pad(levels, radius, constant_values=outside)
    inside = np.pad(np.ones(levels.shape, bool), radius)
    shifts = [tuple(shift) for shift in np.argwhere(footprint).tolist()]
    width = levels.shape[1]
    median = np.zeros_like(levels)
    rows = max(1, BLOCK_PIXELS // width)
    for top in range(0, len(levels), rows):  # blocks that stay in the processor's cache
        block = median[top : top + rows]
        windows = [np.s_[top + down : top + down + len(block), right : right + width] for down, right in shifts]
        below, count = np.empty(block.shape, bool), np.empty(block.shape, np.min_scalar_type(len(shifts)))

        def add_up(masks, count=count):
            count[:] = 0
            for mask in masks:
                np.add(count, mask.view(np.uint8), out=count)
            return count

        half = add_up(inside[window] for window in windows) // 2
        for bit in reversed(range(int(levels.max()).bit_length())):
            candidate = block + np.uint16(1 << bit)
            number = add_up(np.less(padded[window], candidate, out=below) for window in windows)
            np.copyto(block, candidate, where=number <= half)
    return median


def _median_by_histograms(levels, footprint):
    from skimage.filters.rank import median  # imported here: common settings have no need of it

    with warnings.catch_warnings():  # about the number of levels, which are what is wanted here
        warnings.simplefilter("ignore", UserWarning)
        return median(levels, footprint.astype(np.uint8))


def smooth_gaussian(mean, width):
    """Gaussian of sigma = width / 2.35; pixels outside the image have no weight."""
    from scipy.ndimage import gaussian_filter

    def blur(image):
        return gaussian_filter(image, width / 2.35, mode="constant", cval=0.0)

    return blur(mean) / blur(np.ones_like(mean))


def raise_to_one(function):
    """Divide by the 2nd percentile of the positive pixels, lower pixels raised to it: the minimum becomes 1.

    The percentile is the value at rank int(0.02 n) of the sorted positive pixels. An image without a positive pixel
    is returned as it is.
    """
    positive = function[function > 0]
    if not positive.size:
        return function
    rank = int(positive.size * FLOOR_SHARE)
    floor = np.partition(positive, rank)[rank]
    return np.maximum(function, floor) / floor
