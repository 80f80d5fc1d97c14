"""Tables in the field's convention: Parquet, `Metadata_*` columns, float32 features, origin in the file's metadata."""

import contextlib
import zlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.core.provenance import attach

METADATA = "Metadata_"

#: One row per image plane. `site`, `page`, `width` and `height` are integers; `digest` is of the file's content.
INDEX_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("batch", pa.string()),
        ("plate", pa.string()),
        ("well", pa.string()),
        ("site", pa.int32()),
        ("channel", pa.string()),
        ("path", pa.string()),
        ("page", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("dtype", pa.string()),
        ("size", pa.int64()),
        ("digest", pa.string()),
    ]
)


def metadata_columns(columns):
    """The `Metadata_*` names, in order."""
    return [name for name in columns if name.startswith(METADATA)]


def feature_columns(table):
    """Names of the numeric columns that are no metadata, in order. Takes a DataFrame or an Arrow schema/table."""
    if isinstance(table, pd.DataFrame):
        return [
            name
            for name in table.columns
            if not str(name).startswith(METADATA) and pd.api.types.is_numeric_dtype(table[name])
        ]
    schema = table if isinstance(table, pa.Schema) else table.schema
    return [
        field.name
        for field in schema
        if not field.name.startswith(METADATA) and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
    ]


def to_arrow(table):
    """Arrow table with float32 features and dictionary-encoded text metadata, from a DataFrame or Arrow table."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    columns, fields = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name.startswith(METADATA):
            if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
                column = column.cast(pa.string()).dictionary_encode()
        elif pa.types.is_floating(field.type) and field.type != pa.float32():
            column = column.cast(pa.float32(), safe=False)
        columns.append(column)
        fields.append(pa.field(field.name, column.type))
    return pa.table(columns, schema=pa.schema(fields, metadata=table.schema.metadata))


def write_table(path, table, origin=None):
    """Write a representation (DataFrame or Arrow) atomically as Parquet, with its origin."""
    write_arrow(path, to_arrow(table), origin)


def write_arrow(path, table, origin=None):
    """Write any Arrow table or DataFrame atomically, types as they are."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    if origin is not None:
        table = table.replace_schema_metadata(attach(table.schema, origin).metadata)
    with atomic(path) as partial:
        pq.write_table(table, partial, compression="zstd")


@contextlib.contextmanager
def stream_table(path, origin=None):
    """Yield `write(table)`: appends Arrow tables or DataFrames of one schema, one row group each, atomically.

    The first table sets the schema; later ones are cast to it. Raises ValueError when nothing was written.
    """
    state = {"writer": None, "schema": None}
    with atomic(path) as partial:

        def write(table):
            table = to_arrow(table)
            if state["writer"] is None:
                state["schema"] = attach(table.schema, origin) if origin is not None else table.schema
                state["writer"] = pq.ParquetWriter(partial, state["schema"], compression="zstd")
            state["writer"].write_table(table.select(state["schema"].names).cast(state["schema"]))

        try:
            yield write
        finally:
            if state["writer"] is not None:
                state["writer"].close()
        if state["writer"] is None:
            raise ValueError(f"no rows were written to {path}")


def read_table(path, columns=None):
    """Read a table as a DataFrame from Parquet, CSV/TSV or either gzipped; text columns stay text.

    Raises InputError, naming the file, when it is missing, empty or malformed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path in the study's config")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); write it again or remove it from the config")
    try:
        if path.suffix == ".parquet":
            frame = pq.read_table(path, columns=columns).to_pandas(strings_to_categorical=False)
            for name, dtype in frame.dtypes.items():
                if isinstance(dtype, pd.CategoricalDtype):
                    frame[name] = frame[name].astype(object)
            return frame
        stem = path.name.removesuffix(".gz")
        separator = "\t" if stem.endswith((".tsv", ".txt")) else ","
        return pd.read_csv(path, sep=separator, usecols=columns, low_memory=False)
    except (
        pa.ArrowException,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        ValueError,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        raise InputError(f"{path} cannot be read as a table: {_first_line(error)}") from error


def read_text_table(path):
    """Read a small CSV/TSV (plates, plate map, barcodes) with every cell as stripped text, empty cells as ''.

    Separator by content: tab, semicolon or comma. A byte-order mark is ignored. Raises InputError naming the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path in the study's config")
    try:
        head = path.read_text(encoding="utf-8-sig").lstrip().split("\n", 1)[0]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    if not head.strip():
        raise InputError(f"{path} is empty; it needs a header line and rows")
    separator = max("\t;,", key=head.count)
    try:
        frame = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} cannot be read as a table: {_first_line(error)}") from error
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame.apply(lambda column: column.str.strip())


def _first_line(error):
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def read_index(paths, channel=None, plate=None):
    """Read image index rows as a DataFrame from one Parquet file or several, sorted by well, site and channel."""
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    frame = pd.concat([pq.read_table(path).to_pandas() for path in paths], ignore_index=True)
    if channel is not None:
        frame = frame[frame["channel"] == channel]
    if plate is not None:
        frame = frame[frame["plate"] == plate]
    return frame.sort_values(["plate", "well", "site", "channel"], kind="stable").reset_index(drop=True)
