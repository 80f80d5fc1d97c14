"""CellProfiler output that exists already: folders of CSV files and SQLite databases, as pieces for cells.table.

A folder holds Image.csv and one CSV per object type (plain or .gz), for one site or many. A database holds the tables
Per_Image and Per_<Object> (ExportToDatabase, with or without a prefix) or Image and <Object> (cytominer-database).
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from phenoloom.cells.join import choose_compartments
from phenoloom.cells.table import write_cells
from phenoloom.core.errors import InputError

#: Size of the largest table that is read whole; larger ones are read some images at a time.
BLOCK_BYTES = 2**28

_NO_OBJECTS = ("Image", "Experiment")
_DATABASES = (".sqlite", ".sqlite3", ".db")


def find_outputs(paths):
    """Folders with an Image.csv, and SQLite files, at or below `paths`, sorted. Raises InputError where none is."""
    found = set()
    for path in map(Path, paths):
        if path.is_file() and path.suffix in _DATABASES:
            found.add(path)
            continue
        here = len(found)
        for pattern in ("Image.csv", "Image.csv.gz", "*_Image.csv", "*_Image.csv.gz"):
            found.update(file.parent for file in path.rglob(pattern))
        for suffix in _DATABASES:
            found.update(path.rglob(f"*{suffix}"))
        if len(found) == here:
            raise InputError(f"{path} holds neither Image.csv nor an SQLite database of CellProfiler; correct the path")
    return sorted(found)


def read_outputs(paths, ledger, compartments=None):
    """Pieces of the outputs that can be used, for table.write_cells, and one DataFrame of all their images.

    What cannot be used goes to the ledger, one row per folder or database, and the rest goes on.
    """
    pieces, images, offset = [], [], 0
    for path in find_outputs(paths):
        try:
            piece = Database(path, offset) if path.is_file() else Folder(path, offset)
            piece.check(compartments)
        except InputError as error:
            ledger.add(str(error), unit="site")
            continue
        pieces.extend(piece.blocks())
        images.append(piece.images())
        offset = int(images[-1]["ImageNumber"].max())
    if not pieces:
        raise InputError(
            f"none of the CellProfiler outputs at {', '.join(map(str, paths))} can be used; see the ledger"
        )
    frame = pd.concat(images, ignore_index=True)
    return pieces, frame


def join_outputs(paths, path, ledger, compartments=None, origin=None):
    """Join the cells of existing CellProfiler outputs at `paths` (see find_outputs) into one table at `path`.

    Metadata_* of the images are taken as they are named; a study maps them afterwards. Returns the number of cells.
    """
    pieces, images = read_outputs(paths, ledger, compartments)
    available = sorted({name for piece in pieces for name in piece.features})
    write_cells(path, pieces, images, choose_compartments(available, compartments), {}, ledger, origin)
    return parquet.read_metadata(path).num_rows


class _Output:
    """What folders and databases share: image numbers that continue from `offset`, checks, metadata of images."""

    def __init__(self, path, offset):
        self.path = Path(path)
        self.offset = offset
        self.tables = self._tables()
        image = self._read("Image")
        if "ImageNumber" not in image:
            raise InputError(f"{self.path} has an Image table without ImageNumber; export it again")
        if image.empty:
            raise InputError(f"{self.path} has an Image table without rows; run its site again")
        if image.duplicated(_keys(image)).any():
            raise InputError(f"{self.path} has an image number twice in its Image table; export it again")
        self._image = image
        self._numbers = {
            tuple(key): number + offset
            for number, key in enumerate(image[_keys(image)].itertuples(index=False, name=None), start=1)
        }
        self.features = {name: self._header(name) for name in self.tables if name not in _NO_OBJECTS}

    def check(self, compartments):
        """Raise InputError when a wanted object table is missing, empty or lacks its keys."""
        for name in compartments or self.features:
            if name not in self.features:
                raise InputError(f"{self.path} has no table of {name}; export it or change the compartments")
            if not {"ImageNumber", "ObjectNumber"} <= set(self.features[name]):
                raise InputError(
                    f"{self.path} has a table {name} without ImageNumber and ObjectNumber; export it again"
                )

    def images(self):
        """One row per image: ImageNumber, Metadata_* as text, Image_Width_* and Image_Height_*."""
        frame = pd.DataFrame({"ImageNumber": list(self._numbers.values())})
        for column in self._image.columns:
            bare = column.removeprefix("Image_")
            if bare.startswith("Metadata_"):
                frame[bare] = self._image[column].astype(object).to_numpy()
            elif bare.startswith(("Width_", "Height_")):
                frame[f"Image_{bare}"] = pd.to_numeric(self._image[column], errors="coerce").to_numpy()
        if "Metadata_Site" in frame:
            frame["Metadata_Site"] = pd.to_numeric(frame["Metadata_Site"], errors="coerce").fillna(0).astype(int)
        return frame

    def objects(self, names):
        """{object: DataFrame} with plate-wide image numbers."""
        return {name: self._numbered(self._read(name), name) for name in names}

    def blocks(self):
        """This output in pieces of about BLOCK_BYTES, so that a table of many sites never lies in memory whole."""
        count = max(1, min(len(self._numbers), round(self._bytes() / BLOCK_BYTES)))
        if count == 1:
            return [self]
        return [_Block(self, part) for part in np.array_split(self._image["ImageNumber"].to_numpy(), count)]

    def _numbered(self, frame, name):
        frame = _bare(frame, name)
        keys = _keys(frame)
        missing = {"ImageNumber", "ObjectNumber"} - set(frame.columns)
        if missing:
            raise InputError(f"{self.path} has a table {name} without {', '.join(sorted(missing))}; export it again")
        numbers = [self._numbers.get(tuple(key), 0) for key in frame[keys].itertuples(index=False, name=None)]
        frame = frame.assign(ImageNumber=np.array(numbers, dtype=np.int64))
        return frame[frame["ImageNumber"] > 0].drop(columns="TableNumber", errors="ignore").reset_index(drop=True)


class _Block:
    """Some images of an output."""

    def __init__(self, output, image_numbers):
        self.output = output
        self.features = output.features
        self.image_numbers = image_numbers

    def objects(self, names):
        """{object: DataFrame} of these images, with plate-wide image numbers."""
        read, numbered = self.output._read_some, self.output._numbered
        return {name: numbered(read(name, self.image_numbers), name) for name in names}


class Folder(_Output):
    """One folder of CSV files."""

    def _tables(self):
        files = {}
        for file in sorted(self.path.iterdir()):
            match = re.match(r"^(?:.*_)?([A-Za-z0-9]+)\.csv(\.gz)?$", file.name)
            if match:
                files[match[1]] = file
        if "Image" not in files:
            raise InputError(f"{self.path} has no Image.csv; export it again")
        return files

    def _header(self, name):
        return list(_bare(self._csv(name, nrows=0), name).columns)

    def _read(self, name):
        return self._csv(name)

    def _bytes(self):
        sizes = (file.stat().st_size * (5 if file.suffix == ".gz" else 1) for file in self.tables.values())
        return max(sizes, default=0)

    def _read_some(self, name, image_numbers):
        chunks = pd.read_csv(self.tables[name], chunksize=20_000, low_memory=False)
        return pd.concat([chunk[chunk["ImageNumber"].isin(image_numbers)] for chunk in chunks], ignore_index=True)

    def _csv(self, name, nrows=None):
        file = self.tables[name]
        if file.stat().st_size == 0:
            raise InputError(f"{file} is empty (0 bytes); run its site again")
        try:
            return pd.read_csv(file, nrows=nrows, low_memory=False)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, EOFError) as error:
            raise InputError(
                f"{file} cannot be read as CSV ({str(error).splitlines()[0]}); run its site again"
            ) from error


class Database(_Output):
    """One SQLite database."""

    def _tables(self):
        with self._connect() as connection:
            names = [
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table','view')")
            ]
        tables = {}
        for name in names:
            match = re.match(r"^(?:.*_)?Per_([A-Za-z0-9]+)$", name)
            if match and match[1] not in ("Experiment", "Object", "RelationshipTypes", "Relationships"):
                tables[match[1]] = name
        if "Image" not in tables:
            tables = {name: name for name in names if re.fullmatch(r"[A-Za-z0-9]+", name)}
        if "Image" not in tables:
            raise InputError(f"{self.path} has no table Per_Image or Image; export it again with ExportToDatabase")
        return {name: table for name, table in tables.items() if name == "Image" or self._is_objects(table)}

    def _is_objects(self, table):
        columns = self._columns(table)
        return "ImageNumber" in columns and any(
            name.endswith("ObjectNumber") or "Number_Object_Number" in name for name in columns
        )

    def _columns(self, table):
        with self._connect() as connection:
            return [row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")]

    def _header(self, name):
        return list(_bare(pd.DataFrame(columns=self._columns(self.tables[name])), name).columns)

    def _read(self, name):
        with self._connect() as connection:
            return pd.read_sql_query(f"SELECT * FROM {_quoted(self.tables[name])}", connection)

    def _bytes(self):
        return self.path.stat().st_size / max(1, len(self.features))

    def _read_some(self, name, image_numbers):
        first, last = int(min(image_numbers)), int(max(image_numbers))
        query = f"SELECT * FROM {_quoted(self.tables[name])} WHERE ImageNumber BETWEEN ? AND ?"
        with self._connect() as connection:
            frame = pd.read_sql_query(query, connection, params=(first, last))
        return frame[frame["ImageNumber"].isin(image_numbers)]

    def _connect(self):
        try:
            connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error as error:
            raise InputError(f"{self.path} is no readable SQLite database ({error}); export it again") from error
        return closing(connection)


def _keys(frame):
    return [name for name in ("TableNumber", "ImageNumber") if name in frame.columns]


def _bare(frame, name):
    """Columns without the compartment's prefix that databases carry, and with an ObjectNumber."""
    renamed = {}
    for column in frame.columns:
        bare = column.removeprefix(f"{name}_")
        renamed[column] = bare
    frame = frame.rename(columns=renamed)
    if "ObjectNumber" not in frame and "Number_Object_Number" in frame:
        frame = frame.assign(ObjectNumber=frame["Number_Object_Number"])
    return frame


def _quoted(name):
    return '"' + name.replace('"', '""') + '"'
