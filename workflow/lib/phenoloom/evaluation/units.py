"""What an evaluation sees of a table: metadata as text, finite feature values, and a list of what was left out."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import METADATA, feature_columns
from phenoloom.evaluation.similarity import PRECOMPUTED, of_rows
from phenoloom.profiles.annotation import plain_text, treatments
from phenoloom.profiles.queries import select
from phenoloom.profiles.similarities import is_similarity, similarity_of

#: Stands between several labels, or several batches, of one unit.
SEPARATOR = "|"

#: A row that lacks more than this share of its features is left out before features are.
MISSING_SHARE = 0.5


@dataclass(frozen=True)
class Units:
    """Rows that can be compared: `table` (metadata, n rows), `values` (n, d) finite float64, `features` (d names).

    left_out: DataFrame of rows without usable values (their metadata and `note`). notes: sentences for the summary.
    distance: how to compare the rows; `precomputed` where `values` (n, n) are similarities between them.
    """

    table: pd.DataFrame
    values: np.ndarray
    features: list
    left_out: pd.DataFrame
    notes: list = field(default_factory=list)
    distance: str | None = None

    def __len__(self):
        return len(self.table)

    def values_of(self, rows):
        """Values of some rows (mask or indices), in the form of `values`."""
        return of_rows(self.values, rows, self.distance)


def units(table, samples="", distance=None):
    """Units of a well- or treatment-level table.

    samples: pandas expression that chooses rows, such as "Metadata_Plate != 'P3'"; empty takes all. Rows that lack
    more than half of the features are left out first, then features that any remaining row lacks (NaN or infinite),
    then, for a distance that has no value for them (cosine: all zero, correlation: all equal), such rows. A table of
    similarities (step fuse) is compared by these, whatever the distance.
    Raises InputError when nothing remains.
    """
    table = choose(table, samples)
    if is_similarity(table):
        return _of_similarity(table)
    features = feature_columns(table)
    if not features:
        raise InputError("the profile has no feature columns; check its chain of steps in the study's config")
    values = table[features].to_numpy(dtype=np.float64)
    finite = np.isfinite(values)
    bare = finite.mean(axis=1) < 1 - MISSING_SHARE
    kept = finite[~bare].all(axis=0)
    if bare.all() or not kept.any():
        raise InputError(
            "every row or every feature of the profile has missing values; drop them in its chain of steps"
        )
    reasons = np.where(bare, "more than half of its features have no value", "").astype(object)
    values = values[:, kept]
    reasons[~bare & _without_direction(values, distance)] = f"its profile is constant: no {distance} similarity exists"
    usable = reasons == ""
    if not usable.any():
        raise InputError(f"no row of the profile can be compared: {reasons[0]}")
    metadata = table.drop(columns=features).reset_index(drop=True)
    left_out = metadata[~usable].assign(note=reasons[~usable])
    notes = []
    if not kept.all():
        notes.append(f"{int((~kept).sum())} of {len(features)} features left out: they have missing values")
    if len(left_out):
        notes.append(f"{len(left_out)} of {len(table)} rows left out: {left_out['note'].iloc[0]}")
    names = [name for name, keep in zip(features, kept, strict=True) if keep]
    left_out = left_out.reset_index(drop=True)
    return Units(metadata[usable].reset_index(drop=True), values[usable], names, left_out, notes, distance)


def _of_similarity(table):
    metadata = table.drop(columns=feature_columns(table))
    notes = ["compared by the similarity of the profile itself, which has no features"]
    return Units(metadata, similarity_of(table), [], metadata.iloc[:0].assign(note=""), notes, PRECOMPUTED)


def choose(table, samples):
    """Rows of a table for which the pandas expression `samples` is true; all of them when it is empty."""
    if not samples:
        return table.reset_index(drop=True)
    chosen = table[select(table, samples, "samples of an evaluation")]
    if chosen.empty:
        raise InputError(f"the query {samples!r} chooses no row of the profile; check its columns and values")
    return chosen.reset_index(drop=True)


def _without_direction(values, distance):
    if distance in ("cosine", "abs_cosine"):
        return ~values.any(axis=1)
    if distance == "correlation":
        return np.ptp(np.nan_to_num(values), axis=1) == 0
    return np.zeros(len(values), dtype=bool)


def text(table, name):
    """A metadata column as an array of text, '' where missing; `name` with or without the prefix `Metadata_`.

    `Treatment` is the perturbation with its concentration and unit, unless the table has such a column.
    Raises InputError when the table lacks the column.
    """
    column = name if name.startswith(METADATA) else METADATA + name
    if column == "Metadata_Treatment" and column not in table:
        text(table, "Perturbation")  # says what is missing
        return treatments(table)
    if column not in table:
        known = ", ".join(item.removeprefix(METADATA) for item in table.columns if item.startswith(METADATA))
        raise InputError(f"the profile has no metadata column {column}; it has {known}")
    return plain_text(table[column])


def codes(table, names):
    """Integer code (n,) of the combination of several metadata columns; equal codes mean equal in all of them."""
    if not names:
        return np.zeros(len(table), dtype=np.int32)
    rows = list(zip(*(text(table, name) for name in names), strict=True))
    return pd.factorize(pd.Series(rows, dtype=object))[0].astype(np.int32)


def is_control(table, kind="negative"):
    """Mask (n,) of the controls of a kind (`negative`, `positive`); none where the table does not say."""
    if "Metadata_Control" not in table:
        return np.zeros(len(table), dtype=bool)
    return text(table, "Control") == kind


def members(labels, separator=SEPARATOR):
    """Membership (n, L) bool and the L sorted label names, of texts that hold one label or several ('a|b').

    separator: None when a text is one label whatever it holds, as the name of a compound is.

    >>> members(["a|b", "b", ""])[0].astype(int).tolist()
    [[1, 1], [0, 1], [0, 0]]
    """
    sets = [{part.strip() for part in (label.split(separator) if separator else [label])} - {""} for label in labels]
    names = sorted(set().union(*sets)) if sets else []
    place = {name: index for index, name in enumerate(names)}
    matrix = np.zeros((len(sets), len(names)), dtype=bool)
    for row, labels_of_row in enumerate(sets):
        matrix[row, [place[name] for name in labels_of_row]] = True
    return matrix, names
