"""Normalisation of pixels: for each item and channel one straight line from stored integers to what a network sees."""

import numpy as np

from phenoloom.core.errors import InputError

#: Statistics of an item and channel that each method needs beside offset and scale.
NEEDS = {
    "plate": ("Mean", "Deviation"),
    "image": ("Mean", "Deviation"),
    "percentile": ("Low", "High"),
    "range": (),
    "none": (),
}

#: Lowest and highest value that a method gives.
LIMITS = {"percentile": (0.0, 1.0)}


def line(method, levels, statistics):
    """(factor, shift), float32 (n, C) each: value = factor * stored + shift.

    method: plate, to mean 0 and deviation 1 over all items given, those of a plate or sample, so that differences
    between its wells stay; image, over each item by itself; percentile, Low to 0 and High to 1 (cut to that range
    afterwards); range, the lowest pixel to 0 and the highest to 1; none, intensities as they are. levels: largest
    stored number. statistics: {"Offset", "Scale" and what NEEDS names: (n, C)}; intensity = offset + scale * stored.
    Where an item has nothing to scale by (all its pixels are one value) all its values are 0, but with none.
    """
    if method not in NEEDS:
        raise InputError(f"pixels are normalised by {', '.join(NEEDS)}, not {method!r}")
    given = {name: np.asarray(values, np.float64) for name, values in statistics.items()}
    offset, scale = given["Offset"], given["Scale"]
    if method == "range":
        factor, shift = (scale > 0) / levels, np.zeros_like(scale)
    elif method == "none":
        factor, shift = scale, offset
    else:
        middle, width = _middle_and_width(method, given)
        inverse = np.divide(1, width, out=np.zeros_like(width), where=width > 0)
        factor, shift = scale * inverse, (offset - middle) * inverse
    return factor.astype(np.float32), shift.astype(np.float32)


def _middle_and_width(method, given):
    """What becomes 0, and what becomes 1 away from it: (n, C) each."""
    if method == "percentile":
        return given["Low"], given["High"] - given["Low"]
    mean, deviation = given["Mean"], given["Deviation"]
    if method == "image" or not len(mean):
        return mean, deviation
    pooled = np.sqrt((deviation**2).mean(axis=0) + mean.var(axis=0))  # items have one size
    return np.broadcast_to(mean.mean(axis=0), mean.shape), np.broadcast_to(pooled, mean.shape)
