"""Files behind a representation that enters from outside. Imports nothing heavy: the DAG is built with it."""

import glob
from pathlib import Path

from phenoloom.core.errors import InputError


def tables(block):
    """Sorted paths of the tables of a representation's config block; patterns are resolved.

    Raises InputError where the block names neither or both of table and folders, or a pattern finds nothing.
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
    inside = [str(path) for folder in folders(block) for path in sorted(Path(folder).rglob("*.csv")) if path.is_file()]
    return [*tables(block), *inside, *annotations(block)]


def _check(block):
    if bool(block.get("table")) == bool(block.get("folders")):
        raise InputError("a representation is named by `table` or by `folders`: give one of them")


def _resolve(patterns):
    found = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        pattern = str(Path(pattern).expanduser())
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
        if not matches:
            raise InputError(f"no file matches {pattern}; check the path of the representation in the config")
        found.extend(matches)
    return list(dict.fromkeys(found))
