"""Intensity measures of an image from its levels and how often each occurs: exact, and one pass over the pixels."""

import numpy as np

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

#: A pixel is foreground when it is this many noise deviations above the background.
FOREGROUND_DEVIATIONS = 5


def levels(image):
    """(sorted distinct values as float64, number of pixels of each) of a finite image."""
    if image.dtype.kind in "iu" and image.dtype.itemsize <= 2:
        lowest = int(image.min())
        shifted = image.ravel() if lowest >= 0 else image.ravel().astype(np.int32) - lowest
        counts = np.bincount(shifted)
        values = np.flatnonzero(counts)
        return values.astype(float) + min(lowest, 0), counts[values]
    values, counts = np.unique(image, return_counts=True)
    return values.astype(float), counts


def percentiles(values, counts, percents):
    """Percentiles with linear interpolation between pixels, as numpy.percentile of the full image gives."""
    ends = np.cumsum(counts)
    position = np.asarray(percents, float) / 100 * (ends[-1] - 1)
    below = np.floor(position)
    low = values[np.searchsorted(ends, below, side="right")]
    high = values[np.searchsorted(ends, np.ceil(position), side="right")]
    return low + (high - low) * (position - below)


def median(values, counts):
    """Median of unsorted values that occur `counts` times."""
    order = np.argsort(values, kind="stable")
    return float(percentiles(values[order], counts[order], [50])[0])


def intensity_measures(image, unit=1.0):
    """Intensity measures of a finite image in unit scale (divided by `unit`): name -> value.

    PercentMaximal is the share of pixels at the image's own maximum (as CellProfiler has it), PercentSaturated of those
    at the maximum of an integer type (0 for floats). MADIntensity is the unscaled median absolute deviation.
    """
    values, counts = levels(image)
    total = counts.sum()
    mean = float(values @ counts / total)
    cuts = percentiles(values, counts, PERCENTILES)
    middle = cuts[PERCENTILES.index(50)]
    background, noise = background_and_noise(values, counts, cuts)
    step = 1.0 if image.dtype.kind in "iu" else 0.0
    foreground = values > background + max(FOREGROUND_DEVIATIONS * noise, step)
    ceiling = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else np.inf
    scaled = {
        "MeanIntensity": mean,
        "StdIntensity": float(np.sqrt(np.square(values - mean) @ counts / total)),
        "MADIntensity": median(np.abs(values - middle), counts),
        "MinIntensity": values[0],
        "MaxIntensity": values[-1],
        **{f"Percentile{percent:02d}": cut for percent, cut in zip(PERCENTILES, cuts, strict=True)},
        "Background": background,
        "BackgroundNoise": noise,
    }
    return {
        **{name: float(value) / unit for name, value in scaled.items()},
        "PercentMaximal": float(100 * counts[-1] / total),
        "PercentSaturated": float(100 * counts[-1] / total) if values[-1] >= ceiling else 0.0,
        "ForegroundShare": float(counts[foreground].sum() / total),
    }


def background_and_noise(values, counts, cuts):
    """(background, its noise): the most frequent intensity, and the spread of the pixels below it.

    values, counts: as `levels` gives. cuts: percentiles PERCENTILES. The mode is taken over bins of Freedman and
    Diaconis' width up to the 95th percentile. The noise is 1.4826 times the median distance of the pixels below the
    mode, to which cells contribute little; 0 when no pixel is below it.
    """
    low, _, quarter, _, three_quarters, high, _ = cuts
    width = 2 * (three_quarters - quarter) / np.cbrt(counts.sum())
    near = (values >= low) & (values <= high)
    if width > 0 and near.any():
        bins = np.floor((values[near] - low) / max(width, (high - low) / 10_000)).astype(int)
        fullest = np.bincount(bins, weights=counts[near]).argmax()
        peak = bins == fullest
        background = float(np.average(values[near][peak], weights=counts[near][peak]))
    else:
        background = float(values[counts.argmax()])
    below = values < background
    noise = 1.4826 * median(background - values[below], counts[below]) if below.any() else 0.0
    return background, noise
