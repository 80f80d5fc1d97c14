"""How two channels of a cell lie to each other: correlation, overlap and distance of their centres."""

from itertools import combinations, permutations

import numpy as np


def correlation_features(images, masks, signals):
    """(name, a, b) -> (n,) for channels a and b of images, masks and signals (n, C, H, W).

    Signals are at least 0, and 0 outside their masks.
    Correlation_Correlation: Pearson's r over the pixels in the mask of A or of B; NaN where there are fewer than three
    or a channel is constant there. Correlation_Overlap: sum(A B) / sqrt(sum(A^2) sum(B^2)) of the signals; NaN where
    one has none. Correlation_Manders_A_B: share of A's signal inside the mask of B, in both directions; NaN where A has
    none.
    Source of the last two: Manders et al. 1993, doi:10.1111/j.1365-2818.1993.tb03313.x.
    """
    events, number = images.shape[:2]
    flat = images.reshape(events, number, -1)
    mask = masks.reshape(events, number, -1).astype(float)
    signal = signals.reshape(events, number, -1).astype(float)
    pearson = _pearson(flat, mask)
    product = signal @ signal.transpose(0, 2, 1)
    energy = np.einsum("ncc->nc", product)
    shared = signal @ mask.transpose(0, 2, 1)
    own = np.einsum("ncc->nc", shared)
    found = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for a, b in combinations(range(number), 2):
            found["Correlation_Correlation", a, b] = pearson[:, a, b]
            overlap = product[:, a, b] / np.sqrt(energy[:, a] * energy[:, b])
            found["Correlation_Overlap", a, b] = np.where((energy[:, a] > 0) & (energy[:, b] > 0), overlap, np.nan)
        for a, b in permutations(range(number), 2):
            found["Correlation_Manders", a, b] = np.where(own[:, a] > 0, shared[:, a, b] / own[:, a], np.nan)
    return found


def _pearson(flat, mask):
    """(n, C, C) Pearson's r of each two channels (n, C, P) over the union of their masks (n, C, P).

    A sum over a union is that over one mask, plus that over the other, less that over both: matrix products only.
    """
    values = _standardised(flat)
    masked = values * mask
    turned_mask = mask.transpose(0, 2, 1)

    def over_union(first, first_masked):
        # [a, b]: sum over the union of a quantity of channel a
        own = np.einsum("ncp,ncp->nc", first, mask)[:, :, None]
        return own + (first - first_masked) @ turned_mask

    count = over_union(np.ones_like(mask), mask)
    total = over_union(values, masked)
    square = over_union(values * values, masked * values)
    half = masked @ values.transpose(0, 2, 1)
    product = half + half.transpose(0, 2, 1) - masked @ masked.transpose(0, 2, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = square - np.square(total) / count
        covariance = product - total * total.transpose(0, 2, 1) / count
        usable = (count > 2.5) & (spread > 1e-12 * square)
        usable &= usable.transpose(0, 2, 1)
        found = covariance / np.sqrt(spread * spread.transpose(0, 2, 1))
    return np.where(usable, np.clip(found, -1, 1), np.nan)


def _standardised(flat):
    """Channels (n, C, P) with mean 0 and standard deviation 1 over all pixels, 0 where they are constant."""
    centred = flat - flat.mean(axis=2, keepdims=True, dtype=float)
    spread = np.sqrt(np.einsum("ncp,ncp->nc", centred, centred) / flat.shape[2])[:, :, None]
    constant = flat.max(axis=2, keepdims=True) == flat.min(axis=2, keepdims=True)
    return np.where(constant, 0, centred / np.where(spread > 0, spread, 1))


def distance_features(centroids):
    """(name, a, b) -> (n,): distance in pixels of two channels' centres of mass (n, C, 2); NaN where one has none."""
    return {
        ("Location_Delta", a, b): np.hypot(*(centroids[:, a] - centroids[:, b]).T)
        for a, b in combinations(range(centroids.shape[1]), 2)
    }
