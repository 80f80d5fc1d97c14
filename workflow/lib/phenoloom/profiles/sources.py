"""Files behind a representation that enters from outside. Imports nothing heavy: the DAG is built with it."""

import glob
from pathlib import Path

from phenoloom.core.errors import InputError

_OUTPUTS = (".csv", ".csv.gz", ".sqlite", ".sqlite3", ".db")


def tables(block):
    """Sorted paths of the tables of a representation's config block; patterns are resolved.

    Raises InputError where the block names none or several of table, folders and simulate, or a pattern finds nothing.
    """
    _check(block)
    return _resolve(block["table"]) if block.get("table") else []


def folders(block):
    """Sorted paths of the CellProfiler output folders of a block; patterns are resolved."""
    _check(block)
    return _resolve(block["folders"]) if block.get("folders") else []


def annotations(block):
    """Paths of the tables that are joined to a representation."""
    return [join["table"] for join in block.get("join") or []]


def files(block):
    """Every file that a representation depends on: what its rule declares as input."""
    return [*tables(block), *(file for folder in folders(block) for file in _outputs(folder)), *annotations(block)]


def _outputs(folder):
    """CSV files and SQLite databases in a CellProfiler output folder, or the database itself."""
    if Path(folder).is_file():
        return [folder]
    found = (path for path in Path(folder).rglob("*") if path.name.endswith(_OUTPUTS) and path.is_file())
    inside = sorted(map(str, found))
    if not inside:
        raise InputError(f"{folder} holds no CSV file or SQLite database of CellProfiler; correct `folders`")
    return inside


def _check(block):
    if sum(bool(block.get(key)) for key in ("table", "folders", "simulate")) != 1:
        raise InputError("a representation is named by `table` or `folders`, or made by `simulate`: give one of them")


def _resolve(patterns):
    found = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        pattern = str(Path(pattern).expanduser())
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
        if not matches:
            raise InputError(f"no file matches {pattern}; check the path of the representation in the config")
        found.extend(matches)
    return list(dict.fromkeys(found))
