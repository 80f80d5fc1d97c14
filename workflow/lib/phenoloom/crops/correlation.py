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
    mask = masks.reshape(events, number, -1).astype(np.float32)
    signal = signals.reshape(events, number, -1)
    pearson = _pearson(flat, mask)
    product, shared = _products(signal, np.concatenate([signal, mask], axis=1), 2)
    energy = np.einsum("ncc->nc", product)
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
    beyond = values - masked
    # [b, a]: sums of channel a over the mask of b, outside that of a
    parts = _products(mask, np.concatenate([1 - mask, beyond, np.square(beyond)], axis=1), 3)
    count, total, square = (
        np.einsum("ncp->nc", inside, dtype=float)[:, :, None] + part.transpose(0, 2, 1)
        for inside, part in zip((mask, masked, np.square(masked)), parts, strict=True)
    )
    half, both = _products(masked, np.concatenate([values, masked], axis=1), 2)
    product = half + half.transpose(0, 2, 1) - both
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = square - np.square(total) / count
        covariance = product - total * total.transpose(0, 2, 1) / count
        usable = (count > 2.5) & (spread > 1e-6 * square)
        usable &= usable.transpose(0, 2, 1)
        found = covariance / np.sqrt(spread * spread.transpose(0, 2, 1))
    return np.where(usable, np.clip(found, -1, 1), np.nan)


def _products(left, right, parts):
    """`parts` arrays (n, C, C) float64: sums over pixels of left (n, C, P) times each part of right (n, parts C, P)."""
    return np.split((left @ right.transpose(0, 2, 1)).astype(float), parts, axis=2)


def _standardised(flat):
    """Channels (n, C, P) float32 with mean 0 and standard deviation 1 over all pixels, 0 where they are constant."""
    centred = flat - flat.mean(axis=2, keepdims=True, dtype=float).astype(np.float32)
    spread = np.sqrt(np.einsum("ncp,ncp->nc", centred, centred) / flat.shape[2])[:, :, None]
    constant = flat.max(axis=2, keepdims=True) == flat.min(axis=2, keepdims=True)
    centred *= np.divide(1, spread, out=np.zeros_like(spread), where=~constant & (spread > 0))
    return centred


def distance_features(centroids):
    """(name, a, b) -> (n,): distance in pixels of two channels' centres of mass (n, C, 2); NaN where one has none."""
    return {
        ("Location_Delta", a, b): np.hypot(*(centroids[:, a] - centroids[:, b]).T)
        for a, b in combinations(range(centroids.shape[1]), 2)
    }
