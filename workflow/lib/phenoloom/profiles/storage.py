"""Tables on their way between two steps: double precision, so that nothing is rounded before the last step."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.tables import METADATA, to_arrow, write_arrow


def write_double(path, frame, origin=None):
    """Write a small table with float64 features and dictionary-encoded text metadata, atomically."""
    metadata = to_arrow(frame[[name for name in frame.columns if name.startswith(METADATA)]])
    features = frame[[name for name in frame.columns if not name.startswith(METADATA)]].astype(float)
    table = pa.Table.from_pandas(features, preserve_index=False).replace_schema_metadata(None)
    columns = {
        field.name: column
        for part in (metadata, table)
        for field, column in zip(part.schema, part.columns, strict=True)
    }
    write_arrow(path, pa.table(columns), origin)


def read_wells(path):
    """Wells table as a DataFrame: features float64, text metadata as objects, missing text as ""."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as a Parquet table: {error}") from error
    frame = table.to_pandas()
    columns = {}
    for name in frame.columns:
        values = frame[name]
        if name.startswith(METADATA):
            if isinstance(values.dtype, pd.CategoricalDtype):
                values = values.astype(object)
            if values.dtype == object:
                values = values.where(values.notna(), "")
        elif pd.api.types.is_numeric_dtype(values):
            values = values.astype(float)
        columns[name] = values
    return pd.DataFrame(columns)
