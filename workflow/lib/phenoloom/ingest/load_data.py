"""CellProfiler's load_data.csv, as the Cell Painting Gallery has it, read as a list of image planes."""

import os
import re
from urllib.parse import unquote, urlsplit

from phenoloom.core.errors import InputError
from phenoloom.core.tables import read_table
from phenoloom.ingest.filenames import Plane, place_of

#: Names of the table where a folder is given; the one without illumination columns first.
NAMES = (
    "load_data.csv",
    "load_data.csv.gz",
    "load_data.parquet",
    "load_data_with_illum.csv",
    "load_data_with_illum.parquet",
)


def table_of(path):
    """The load_data table of a plate: the file itself, or the one that lies in the folder. Raises InputError."""
    if os.path.isfile(path):
        return path
    for name in NAMES:
        if os.path.isfile(os.path.join(path, name)):
            return os.path.join(path, name)
    raise InputError(f"{path} is neither a load_data table nor a folder with one ({', '.join(NAMES[:2])} ...)")


def read_load_data(path, plate, root=None, site_base=1):
    """Planes of one plate in a load_data table; illumination columns are left out.

    Takes FileName_X and PathName_X, or URL_X, and Frame_X; Metadata_Well (or Metadata_Row and Metadata_Col),
    Metadata_Site and Metadata_Plate. root: folder under which the images lie here: the longest tail of the recorded
    path that exists below it is taken. Without it, relative paths count from the table's folder.
    Raises InputError naming the table.
    """
    table = table_of(path)
    frame = read_table(table).astype(object)
    frame = frame.where(frame.notna(), "")
    columns = set(frame.columns)
    if "Metadata_Plate" in columns:
        mine = frame["Metadata_Plate"].map(_text) == plate
        if not mine.any():
            there = ", ".join(sorted({_text(name) for name in frame["Metadata_Plate"]})[:5])
            raise InputError(f"{table} has no rows of plate {plate!r}; its Metadata_Plate has {there}")
        frame = frame[mine]
    channels = _channels(columns)
    if not channels:
        raise InputError(f"{table} has no image columns (FileName_... or URL_...); is it a load_data table?")
    if "Metadata_Well" not in columns and not {"Metadata_Row", "Metadata_Col"} <= columns:
        raise InputError(f"{table} says no well; it needs Metadata_Well, or Metadata_Row and Metadata_Col")
    find = _finder(os.path.dirname(table), root)
    planes = []
    for line, row in enumerate(frame.to_dict("records"), start=2):
        fields = {
            "well": _text(row.get("Metadata_Well", "")),
            "row": _text(row.get("Metadata_Row", "")),
            "column": _text(row.get("Metadata_Col", "")),
            "site": _text(row.get("Metadata_Site", "")),
        }
        try:
            well, site = place_of(fields, site_base)
        except ValueError as error:
            raise InputError(f"{table}, row {line} of plate {plate}: {error}") from error
        for channel in channels:
            folder, name = _recorded(row, channel)
            if name:
                page = int(float(row.get(f"Frame_{channel}") or 0))
                aliases = (channel, re.sub("^Orig", "", channel))
                planes.append(Plane(well, site, aliases, None, None, find(folder, name), page, table))
    return planes


def _text(value):
    """Cell as text; a number that a reader made a float loses its '.0'."""
    text = str(value).strip()
    return text[:-2] if re.fullmatch(r"\d+\.0", text) else text


def _channels(columns):
    names = {match[1] for column in columns if (match := re.fullmatch(r"(?:FileName|URL)_(.+)", column))}
    return sorted(name for name in names if not name.startswith("Illum"))


def _recorded(row, channel):
    """(folder, file name) as the table has them, from FileName and PathName or from the URL."""
    name = str(row.get(f"FileName_{channel}") or "")
    if name:
        return str(row.get(f"PathName_{channel}") or ""), name
    url = str(row.get(f"URL_{channel}") or "")
    if not url:
        return "", ""
    parts = urlsplit(url)
    path = unquote(parts.path) if parts.scheme else url
    if parts.scheme in ("s3", "http", "https"):
        path = f"/{parts.netloc}{path}"
    return os.path.dirname(path), os.path.basename(path)


def _finder(base, root):
    """Function (recorded folder, file name) -> path here; each folder is looked for once."""
    known = {}

    def find(folder, name):
        folder = folder.replace("\\", "/")
        name = os.path.basename(name.replace("\\", "/"))
        if folder not in known:
            known[folder] = _place(folder, base, root, name)
        return os.path.join(known[folder], name)

    return find


def _place(folder, base, root, name):
    if root is None:
        beside = os.path.normpath(os.path.join(base, folder))
        return beside if os.path.isdir(beside) else os.path.normpath(folder or base)
    parts = [part for part in folder.split("/") if part not in ("", ".", "..")]
    tails = [os.path.join(root, *parts[start:]) for start in range(len(parts) + 1)]
    for tail in tails:
        if os.path.isfile(os.path.join(tail, name)):
            return tail
    return next((tail for tail in tails if os.path.isdir(tail)), tails[-1])
