"""Covariances of the features of a well's cells, projected at random to a number of columns."""

import hashlib

import numpy as np
from scipy import sparse

from phenoloom.core.errors import InputError

#: Columns that each covariance counts in.
NONZERO = 4

#: The projection of so many features takes a gigabyte; it grows with their square.
MOST_FEATURES = 3000


class Projection:
    """Sparse random projection (columns, pairs of features) of covariances, pairs in the order of `upper_covariances`.

    Each pair counts in NONZERO columns with a random sign, so that inner products stay what they are on average. Which
    columns and signs is a hash of the seed and the two names: any plate's matrix is the same where the features are, in
    whatever order, and a feature that a plate lacks changes nothing for the others.
    Source: Kane and Nelson 2014, doi:10.1145/2559902, for Achlioptas' projection that Rohban et al. 2019 take.
    """

    def __init__(self, features, columns, seed=0):
        """features: names. Raises InputError for more than MOST_FEATURES of them."""
        if len(features) > MOST_FEATURES:
            raise InputError(
                f"covariances of {len(features):,} features are too many ({MOST_FEATURES:,} at most); leave features "
                "out with the blocklist of aggregate"
            )
        first, second = np.triu_indices(len(features))
        keys = _keys(features, seed)
        pairs = _mixed(keys[first] + keys[second])
        draws = _mixed(pairs[:, None] + _mixed(np.arange(1, NONZERO + 1, dtype=np.uint64)))
        signs = np.where(draws >> np.uint64(63), 1, -1) / np.sqrt(NONZERO)
        places = (draws % np.uint64(columns)).astype(np.int32)
        ends = np.arange(0, places.size + 1, NONZERO)
        self.matrix = sparse.csc_array((signs.ravel(), places.ravel(), ends), shape=(columns, len(pairs)))

    def __call__(self, covariances):
        """(columns,) of covariances (pairs,)."""
        return self.matrix @ covariances


def upper_covariances(values):
    """Sample covariances (d (d + 1) / 2,) of the rows of (d, n), the upper triangle of their matrix row by row.

    Of two features count the cells that have both, about each feature's own mean, as in numpy.ma.cov; NaN where fewer
    than two have.
    """
    values = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(values)
    known = present.sum(axis=1, keepdims=True)
    whole = np.where(present, values, 0)
    centred = np.where(present, whole - whole.sum(axis=1, keepdims=True) / np.maximum(known, 1), 0)
    shared = np.full((len(values), len(values)), values.shape[1] - 1.0)
    lacking = ~present.all(axis=1)
    shared[lacking] = present[lacking].astype(np.float64) @ present.T - 1
    shared[:, lacking] = shared[lacking].T
    upper = np.triu_indices(len(values))
    products, shared = (centred @ centred.T)[upper], shared[upper]
    return np.divide(products, shared, out=np.full(len(products), np.nan), where=shared > 0)


def _keys(names, seed):
    """A random number (n,) uint64 for each name."""
    digests = [hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest() for name in names]
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)


def _mixed(numbers):
    """Bits of uint64 numbers mixed, one to one. Source: splitmix64, Steele et al. 2014, doi:10.1145/2714064.2660195."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
