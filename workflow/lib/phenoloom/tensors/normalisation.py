"""Normalisation of pixels: for each item and channel one straight line from stored integers to what a network sees."""

import numpy as np

from phenoloom.core.errors import InputError

#: Statistics of an item and channel that each method needs beside offset and scale.
NEEDS = {"image": ("Mean", "Deviation"), "percentile": ("Low", "High"), "range": (), "none": ()}

#: Lowest and highest value that a method gives.
LIMITS = {"percentile": (0.0, 1.0)}


def line(method, levels, statistics):
    """(factor, shift), float32 (n, C) each: value = factor * stored + shift.

    method: image, to mean 0 and deviation 1; percentile, Low to 0 and High to 1 (cut to that range afterwards); range,
    the lowest pixel to 0 and the highest to 1; none, intensities as they are. levels: largest stored number.
    statistics: {"Offset", "Scale" and what NEEDS names: (n, C)}; intensity = offset + scale * stored.
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
        middle, width = (
            (given["Mean"], given["Deviation"]) if method == "image" else (given["Low"], given["High"] - given["Low"])
        )
        inverse = np.divide(1, width, out=np.zeros_like(width), where=width > 0)
        factor, shift = scale * inverse, (offset - middle) * inverse
    return factor.astype(np.float32), shift.astype(np.float32)
