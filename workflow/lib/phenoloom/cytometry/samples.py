"""The table of samples of a cytometry dataset. Imports nothing heavy, for it is read while the DAG is built."""

from collections import Counter
from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.ingest.geometry import find_path, read_rows

#: Columns that have a meaning of their own; any other becomes metadata of the sample's events.
COLUMNS = ("dataset", "sample", "batch", "images", "fcs", "events")

#: What each format asks for.
NEEDS = {"sorter": ("images", "fcs"), "montage": ("images",), "crops": ("images",)}


def sample_rows(path, events="crops", dataset=None):
    """Rows of a table of samples as dicts of text, in its order, paths found (see geometry.find_path).

    events: format of the events, which says what columns each row needs. `batch` is "1" where there is none; rows of
    other datasets are left out. Raises InputError naming the file and the line.
    """
    path = Path(path)
    rows = []
    needed = ("sample", *NEEDS[events])
    for line, row in enumerate(read_rows(path, COLUMNS, needed), start=2):
        if dataset is not None and row.get("dataset") and row["dataset"] != dataset:
            continue
        row = {"batch": "1", **{key: value for key, value in row.items() if key != "dataset" and value}}
        for name in needed:
            if not row.get(name):
                raise InputError(f"{path}, line {line}: the column '{name}' is empty; give it for every sample")
        for name in ("images", "fcs", "events"):
            if row.get(name):
                row[name] = find_path(row[name], path.parent)
        rows.append(row)
    doubled = sorted(name for name, times in Counter(row["sample"] for row in rows).items() if times > 1)
    if doubled:
        raise InputError(
            f"{path}: the sample {', '.join(doubled)} is listed more than once; samples need distinct names"
        )
    if not rows:
        of = f" for dataset {dataset}" if dataset else ""
        raise InputError(f"{path} lists no samples{of}; add one line per sample")
    return rows


def sample_metadata(dataset, row):
    """Metadata of all events of a sample: {"Metadata_Sample": ..., "Metadata_Plate": the same, "Metadata_Batch": ...}
    and the columns that have no meaning of their own.
    """
    own = {f"Metadata_{name}": value for name, value in row.items() if name not in COLUMNS}
    return {
        "Metadata_Dataset": dataset,
        "Metadata_Sample": row["sample"],
        "Metadata_Plate": row["sample"],
        "Metadata_Batch": row["batch"],
        **own,
    }
