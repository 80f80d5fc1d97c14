"""Masks of single cells: the pixels of a channel above a threshold of the event or of the sample."""

import numpy as np
from scipy import ndimage

from phenoloom.core.errors import InputError

METHODS = ("otsu", "sample_otsu", "fraction", "constant")
CONTRASTS = ("bright", "dark", "both")
KEEPS = ("all", "largest")

#: Bins of the histogram of Otsu's method, as scikit-image has them.
BINS = 256


def signal_of(image, contrast="bright"):
    """What counts as signal in background-subtracted pixels: brighter, darker, or either (both)."""
    if contrast == "bright":
        return image
    if contrast == "dark":
        return -image
    if contrast == "both":
        return np.abs(image)
    raise InputError(f"the contrast of a channel is one of {', '.join(CONTRASTS)}, not {contrast!r}")


def event_thresholds(signal, method="otsu", value=0.5, inside=None):
    """(n,) float32 threshold of each event's signal (n, H, W); the mask is signal > threshold.

    method: otsu (between the event's extremes, `BINS` bins), fraction (`value` times the event's maximum) or constant
    (`value`). inside: (n, H, W) bool, pixels that count for otsu (not padding); None for all. Infinite, so that the
    mask is empty, where the event is constant (otsu) or has no positive signal (fraction).
    Source of otsu: Otsu 1979, doi:10.1109/TSMC.1979.4310076.
    """
    if method == "constant":
        return np.full(len(signal), value, np.float32)
    if method == "fraction":
        highest = signal.max(axis=(1, 2))
        return np.where(highest > 0, highest * np.float32(value), np.inf).astype(np.float32)
    if method != "otsu":
        raise InputError(f"the mask method is one of {', '.join(METHODS)}, not {method!r}")
    low = signal.min(axis=(1, 2), where=True if inside is None else inside, initial=np.inf)
    high = signal.max(axis=(1, 2), where=True if inside is None else inside, initial=-np.inf)
    return otsu(histograms(signal, low, high, inside), low, high)


def histograms(signal, low, high, inside=None):
    """(n, BINS) counts of the signal (n, H, W) between `low` and `high` (n,)."""
    span = np.where(high > low, high - low, 1)
    start = np.where(np.isfinite(low), low, 0)
    bins = ((signal - start[:, None, None]) * (BINS / span)[:, None, None]).astype(np.intp)
    np.clip(bins, 0, BINS - 1, out=bins)
    if inside is not None:
        bins[~inside] = BINS
    bins += (np.arange(len(signal)) * (BINS + 1))[:, None, None]
    counts = np.bincount(bins.ravel(), minlength=len(signal) * (BINS + 1))
    return counts.reshape(-1, BINS + 1)[:, :BINS]


def otsu(counts, low, high):
    """(n,) thresholds, centres of bins, from histograms (n, BINS) between low and high; infinite where these agree."""
    centres = (np.arange(BINS) + 0.5) / BINS
    below = np.cumsum(counts, axis=1)
    above = below[:, -1:] - below
    moment = np.cumsum(counts * centres, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = moment / below - (moment[:, -1:] - moment) / above
        variance = np.nan_to_num(below * above * np.square(distance), nan=-1.0)
    with np.errstate(invalid="ignore"):
        found = low + centres[variance[:, :-1].argmax(axis=1)] * (high - low)
    return np.where(high > low, found, np.inf).astype(np.float32)


def above_threshold(signal, thresholds, keep="all", inside=None):
    """(n, H, W) bool masks: pixels above the event's threshold; all of them, or the largest connected part.

    Pixels connect to 8 neighbours. Of parts that are equally large the first stays.
    """
    masks = signal > thresholds[:, None, None]
    if inside is not None:
        masks &= inside
    if keep == "all":
        return masks
    if keep != "largest":
        raise InputError(f"a mask keeps one of {', '.join(KEEPS)}, not {keep!r}")
    plane = np.zeros((3, 3, 3), bool)
    plane[1] = True
    parts, count = ndimage.label(masks, plane)  # all events in one call: planes are not connected
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    owner = np.zeros(count + 1, np.intp)
    found = np.flatnonzero(parts)
    owner[parts.ravel()[found]] = found // masks[0].size
    order = np.lexsort((np.arange(1, count + 1), -areas[1:], owner[1:])) + 1
    first = np.unique(owner[order], return_index=True)[1]
    largest = np.zeros(count + 1, bool)
    largest[order[first]] = True
    return largest[parts]
