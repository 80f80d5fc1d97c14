"""Averages, dispersions and covariances of wells fused to one similarity by similarity network fusion."""

import numpy as np
from scipy import sparse

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns, metadata_columns
from phenoloom.profiles.kinds import kind_of
from phenoloom.profiles.similarities import with_similarity

#: Wells whose squares take some 22 GB.
MOST_WELLS = 20_000


def fuse(frame, options, dropped, step="fuse"):
    """The wells with one similarity instead of features: their correlations by each kind of statistic, fused.

    frame: one row per well, columns of two kinds at least (see profiles.kinds). options: neighbours, mu, iterations.
    Features that a well lacks are left out and counted. Every well counts in the similarity of any two: one more
    changes all. Returns a DataFrame as `similarities.with_similarity` makes.
    Raises InputError for a single kind, for wells without a correlation, and for fewer than 3 wells or more than
    MOST_WELLS.
    Source: Rohban et al. 2019, doi:10.1038/s41467-019-10154-8.
    """
    if not 3 <= len(frame) <= MOST_WELLS:
        raise InputError(f"step {step} takes 3 to {MOST_WELLS:,} wells and there are {len(frame):,}; filter them")
    kinds = _complete_kinds(frame, dropped, step)
    if len(kinds) < 2:
        raise InputError(
            f"step {step} joins averages, dispersions and covariances, and the wells have complete features of "
            f"{' and '.join(kinds) or 'none'} only; add dispersion or covariances to aggregate, or drop features with "
            "missing values before"
        )
    networks = [
        affinity(_distances(frame, names, kind, step), options["neighbours"], options["mu"])
        for kind, names in kinds.items()
    ]
    metadata = frame[metadata_columns(frame.columns)]
    return with_similarity(metadata, fused(networks, options["neighbours"], options["iterations"]))


def affinity(distances, neighbours, mu):
    """Affinities (n, n) of distances (n, n): a normal density, as wide as neighbourhoods are around the pair.

    The deviation is mu times the mean of the distance and of the two mean distances to the nearest `neighbours`. This
    is the kernel of the authors' software (SNFtool), free of the distances' unit; that of the paper is not.
    Source: Wang et al. 2014, doi:10.1038/nmeth.2810.
    """
    neighbours = min(neighbours, len(distances) - 1)
    near = np.partition(distances, neighbours, axis=1)[:, : neighbours + 1].sum(axis=1) / neighbours  # itself adds 0
    deviations = near[:, None] + near[None, :]
    deviations += distances
    deviations *= mu / 3
    np.maximum(deviations, np.finfo(float).eps, out=deviations)
    density = distances / deviations
    np.exp(-0.5 * density**2, out=density)
    density /= deviations
    density /= np.sqrt(2 * np.pi)
    return density


def fused(networks, neighbours, iterations):
    """One network (n, n), symmetric, of the affinities (n, n) of several: each is diffused along its own nearest
    neighbours towards the mean of the others, `iterations` times. The networks are overwritten.

    Source: Wang et al. 2014, doi:10.1038/nmeth.2810, its equations 2 to 6.
    """
    local = [_nearest(one, neighbours) for one in networks]
    for network in networks:
        _normalise(network)
    for _ in range(iterations):
        total = sum(networks)
        for own, network in zip(local, networks, strict=True):
            others = total - network
            others /= len(networks) - 1
            for rows in _row_blocks(network):
                network[rows] = (own @ (own[rows] @ others).T).T
            _normalise(network)
    return sum(networks) / len(networks)


def _normalise(network):
    """Half for itself and half for all others, in proportion; made symmetric. In place, for squares are large."""
    np.fill_diagonal(network, 0)
    network /= 2 * np.maximum(network.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    np.fill_diagonal(network, 0.5)
    network += network.T
    network /= 2


def _nearest(network, neighbours):
    """Sparse (n, n): each row's shares of itself and its nearest neighbours, zero for all others."""
    n = len(network)
    size = min(neighbours + 1, n)
    columns = np.empty((n, size), dtype=np.int64)
    for rows in _row_blocks(network):
        block = -network[rows]
        block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = -np.inf
        columns[rows] = np.argpartition(block, size - 1, axis=1)[:, :size]
    shares = np.take_along_axis(network, columns, axis=1)
    shares /= shares.sum(axis=1, keepdims=True)
    return sparse.csr_array((shares.ravel(), columns.ravel(), np.arange(0, columns.size + 1, size)), shape=(n, n))


def _row_blocks(network):
    """Slices of rows of a square, a thousand each, so that what is made of one stays small."""
    n = len(network)
    return [slice(first, min(first + 1000, n)) for first in range(0, n, 1000)]


def _complete_kinds(frame, dropped, step):
    """{kind: names of its columns that all wells have}, kinds without any left out."""
    missing = frame[feature_columns(frame)].isna().any()
    kinds = {}
    for name, lacking in missing.items():
        if lacking:
            dropped.add("feature", name, step, "missing values")
        else:
            kinds.setdefault(kind_of(name), []).append(name)
    return kinds


def _distances(frame, names, kind, step):
    """1 - correlation (n, n) of the rows."""
    values = frame[names].to_numpy(dtype=float)
    values = values - values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1)
    constant = np.flatnonzero(lengths <= 1e-12 * np.abs(frame[names].to_numpy(dtype=float)).max(axis=1))
    if len(constant):
        plate, well = frame.iloc[constant[0]][["Metadata_Plate", "Metadata_Well"]]
        raise InputError(
            f"step {step}: {len(constant)} wells, {well} of plate {plate} among them, have the same value in all "
            f"{len(names)} columns of {kind}, so that they correlate with none; filter them, or normalise before"
        )
    values /= lengths[:, None]
    distances = 1 - values @ values.T
    np.maximum(distances, 0, out=distances)
    np.fill_diagonal(distances, 0)
    return distances
