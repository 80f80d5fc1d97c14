"""All ledgers of a study in one table."""

import json
from pathlib import Path

import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import SCHEMA, read_ledgers


def join_ledgers(paths):
    """One DataFrame with the columns of the ledger's schema, from Parquet and .jsonl ledgers, in the order given.

    Raises InputError naming a .jsonl file whose lines are no JSON objects.
    """
    paths = [Path(path) for path in paths]
    tables = [read_json_lines(path) if path.suffix == ".jsonl" else read_ledgers([path]) for path in paths]
    tables = [table for table in tables if len(table)]
    if not tables:
        return SCHEMA.empty_table().to_pandas()
    joined = pd.concat(tables, ignore_index=True)[SCHEMA.names]
    return joined.astype({name: object for name in SCHEMA.names if name != "count"}).astype({"count": "int64"})


def read_json_lines(path):
    """Rows of a ledger written as one JSON object per line; keys that the schema lacks are dropped."""
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number} is no ledger row; remove the file and run its job again"
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} is no ledger row; remove the file and run its job again")
        rows.append({name: _text(row.get(name)) for name in SCHEMA.names} | {"count": int(row.get("count") or 1)})
    return pd.DataFrame(rows, columns=SCHEMA.names)


def _text(value):
    return None if value is None else str(value)
