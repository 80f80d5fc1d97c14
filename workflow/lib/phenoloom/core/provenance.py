"""Where a table comes from, kept in its Parquet key-value metadata.

Holds no time, host or absolute path: the same inputs give the same bytes.
"""

import json
from importlib import metadata
from pathlib import Path

import pyarrow.parquet as pq

KEY = b"phenoloom"


def versions(packages):
    """Installed versions of the named packages; a missing one is left out."""
    found = {}
    for package in sorted(packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def attach(schema, origin):
    """Return the Arrow schema with `origin` (a JSON-serialisable dict) in its metadata."""
    pairs = dict(schema.metadata or {})
    pairs[KEY] = json.dumps(origin, sort_keys=True, default=str).encode()
    return schema.with_metadata(pairs)


def read_origin(path):
    """Origin of a Parquet table as a dict; empty when it has none."""
    pairs = pq.read_schema(Path(path)).metadata or {}
    return json.loads(pairs.get(KEY, b"{}"))
