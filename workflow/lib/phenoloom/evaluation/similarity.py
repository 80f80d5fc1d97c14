"""Similarity of profiles, computed in blocks of rows so that memory stays bounded."""

import numpy as np
from scipy.spatial.distance import cdist

#: Entries of a similarity matrix held at a time.
BLOCK_ENTRIES = 4_000_000

#: The values are similarities between the rows themselves, (n, n).
PRECOMPUTED = "precomputed"

DISTANCES = ("cosine", "abs_cosine", "correlation", "euclidean", "manhattan", "chebyshev")

_SCIPY = {"euclidean": "euclidean", "manhattan": "cityblock", "chebyshev": "chebyshev"}


def prepared(values, distance):
    """Values (n, d) in the form in which `similarity` compares them: rows centred (correlation), of length one.

    Raises ValueError for NaN, for rows without a direction, and for an unknown distance.
    """
    values = np.asarray(values, dtype=np.float64)
    if distance not in (*DISTANCES, PRECOMPUTED):
        raise ValueError(f"{distance!r} is none of {', '.join(DISTANCES)}")
    if not np.isfinite(values).all():
        raise ValueError("profiles hold missing or infinite values; these have no similarity")
    if distance == PRECOMPUTED and values.shape != (len(values), len(values)):
        raise ValueError(f"similarities between {len(values)} rows are a square, not {values.shape}")
    if distance in (*_SCIPY, PRECOMPUTED):
        return values
    if distance == "correlation":
        values = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    if (length == 0).any():
        raise ValueError(f"a constant profile has no {distance} similarity")
    return values / length


def similarity(first, second, distance):
    """Similarity (a, b) of prepared rows: the cosine or correlation, or minus the distance; higher is more alike.

    Rounded to 12 digits of the largest value, so that profiles that are equal on paper tie on every machine.
    """
    if distance in _SCIPY:
        result = -cdist(first, second, metric=_SCIPY[distance])
        scale = np.abs(result).max(initial=1.0)
        return np.round(result / scale, 12) * scale
    result = first @ second.T
    if distance == "abs_cosine":
        result = np.abs(result)
    return np.round(result, 12)


def between(vectors, first, second, distance):
    """Similarity (a, b) of the prepared rows `first` (slice or indices) with the rows `second`."""
    if distance == PRECOMPUTED:
        return vectors[first][:, second]
    return similarity(vectors[first], vectors[second], distance)


def of_rows(values, rows, distance):
    """The values of some rows (mask or indices); of similarities these between them."""
    return values[rows][:, rows] if distance == PRECOMPUTED else values[rows]


def blocks(n_rows, n_columns):
    """Slices of rows whose similarity matrix with `n_columns` columns stays below BLOCK_ENTRIES."""
    step = max(1, BLOCK_ENTRIES // max(1, n_columns))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
