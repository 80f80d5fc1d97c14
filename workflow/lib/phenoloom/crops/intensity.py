"""Intensity measures of many cells at once: pixels inside the mask, after the background is subtracted."""

import numpy as np

PERCENTILES = (5, 25, 50, 75, 95)


def intensity_features(image, mask):
    """name -> (n,) of images (n, H, W) and masks (n, H, W) bool; NaN where the mask is empty.

    StdIntensity is the population's; MADIntensity the unscaled median absolute deviation; percentiles interpolate
    linearly; Skewness and Kurtosis (excess, 0 for a Gaussian) are NaN where all pixels are equal.
    """
    values, count = masked_values(image, mask)
    absent = np.arange(values.shape[1]) >= count[:, None]
    number = np.where(count > 0, count, np.nan)
    total = np.where(absent, 0, values).sum(axis=1, dtype=float)
    mean = total / number
    centred = np.where(absent, 0, values - mean[:, None])
    square = np.square(centred)
    variance = square.sum(axis=1) / number
    ordered = np.sort(values, axis=1)
    cuts = percentiles(ordered, count, PERCENTILES)
    median = cuts[:, PERCENTILES.index(50)]
    constant = ordered[:, 0] == percentiles(ordered, count, (100,))[:, 0]
    with np.errstate(invalid="ignore"):
        distances = np.sort(np.where(absent, np.inf, np.abs(values - median[:, None])), axis=1)
    spread = np.where(constant, np.nan, variance)
    return {
        "Intensity_IntegratedIntensity": np.where(count > 0, total, np.nan),
        "Intensity_MeanIntensity": mean,
        "Intensity_StdIntensity": np.sqrt(variance),
        "Intensity_MinIntensity": percentiles(ordered, count, (0,))[:, 0],
        "Intensity_MaxIntensity": percentiles(ordered, count, (100,))[:, 0],
        **{f"Intensity_Percentile{q:02d}": cut for q, cut in zip(PERCENTILES, cuts.T, strict=True)},
        "Intensity_MADIntensity": percentiles(distances, count, (50,))[:, 0],
        "Intensity_Skewness": (square * centred).sum(axis=1) / number / spread**1.5,
        "Intensity_Kurtosis": np.square(square).sum(axis=1) / number / np.square(spread) - 3,
    }


def masked_values(image, mask):
    """(values (n, k) float32, count (n,)): the pixels of each mask in reading order, then infinity; k is at least 1."""
    events = len(image)
    found = np.flatnonzero(mask)
    count = np.count_nonzero(mask, axis=(1, 2))
    first = np.cumsum(count) - count
    owner = np.repeat(np.arange(events), count)
    values = np.full((events, max(1, count.max(initial=0))), np.inf, np.float32)
    values[owner, np.arange(len(found)) - first[owner]] = image.ravel()[found]
    return values, count


def percentiles(ordered, count, percents):
    """(n, len(percents)) with linear interpolation, of the first `count` (n,) of ordered rows (n, k); NaN where 0."""
    position = np.maximum(count - 1, 0)[:, None] * np.asarray(percents, float) / 100
    below = np.floor(position).astype(np.intp)
    low = np.take_along_axis(ordered, below, axis=1).astype(float)
    high = np.take_along_axis(ordered, np.ceil(position).astype(np.intp), axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(count[:, None] > 0, low + (high - low) * (position - below), np.nan)
