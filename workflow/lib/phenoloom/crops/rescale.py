"""Rescaling of a sample's channels: one scale per channel from all events, applied in chunks."""

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.crops.chunks import chunks, inside_frames

METHODS = ("none", "unit", "z")

#: Percentiles come from this many bins between the channel's extremes, so that they are off by one bin at most.
BINS = 1 << 16


def channel_scale(stack, method="unit", percentiles=(0.1, 99.9), frames=None):
    """(shift (C,), scale (C,)) float64 so that (pixel - shift) / scale is the rescaled pixel.

    stack: (N, C, H, W), may be memory-mapped; it is read in chunks. method: none (0 and 1); unit, which takes the two
    `percentiles` of all pixels to 0 and 1; z, which takes their mean and standard deviation to 0 and 1. frames: as
    `inside_frames` has them; padding does not count. A constant channel keeps scale 1. NaN is left out.
    Raises InputError for an unknown method.
    """
    channels = stack.shape[1]
    if method == "none":
        return np.zeros(channels), np.ones(channels)
    if method not in METHODS:
        raise InputError(f"the rescale method is one of {', '.join(METHODS)}, not {method!r}")
    shift, scale = np.zeros(channels), np.ones(channels)
    for channel in range(channels):
        measure = _mean_and_deviation if method == "z" else _percentiles
        low, high = measure(lambda channel=channel: _pixels(stack, channel, frames), percentiles)
        shift[channel] = low
        scale[channel] = high - low if high > low else 1
    return shift, scale


def rescale(images, shift, scale):
    """Rescaled images (n, C, H, W) float32. Padding is rescaled too: it stays at the level of the background."""
    return ((images - shift[:, None, None]) / scale[:, None, None]).astype(np.float32)


def _pixels(stack, channel, frames):
    """Finite pixels of one channel, chunk by chunk."""
    for part in chunks(stack):
        image = np.asarray(stack[part, channel])
        keep = np.isfinite(image)
        if frames is not None:
            keep &= inside_frames(frames[part], image.shape[1:])
        if keep.any():
            yield image[keep].astype(float)


def _mean_and_deviation(pixels, _):
    """(mean, mean + standard deviation), merged over chunks (Chan et al. 1983, doi:10.1080/00031305.1983.10483115)."""
    count, mean, squares = 0, 0.0, 0.0
    for values in pixels():
        total = count + len(values)
        distance = values.mean() - mean
        squares += np.square(values - values.mean()).sum() + distance**2 * count * len(values) / total
        mean += distance * len(values) / total
        count = total
    return mean, mean + np.sqrt(squares / max(count, 1))


def _percentiles(pixels, percentiles):
    """Two percentiles from a histogram: two passes, memory that does not grow with the events."""
    low, high = np.inf, -np.inf
    for values in pixels():
        low, high = min(low, values.min()), max(high, values.max())
    if not low < high:
        return 0.0, 0.0
    counts = sum(np.histogram(values, BINS, (low, high))[0] for values in pixels())
    edges = np.linspace(low, high, BINS + 1)
    ends = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    return tuple(np.interp(np.asarray(percentiles) / 100, ends, edges))
