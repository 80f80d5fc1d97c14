"""What is known of a study's images before they are read: declared geometry, the table of plates, counts of the index.

Imports nothing heavy, for it runs while the DAG is built.
"""

import csv
import difflib
import json
import os
from collections import Counter
from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.wells import FORMATS, normalize_well, position, well_name

#: Columns of a table of plates that have a meaning of their own; any other becomes a Metadata_* column of the layout.
PLATE_COLUMNS = ("dataset", "batch", "plate", "images", "platemap")


def sites(geometry):
    """Sorted (well, site) pairs of a plate from a declared geometry {wells, sites}; sites count from 1.

    wells: number of wells of a standard plate, or a list of names and rectangles such as "B02-G11".

    >>> sites({"wells": ["A01-A02"], "sites": 2})
    [('A01', 1), ('A01', 2), ('A02', 1), ('A02', 2)]
    """
    declared = geometry.get("wells", 96)
    if isinstance(declared, int):
        if declared not in FORMATS:
            raise InputError(f"geometry: there is no standard plate of {declared} wells; list the wells instead")
        rows, columns = FORMATS[declared]
        wells = [well_name(row, column) for row in range(rows) for column in range(columns)]
    else:
        wells = [well for item in declared for well in _rectangle(item)]
    return sorted({(well, site) for well in wells for site in range(1, int(geometry.get("sites", 1)) + 1)})


def _rectangle(text):
    first, dash, last = str(text).partition("-")
    try:
        if not dash:
            return [normalize_well(first)]
        (top, left), (bottom, right) = position(first), position(last)
    except ValueError as error:
        raise InputError(f"geometry: {text!r} is neither a well nor a rectangle of wells such as B02-G11") from error
    return [well_name(row, column) for row in range(top, bottom + 1) for column in range(left, right + 1)]


def batch_size(dataset, folder):
    """Sites per job of a dataset's completed config block; folder: where its results lie, with a measured rate."""
    # The one place where ingest looks ahead: batches are sized for CellProfiler, by far the longest step.
    from phenoloom.cellprofiler import batches

    block = (dataset.get("features") or {}).get("cellprofiler")
    if not block:
        return batches.DEFAULT_SIZE
    return batches.batch_size(block["minutes_per_job"], batches.seconds_per_site(block, folder))


def read_plates(path, dataset=None, without=()):
    """[(batch, plate, images, platemap)] of a table of plates, in its order; see plate_rows."""
    return [tuple(row[name] for name in PLATE_COLUMNS[1:]) for row in plate_rows(path, dataset, without)]


def plate_rows(path, dataset=None, without=()):
    """Rows of a table of plates as dicts of text, every column, paths found (see find_path).

    Columns plate and images are required; batch ("1" by default), platemap and dataset (rows of other datasets are
    left out) are not. Tab, semicolon or comma separated. without: names of plates to leave out.
    Raises InputError naming the file and the line.
    """
    path = Path(path)
    rows = []
    for line, row in enumerate(read_rows(path), start=2):
        if dataset is not None and row.get("dataset") and row["dataset"] != dataset:
            continue
        row = {"batch": "1", "platemap": "", **{key: value for key, value in row.items() if key != "dataset" and value}}
        for name in ("plate", "images"):
            if not row.get(name):
                raise InputError(f"{path}, line {line}: the column '{name}' is empty; give it for every plate")
        row["images"] = find_path(row["images"], path.parent)
        row["platemap"] = find_path(row["platemap"], path.parent) if row["platemap"] else ""
        rows.append(row)
    names = [row["plate"] for row in rows]
    doubled = sorted(name for name, times in Counter(names).items() if times > 1)
    if doubled:
        raise InputError(f"{path}: the plate {', '.join(doubled)} is listed more than once; plates need distinct names")
    if not rows:
        of = f" for dataset {dataset}" if dataset else ""
        raise InputError(f"{path} lists no plates{of}; add one line per plate")
    kept = kept_plates(names, without, dataset)
    return [row for row in rows if row["plate"] in kept]


def kept_plates(plates, without, dataset=None):
    """The plates, in their order, but for those that a dataset's `exclude_plates` names. Raises InputError when it
    names one that there is not, or all of them.
    """
    of = f"exclude_plates of dataset {dataset}" if dataset else "exclude_plates"
    unknown = [name for name in without if name not in plates]
    if unknown:
        near = difflib.get_close_matches(unknown[0], plates, 1, 0)
        raise InputError(f"{of} names the plate {unknown[0]}, which there is not; did you mean {near[0]}?")
    kept = [name for name in plates if name not in without]
    if not kept:
        raise InputError(f"{of} names every plate; keep at least one")
    return kept


def find_path(text, folder):
    """Path as written in a table: beside the table when it exists there, else from the working directory.

    Given relative to the working directory where it lies below it, so that no table depends on the machine.
    """
    text = os.path.expanduser(text)
    beside = os.path.join(folder, text)
    chosen = os.path.normpath(beside if os.path.exists(beside) else text)
    if os.path.isabs(chosen):
        here = os.getcwd() + os.sep
        chosen = chosen.removeprefix(here)
    return chosen


def read_summary(path):
    """Counts that the index left: {encoded plate: {batch, sites, width, height, dtype}}; {} before it ran."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read; run `python -m phenoloom prepare` to write it again") from error


def read_rows(path, known=PLATE_COLUMNS, needed=("plate", "images")):
    """Rows of a small text table as dicts, names of known columns in lower case; short lines are filled with ''.

    needed: columns that it must have, the first of them being what a line describes. Raises InputError.
    """
    path = Path(path)
    what = needed[0]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check '{what}s' in the study's config") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty; it needs a header line and one line per {what}")
    separator = max("\t;,", key=lines[0].count)
    rows = list(csv.reader(lines, delimiter=separator))
    header = [name.strip().lower() if name.strip().lower() in known else name.strip() for name in rows[0]]
    missing = [name for name in needed if name not in header]
    if missing:
        raise InputError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(header)}")
    return [dict(zip(header, [cell.strip() for cell in row] + [""] * len(header), strict=False)) for row in rows[1:]]
