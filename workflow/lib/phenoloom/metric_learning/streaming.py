"""A cell profile over Parquet files of any size: metadata in memory, features only of the cells that are fitted on."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import feature_columns, metadata_columns
from phenoloom.metric_learning.objectives import limited_threads
from phenoloom.metric_learning.steps import fit, planned, tell_incomplete, with_columns
from phenoloom.metric_learning.transform import apply
from phenoloom.profiles.annotation import as_text
from phenoloom.profiles.dropped import Dropped

#: Rows read at a time.
ROWS = 20_000


def profile_files(paths, write, name, steps, seed=0, threads=1, ledger=None, rows=ROWS):
    """(Transform, dropped, notes): as `steps.run` over several Parquet tables of cells, written chunk by chunk.

    paths: tables of one sample each; their common features count, others are listed as dropped. write: takes DataFrames
    in order, as `core.tables.stream_table` yields it. name: of the profile. rows: held at a time.
    """
    ledger, dropped = ledger or Ledger("cell_profile"), Dropped()
    features = common_features(paths, dropped)
    metadata, chosen, notes = planned(read_metadata(paths), steps, seed)
    sample = pd.concat([metadata.iloc[chosen], _rows(paths, features, chosen, rows)], axis="columns")
    transform, more = fit(sample, steps, seed, threads, ledger, dropped)
    del sample
    complete, first = np.empty(len(metadata), dtype=bool), 0
    for chunk in _chunks(paths, features, rows):
        part = metadata.iloc[first : first + len(chunk)]
        with limited_threads(threads):
            embedding = apply(transform, pd.concat([part, chunk.set_axis(part.index)], axis="columns"))
        usable = np.isfinite(embedding).all(axis=1)
        complete[first : first + len(chunk)] = usable
        if usable.any():
            write(with_columns(part[usable].reset_index(drop=True), embedding[usable], name))
        first += len(chunk)
    tell_incomplete(metadata, complete, ledger, dropped)
    return transform, dropped.frame(), [*notes, *more]


def common_features(paths, dropped):
    """Names of the features that all tables have, in the first one's order. Raises InputError for none."""
    if not paths:
        raise InputError("there is no table of cells; the ledgers of the steps before say why")
    each = [feature_columns(_schema(path)) for path in paths]
    common = set(each[0]).intersection(*each)
    for name in sorted(set().union(*each) - common):
        dropped.add("feature", name, "cell_profile", "not in every table of cells")
    if not common:
        raise InputError(
            f"{paths[0]} has no feature that all {len(paths)} tables of cells share; rename their channels"
        )
    return [name for name in each[0] if name in common]


def read_metadata(paths):
    """Metadata of all tables, one below the other; a column that a table lacks is missing there."""
    frames = []
    for path in paths:
        schema = _schema(path)
        frame = pq.read_table(path, columns=metadata_columns(schema.names)).to_pandas()
        if not metadata_columns(schema.names):
            raise InputError(f"{path} has no Metadata_ columns; it is no table of cells")
        frames.append(frame)
    joined = pd.concat(frames, ignore_index=True)
    for name in joined:
        if not pd.api.types.is_numeric_dtype(joined[name]):
            joined[name] = as_text(joined[name]).astype("category")
    return joined


def _schema(path):
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path} cannot be read as a Parquet table of cells ({type(error).__name__}); make it again"
        ) from error


def _chunks(paths, features, rows):
    """DataFrames of the features, at most `rows` at a time, in the order of `read_metadata`."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows, columns=features):
                yield batch.to_pandas()


def _rows(paths, features, chosen, rows):
    """Features of the chosen rows (sorted positions over all tables) as a float32 DataFrame with these as its index."""
    parts, first = [], 0
    for chunk in _chunks(paths, features, rows):
        here = chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, first + len(chunk))]
        if len(here):
            parts.append(chunk.iloc[here - first].astype(np.float32).set_axis(here))
        first += len(chunk)
    return pd.concat(parts)
