"""A fitted chain as plain arrays: applied to cells chunk by chunk, stored without pickles."""

import json
from dataclasses import dataclass

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.metric_learning.scaling import scaled
from phenoloom.metric_learning.splits import column

#: Rows held in double precision at a time.
CHUNK = 10_000

#: What may stand in a stored transform, and the arrays that it then has.
STAGES = {"scale": ("names", "centre", "spread"), "select": ("kept",), "linear": ("centre", "components")}


@dataclass(frozen=True)
class Transform:
    """features: names of the input columns. by: metadata column by which `scale` goes, or "". stages: list of (kind,
    arrays): `scale` (names (g,), centre and spread (g, d)), `select` (kept: positions), `linear` (centre (d,),
    components (n, d)).
    """

    features: list
    by: str
    stages: list


def width(transform):
    """Number of columns that come out."""
    number = len(transform.features)
    for kind, arrays in transform.stages:
        number = len(arrays["kept"]) if kind == "select" else number
        number = len(arrays["components"]) if kind == "linear" else number
    return number


def values_of(table, features):
    """Features of a DataFrame as float64 (n, d), infinite values as NaN. Raises InputError when one is not there."""
    missing = [name for name in features if name not in table]
    if missing:
        raise InputError(
            f"the table of cells lacks {len(missing)} features that the transform takes, {missing[0]} for one"
        )
    values = table[list(features)].to_numpy(dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def apply(transform, table):
    """Embedding (n, k) float32 of a DataFrame of cells; a row of NaN where a cell lacks a value that is needed.

    Holds CHUNK rows in double precision at a time. Raises InputError for missing features, and for a group of `by` that
    was not fitted.
    """
    result = np.empty((len(table), width(transform)), dtype=np.float32)
    for first in range(0, len(table), CHUNK):
        chunk = table.iloc[first : first + CHUNK]
        values = values_of(chunk, transform.features)
        groups = column(chunk, transform.by) if transform.by else np.full(len(chunk), "", dtype=object)
        for kind, arrays in transform.stages:
            values = _staged(kind, arrays, values, groups, transform.by)
        values[~np.isfinite(values).all(axis=1)] = np.nan
        result[first : first + CHUNK] = values
    return result


def _staged(kind, arrays, values, groups, by):
    if kind == "select":
        return values[:, arrays["kept"]]
    if kind == "scale":
        return scaled(values, groups, by, **arrays)
    return (values - arrays["centre"]) @ arrays["components"].T


def arrays_of(transform):
    """Name -> array of a transform, for `numpy.savez`; no objects."""
    head = {"features": transform.features, "by": transform.by, "kinds": [kind for kind, _ in transform.stages]}
    arrays = {"head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)}
    for number, (_, content) in enumerate(transform.stages):
        arrays |= {f"{number}_{name}": array for name, array in content.items()}
    return arrays


def transform_of(arrays):
    """The transform whose `arrays_of` these are, such as `numpy.load(path)` gives. Raises InputError for others."""
    try:
        head = json.loads(bytes(np.asarray(arrays["head"])))
        stages = [
            (kind, {name: np.asarray(arrays[f"{number}_{name}"]) for name in STAGES[kind]})
            for number, kind in enumerate(head["kinds"])
        ]
        return Transform(list(head["features"]), head["by"], stages)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"this is no stored transform of cells ({error}); make it again") from error
