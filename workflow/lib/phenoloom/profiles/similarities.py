"""Tables whose rows have no features but a similarity to each other: a square of columns, one per row."""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns

#: The column that holds the similarities to a row. Rows may be chosen and sorted, the columns follow.
OWN = "Metadata_Similarity_Column"

_COLUMN = "Similarity_{:05d}"


def is_similarity(table):
    """Whether a table (or its column names) is of similarities between its rows."""
    return OWN in (table.columns if isinstance(table, pd.DataFrame) else table)


def with_similarity(metadata, values):
    """DataFrame of metadata (n rows) and the similarities (n, n) between the rows."""
    names = [_COLUMN.format(number + 1) for number in range(len(metadata))]
    square = pd.DataFrame(values, columns=names, index=metadata.index)
    return pd.concat([metadata.assign(**{OWN: names}), square], axis="columns")


def similarity_of(table):
    """Similarities (n, n) float64 between the rows of a table that with_similarity made, or some of them.

    Raises InputError when a row's column is missing or a similarity is.
    """
    names = table[OWN].astype(str)
    missing = sorted(set(names) - set(feature_columns(table)))
    if missing:
        raise InputError(f"the profile has no column {missing[0]} that its {OWN} names; make the profile again")
    values = table[list(names)].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("the profile lacks similarities between its rows; make the profile again")
    return values


def mean_blocks(values, labels):
    """Mean similarity (k, k) between the groups 0 to k - 1 of `labels` (n,) of the rows of a similarity (n, n)."""
    members = np.arange(labels.max() + 1)[:, None] == labels[None, :]
    shares = members / members.sum(axis=1, keepdims=True)
    return shares @ values @ shares.T
