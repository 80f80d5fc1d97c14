"""Single features of wells: which ones the config names, and the distance from the negative controls as one of them."""

import difflib
from fnmatch import fnmatchcase

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns
from phenoloom.evaluation.units import is_control
from phenoloom.profiles.similarities import is_similarity

#: Name of the derived feature: how far a well lies from the negative controls' mean, in any representation.
DISTANCE_TO_CONTROLS = "Distance_To_Controls"


def refuse_similarity(table, metric):
    """Raise InputError where a table has no features to measure, but similarities between its rows."""
    if is_similarity(table):
        raise InputError(
            f"{metric} needs features, and a profile that ends in fuse is a similarity; name other profiles in the "
            "evaluation's `of`"
        )


def named_features(table, patterns):
    """Feature columns that match the patterns (shell wildcards), in the table's order.

    Raises InputError when a pattern matches none, naming the nearest feature.
    """
    features = feature_columns(table)
    chosen = set()
    for pattern in patterns:
        found = [name for name in features if fnmatchcase(name, pattern)]
        if not found:
            near = difflib.get_close_matches(pattern, features, 1, 0.3)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"no feature of the profile matches {pattern!r}{hint}")
        chosen.update(found)
    return [name for name in features if name in chosen]


def distance_to_controls(table):
    """Euclidean distance (n,) of each row to the negative controls' mean, features scaled by the controls' deviation.

    A control is compared with the mean of the other controls, so that controls and treated wells are judged alike.
    Features with missing values, or without spread among the controls, are left out. None for fewer than three
    controls.
    """
    control = is_control(table)
    if control.sum() < 3:
        return None
    values = table[feature_columns(table)].to_numpy(dtype=np.float64)
    values = values[:, np.isfinite(values).all(axis=0)]
    spread = values[control].std(axis=0, ddof=1)
    usable = spread > 1e-12 * np.maximum(1, np.abs(values).max(axis=0, initial=0))
    if not usable.any():
        return None
    values = values[:, usable] / spread[usable]
    total, n = values[control].sum(axis=0), control.sum()
    centre = np.where(control[:, None], (total - values) / (n - 1), total / n)
    return np.linalg.norm(values - centre, axis=1)
