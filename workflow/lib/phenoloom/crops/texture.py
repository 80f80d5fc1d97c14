"""Texture of many cells at once: grey-level co-occurrence inside the mask, and gradients."""

import functools

import numpy as np

NAMES = (
    "AngularSecondMoment",
    "Contrast",
    "Correlation",
    "Variance",
    "InverseDifferenceMoment",
    "SumAverage",
    "SumVariance",
    "SumEntropy",
    "Entropy",
    "DifferenceVariance",
    "DifferenceEntropy",
    "InfoMeas1",
    "InfoMeas2",
)

#: (row, column) steps at 0, 45, 90 and 135 degrees.
ANGLES = ((0, 1), (-1, 1), (-1, 0), (-1, -1))


def texture_features(image, mask, distances=(1, 3), levels=16):
    """Texture_name_distance -> (n,) Haralick's features of images (n, H, W) inside masks, mean over four angles.

    Pixels are cut into `levels` equal grey levels between the extremes inside the mask, so that brightness does not
    change the texture. Pairs with one pixel outside the mask do not count, matrices are symmetric, logarithms natural.
    NaN where the mask holds fewer than two grey values, or no pair at one of the angles; Correlation also where one
    angle sees a single level. Source: Haralick et al. 1973, doi:10.1109/TSMC.1973.4309314.
    """
    grey, usable = grey_levels(image, mask, levels)
    found = {}
    for distance in distances:
        pairs = np.stack([cooccurrences(grey, distance * dy, distance * dx, levels) for dy, dx in ANGLES])
        measures = haralick(pairs.reshape(-1, levels, levels)).reshape(len(ANGLES), len(image), -1).mean(axis=0)
        measures[~usable] = np.nan
        found |= {f"Texture_{name}_{distance}": column for name, column in zip(NAMES, measures.T, strict=True)}
    return found


def grey_levels(image, mask, levels):
    """((n, H, W) uint8 grey levels from 0, `levels` outside the mask; (n,) whether the mask holds two values)."""
    low = image.min(axis=(1, 2), where=mask, initial=np.inf)
    high = image.max(axis=(1, 2), where=mask, initial=-np.inf)
    usable = high > low
    start = np.where(usable, low, 0)[:, None, None]
    factor = levels / np.where(usable, high - low, 1)[:, None, None]
    grey = np.clip((image - start) * factor, 0, levels - 1).astype(np.uint8)
    grey[~mask] = levels
    return grey, usable


def cooccurrences(grey, dy, dx, levels):
    """(n, levels, levels) counts of the grey levels of pixels and of those `dy` rows and `dx` columns away, both ways.

    grey: (n, H, W) with `levels` where a pixel does not count.
    """
    _, height, width = grey.shape
    rows, columns = abs(dy), abs(dx)
    here = grey[:, max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    there = grey[:, max(0, dy) : height - max(0, -dy), max(0, dx) : width - max(0, -dx)]
    if height <= rows or width <= columns:
        return np.zeros((len(grey), levels, levels), np.int64)
    first, second = here.ravel(), there.ravel()
    found = np.flatnonzero((first < levels) & (second < levels))
    code = (found // here[0].size) * levels + first[found]
    code = code * levels + second[found]
    counts = np.bincount(code, minlength=len(grey) * levels**2).reshape(-1, levels, levels)
    return counts + counts.transpose(0, 2, 1)


@functools.lru_cache(maxsize=4)
def _sums(levels):
    """(levels^2, k) float64 matrix: from a matrix's entries to its marginal, to i + j and to |i - j|."""
    i, j = (axis.ravel()[:, None] for axis in np.indices((levels, levels)))
    steps = np.arange(levels)
    return np.hstack([i == steps, i + j == np.arange(2 * levels - 1), np.abs(i - j) == steps]).astype(float)


def haralick(counts):
    """(m, 13) features NAMES of symmetric co-occurrence counts (m, levels, levels); NaN where there is no pair."""
    levels = counts.shape[-1]
    flat = counts.reshape(len(counts), -1).astype(float)
    total = flat.sum(axis=1, keepdims=True)
    shares = np.divide(flat, total, out=np.full(flat.shape, np.nan), where=total > 0)
    margin, plus, minus = np.split(shares @ _sums(levels), [levels, 3 * levels - 1], axis=1)
    step, both = np.arange(levels), np.arange(2 * levels - 1)
    mean = margin @ step
    variance = margin @ step**2 - mean**2
    contrast = minus @ step**2
    average = plus @ both
    single = margin.max(axis=1) > 1 - 1e-12
    entropy, marginal, summed, difference = (_entropy(part) for part in (shares, margin, plus, minus))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [
                np.square(shares).sum(axis=1),
                contrast,
                np.where(single, np.nan, 1 - contrast / (2 * variance)),
                variance,
                minus @ (1 / (1 + step**2)),
                average,
                plus @ both**2 - average**2,
                summed,
                entropy,
                contrast - np.square(minus @ step),
                difference,
                np.where(single, np.nan, (entropy - 2 * marginal) / marginal),
                np.sqrt(1 - np.exp(-2 * np.maximum(2 * marginal - entropy, 0))),
            ],
            axis=1,
        )


def _entropy(shares):
    """(m,) -sum p ln p of rows (m, k)."""
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)


def gradient_features(image, mask):
    """name -> (n,) sharpness of images (n, H, W) inside masks (n, H, W); NaN where the mask is empty.

    The gradient is that of central differences, one-sided at the canvas border. MeanMagnitude and StdMagnitude are of
    its length; Sharpness is the sum of its square over the sum of squared pixels, which brightness does not change (NaN
    where all pixels are 0); LaplaceVariance is the variance of the sum of second differences.
    """
    if min(image.shape[1:]) < 2:
        image = np.pad(image, ((0, 0), (0, 1), (0, 1)), mode="edge")
        mask = np.pad(mask, ((0, 0), (0, 1), (0, 1)))
    down, across = np.gradient(image, axis=(1, 2))
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    laplace = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:] - 4 * image
    square = np.where(mask, np.square(down) + np.square(across), 0)
    area = np.count_nonzero(mask, axis=(1, 2))
    number = np.where(area > 0, area, np.nan)
    steepness = square.sum(axis=(1, 2), dtype=float)
    mean = np.sqrt(square).sum(axis=(1, 2), dtype=float) / number
    bend = np.where(mask, laplace, 0)
    level = bend.sum(axis=(1, 2), dtype=float) / number
    energy = np.square(np.where(mask, image, 0)).sum(axis=(1, 2), dtype=float)
    return {
        "Gradient_MeanMagnitude": mean,
        "Gradient_StdMagnitude": np.sqrt(np.maximum(steepness / number - np.square(mean), 0)),
        "Gradient_Sharpness": np.divide(steepness, energy, out=np.full(len(image), np.nan), where=energy > 0),
        "Gradient_LaplaceVariance": np.square(bend).sum(axis=(1, 2), dtype=float) / number - np.square(level),
    }
