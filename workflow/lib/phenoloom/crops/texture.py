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
    margin = ((0, 0), (max(distances),) * 2, (max(distances),) * 2)
    here = np.flatnonzero(np.pad(mask, margin))
    owner, grey, usable = grey_levels(image, mask, levels)
    canvas = np.full((len(image), *(length + 2 * max(distances) for length in image.shape[1:])), levels, np.uint8)
    canvas.ravel()[here] = grey
    first = (owner * levels + grey) * (levels + 1)
    found = {}
    for distance in distances:
        pairs = []
        for dy, dx in ANGLES:
            second = canvas.ravel()[here + distance * (dy * canvas.shape[2] + dx)]
            counts = np.bincount(first + second, minlength=len(image) * levels * (levels + 1))
            counts = counts.reshape(len(image), levels, levels + 1)[:, :, :levels]
            pairs.append(counts + counts.transpose(0, 2, 1))
        measures = haralick(np.concatenate(pairs)).reshape(len(ANGLES), len(image), -1).mean(axis=0)
        measures[~usable] = np.nan
        found |= {f"Texture_{name}_{distance}": column for name, column in zip(NAMES, measures.T, strict=True)}
    return found


def grey_levels(image, mask, levels):
    """(event of each pixel of the masks, its grey level from 0, (n,) whether the mask holds two values), in order."""
    owner = np.repeat(np.arange(len(image)), np.count_nonzero(mask, axis=(1, 2)))
    values = image.ravel()[np.flatnonzero(mask)]
    filled, first = np.unique(owner, return_index=True)
    low, high = np.zeros(len(image), np.float32), np.zeros(len(image), np.float32)
    if len(filled):
        low[filled], high[filled] = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
    usable = high > low
    factor = (levels / np.where(usable, high - low, 1)).astype(np.float32)
    return owner, np.minimum((values - low[owner]) * factor[owner], levels - 1).astype(np.uint8), usable


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

    The gradient is that of central differences; the canvas goes on beyond its border as it ends. MeanMagnitude and
    StdMagnitude are of its length; Sharpness is the sum of its square over the sum of squared pixels, which brightness
    does not change (NaN where all pixels are 0); LaplaceVariance is the variance of the sum of second differences.
    """
    area = np.count_nonzero(mask, axis=(1, 2))
    filled = np.flatnonzero(area)
    first = (np.cumsum(area) - area)[filled]

    def total(values):
        """Sum per event of one value per pixel of the masks, in order; NaN for an empty mask."""
        sums = np.full(len(image), np.nan)
        if len(filled):
            sums[filled] = np.add.reduceat(values, first, dtype=float)
        return sums

    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    here = np.flatnonzero(np.pad(mask, ((0, 0), (1, 1), (1, 1))))
    width = padded.shape[2]
    flat = padded.ravel()
    centre, up, down, left, right = (flat[here + step] for step in (0, -width, width, -1, 1))
    square = (np.square(down - up) + np.square(right - left)) / 4
    number = np.where(area > 0, area, np.nan)
    mean = total(np.sqrt(square)) / number
    steepness, energy = total(square), total(np.square(centre))
    bend = up + down + left + right - 4 * centre
    return {
        "Gradient_MeanMagnitude": mean,
        "Gradient_StdMagnitude": np.sqrt(np.maximum(steepness / number - np.square(mean), 0)),
        "Gradient_Sharpness": np.divide(steepness, energy, out=np.full(len(image), np.nan), where=energy > 0),
        "Gradient_LaplaceVariance": total(np.square(bend)) / number - np.square(total(bend) / number),
    }
