"""Smoothing and rescaling of a mean image as CellProfiler's CorrectIlluminationCalculate does it."""

import warnings

import numpy as np

from phenoloom.core.errors import InputError

#: CellProfiler's median filter works on images of 16 bits.
LEVELS = 65535

#: Share of the lowest pixels that rescaling raises to one value.
FLOOR_SHARE = 0.02


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
    """Median of a uint16 image in discs of `radius` pixels (x*x + y*y <= radius*radius), uint16."""
    from skimage.filters.rank import median  # imported here: the Gaussian has no need of it

    lowest = levels.min()  # the filter's time grows with the highest level, and a median moves with its values
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    with warnings.catch_warnings():  # scikit-image warns that many levels are slow: they are what is wanted here
        warnings.simplefilter("ignore", UserWarning)
        return median(levels - lowest, (x * x + y * y <= radius * radius).astype(np.uint8)) + lowest


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
