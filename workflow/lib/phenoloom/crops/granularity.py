"""Granularity spectrum of many cells at once: how much signal is lost as ever larger grains are opened away."""

import numpy as np


def granularity_features(weights, scales=8):
    """Granularity_k -> (n,), k from 1 to `scales`: per cent of the signal that is lost from opening k - 1 to opening k.

    weights: (n, H, W) signal of at least 0, and 0 outside the mask. Opening k is by a square of 2k + 1 pixels; what
    lies outside the canvas is 0. The sum over k is at most 100. NaN where there is no signal.
    Source: Maragos 1989 (pattern spectrum), doi:10.1109/34.192465. CellProfiler's measure differs: it opens by
    reconstruction, on an image of a quarter of the size.
    """
    total = weights.sum(axis=(1, 2), dtype=float)
    scale = np.where(total > 0, total, np.nan)
    eroded, before, found = weights, total, {}
    for step in range(1, scales + 1):
        eroded = _window(_window(eroded, 3, 1, np.minimum), 3, 2, np.minimum)
        after = _dilated_sum(eroded, 2 * step + 1)
        found[f"Granularity_{step}"] = 100 * (before - after) / scale
        before = after
    return found


def _dilated_sum(eroded, width):
    """(n,) sums of images (n, h, w) dilated by a square of `width` pixels, on the canvas they were eroded from."""
    if not eroded.size:
        return np.zeros(len(eroded))
    events, height, breadth = eroded.shape
    margin = width - 1
    padded = np.zeros((events, height + 2 * margin, breadth), np.float32)
    padded[:, margin:-margin] = eroded
    tall = _window(padded, width, 1, np.maximum)
    padded = np.zeros((events, tall.shape[1], breadth + 2 * margin), np.float32)
    padded[:, :, margin:-margin] = tall
    return _window(padded, width, 2, np.maximum).sum(axis=(1, 2), dtype=float)


def _window(image, width, axis, extreme):
    """Extreme of every `width` neighbours along an axis, which gets shorter by width - 1; to 0 if it is too short."""

    def part(array, start, stop):
        return array[(slice(None),) * axis + (slice(start, stop),)]

    length = image.shape[axis]
    if length < width:
        return part(image, 0, 0)
    size = 1
    while 2 * size <= width:
        image = extreme(part(image, 0, image.shape[axis] - size), part(image, size, None))
        size *= 2
    rest = width - size
    return extreme(part(image, 0, image.shape[axis] - rest), part(image, rest, None)) if rest else image
