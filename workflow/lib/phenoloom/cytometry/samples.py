"""The table of samples of a cytometry dataset. Imports nothing heavy, for it is read while the DAG is built."""

from collections import Counter
from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.names import encode
from phenoloom.ingest.geometry import find_path, read_rows

#: Columns that have a meaning of their own; any other becomes metadata of the sample's events.
COLUMNS = ("dataset", "sample", "batch", "images", "fcs", "events", "workspace")

#: Those that are paths.
PATHS = ("images", "fcs", "events", "workspace")

#: What each format asks for.
NEEDS = {"sorter": ("images", "fcs"), "montage": ("images",), "crops": ("images",)}

#: Metadata that every event has, which no column, field or label may be called.
RESERVED = ("Dataset", "Sample", "Plate", "Batch", "Event", "Image", "ObjectNumber", "Split")

#: Bytes of an encoded name, beside which endings and temporary names need room in a file's 255.
LONGEST = 150


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
        for name in row:
            if problem := name_problem(name) if name not in COLUMNS else "":
                raise InputError(f"{path}: the column {name!r} {problem}")
        if len(encode(row["sample"])) > LONGEST:
            raise InputError(f"{path}, line {line}: the name of the sample is too long for a file; shorten it")
        rows.append(row | {name: find_path(row[name], path.parent) for name in PATHS if row.get(name)})
    if doubled := _doubled(row["sample"] for row in rows):
        raise InputError(f"{path}: the sample {doubled} is listed more than once; samples need distinct names")
    for name in NEEDS[events]:
        if doubled := _doubled(row[name] for row in rows):
            raise InputError(f"{path}: {doubled} is the '{name}' of more than one sample; events would be there twice")
    if not rows:
        of = f" for dataset {dataset}" if dataset else ""
        raise InputError(f"{path} lists no samples{of}; add one line per sample")
    return rows


def name_problem(name):
    """Why metadata cannot have a name, given without its prefix; "" where it can."""
    if not name or name.startswith("Metadata_"):
        return "is no name; write it without the prefix Metadata_"
    if name.casefold() in {known.casefold() for known in RESERVED}:
        return "is metadata that every event has by itself; choose another name"
    return ""


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


def _doubled(values):
    return ", ".join(sorted(value for value, times in Counter(values).items() if times > 1))
