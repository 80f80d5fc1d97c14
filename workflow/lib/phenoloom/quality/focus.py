"""How sharp an image is: the slope of its power spectrum, and contrast in small windows."""

import functools

import numpy as np

#: Side of the windows of the local score in pixels, CellProfiler's default.
WINDOW = 20


def power_log_log_slope(image):
    """Slope of log(power) over log(spatial frequency) by least squares; about -2 in focus, lower when blurred.

    image: 2-D, finite. The power is summed in rings of one frequency step, without the constant part, up to an eighth
    of the shorter side. 0 for a constant or tiny image. The intensity's scale does not matter.
    Source: CellProfiler's MeasureImageQuality (PowerLogLogSlope) after Field 1997 and Bray et al. 2012,
    doi:10.1177/1087057111420292. Where more than half the pixels equal the mean CellProfiler gives NaN, this a slope.
    """
    rows, columns, labels, last = _rings(image.shape)
    centred = image - image.mean(dtype=np.float64)
    largest = np.abs(centred).max()
    if not largest or last < 3:
        return 0.0
    # 32 bits and only the low columns: the slope keeps 5 digits, the time halves
    half = np.fft.rfft((centred / largest).astype(np.float32), axis=1)[:, : columns.max() + 1]
    spectrum = np.fft.fft(np.ascontiguousarray(half), axis=0)[rows, columns]
    power = np.bincount(labels, weights=spectrum.real.astype(float) ** 2 + spectrum.imag.astype(float) ** 2)[2:]
    valid = power > 0
    if valid.sum() < 2:
        return 0.0
    return float(np.polyfit(np.log(np.arange(2, last + 1)[valid]), np.log(power[valid]), 1)[0])


@functools.lru_cache(maxsize=4)
def _rings(shape):
    """Where the rings lie in the half spectrum: row and column of each coefficient, its ring, and the last ring.

    Rings are CellProfiler's: pixel (u, v) of the full spectrum lies in ring floor(hypot(u', v')) + 1 with u' the
    smaller of u and height - 1 - u, likewise v'. Its distance is therefore off by one on the side of negative
    frequencies, which is kept. The half spectrum holds each pair of opposite frequencies once, so that both rings of a
    pair take its power.
    """
    height, width = shape
    last = int(np.floor(min(shape) / 8)) - 1

    def ring(u, v):
        return np.floor(np.hypot(np.minimum(u, height - 1 - u), np.minimum(v, width - 1 - v))).astype(int) + 1

    u, v = np.mgrid[:height, : min(width // 2, last + 1) + 1]
    here = ring(u, v)
    opposite = np.where((v > 0) & (2 * v < width), ring(-u % height, width - v), 0)
    found = [(labels >= 2) & (labels <= last) for labels in (here, opposite)]
    return (
        np.concatenate([u[mask] for mask in found]),
        np.concatenate([v[mask] for mask in found]),
        np.concatenate([here[found[0]], opposite[found[1]]]),
        last,
    )


def focus_scores(image, unit=1.0, window=WINDOW):
    """(FocusScore, LocalFocusScore): normalised variance of the image, and its spread over windows.

    image: 2-D, finite. unit: divisor to the unit scale. FocusScore is variance / mean. LocalFocusScore is
    variance / median of the normalised variances of square windows of about `window` pixels. 0 where undefined.
    Source: CellProfiler's MeasureImageQuality (FocusScore, LocalFocusScore).
    """
    mean = image.mean(dtype=np.float64) / unit
    centred = image / unit - mean
    overall = float(np.square(centred).mean() / mean) if mean > 0 else 0.0
    row_starts, column_starts = (_window_starts(length, window) for length in image.shape)
    sizes = np.diff(np.append(row_starts, image.shape[0]))[:, None] * np.diff(np.append(column_starts, image.shape[1]))

    def window_means(values):
        return np.add.reduceat(np.add.reduceat(values, row_starts, axis=0), column_starts, axis=1) / sizes

    means = window_means(centred)
    variances = np.maximum(window_means(np.square(centred)) - np.square(means), 0)
    lit = means + mean != 0
    normalized = variances[lit] / (means[lit] + mean)
    median = np.median(normalized) if normalized.size else 0.0
    return overall, float(normalized.var() / median) if np.isfinite(median) and median > 0 else 0.0


def _window_starts(length, window):
    """First pixel of each window along an axis: ceil(length / window) windows of nearly equal length."""
    number = (length + window - 1) // window
    return np.searchsorted((np.arange(length) * float(number) / length).astype(int), np.arange(number))
