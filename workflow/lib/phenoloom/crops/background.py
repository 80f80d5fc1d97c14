"""Background level of single-cell images: per event and channel, from the pixels along the border."""

import numpy as np

from phenoloom.core.errors import InputError

METHODS = ("none", "median", "mode", "percentile", "constant")


def border_pixels(images, width=1):
    """(..., m) pixels of the frame of `width` pixels along the border of images (..., h, w), each pixel once.

    An image that is no wider than two frames is all border.
    """
    height, breadth = images.shape[-2:]
    rows, columns = np.indices((height, breadth))
    depth = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, breadth - 1 - columns))
    return images[..., depth < width]


def background_levels(images, method="median", border=2, percentile=10, value=0):
    """Background (n, C) float32 of images (n, C, h, w), in their own units.

    method: median, mode or percentile of the border of `border` pixels; constant, which is `value` (a number or one per
    channel); or none, which is 0. The mode is the half-sample mode of Bickel and Fruehwirth 2006,
    doi:10.1016/j.csda.2005.07.011: no bins to choose, and a cell that covers up to half of the border does not move it.
    NaN where the border holds NaN. Raises InputError for an unknown method or one value too few.
    """
    events, channels = images.shape[:2]
    if method == "none":
        return np.zeros((events, channels), np.float32)
    if method == "constant":
        values = np.ravel(np.asarray(value, np.float32))
        if len(values) not in (1, channels):
            raise InputError(
                f"the constant background has {len(values)} values for {channels} channels; "
                "give one number or one per channel"
            )
        return np.broadcast_to(values, (events, channels)).copy()
    pixels = border_pixels(images, border).astype(np.float32)
    if method == "median":
        return np.median(pixels, axis=-1)
    if method == "percentile":
        return np.percentile(pixels, percentile, axis=-1).astype(np.float32)
    if method == "mode":
        return half_sample_mode(pixels)
    raise InputError(f"the background method is one of {', '.join(METHODS)}, not {method!r}")


def half_sample_mode(values):
    """Mode along the last axis: the narrowest half of the values, again and again, until two or three remain."""
    ordered = np.sort(values, axis=-1)
    while ordered.shape[-1] > 3:
        half = (ordered.shape[-1] + 1) // 2
        start = np.argmin(ordered[..., half - 1 :] - ordered[..., : ordered.shape[-1] - half + 1], axis=-1)
        ordered = np.take_along_axis(ordered, start[..., None] + np.arange(half), axis=-1)
    if ordered.shape[-1] < 3:
        return ordered.mean(axis=-1)
    first, middle, last = np.moveaxis(ordered, -1, 0)
    low, high = middle - first, last - middle
    return np.where(low < high, (first + middle) / 2, np.where(high < low, (middle + last) / 2, middle))
