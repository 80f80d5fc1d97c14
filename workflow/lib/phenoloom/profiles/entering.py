"""A study enters midway: a table that exists already becomes a representation, its metadata mapped by config."""

import gzip
import logging
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.tables import read_table, stream_table
from phenoloom.profiles import sources
from phenoloom.profiles.annotation import KEYS, STANDARD, as_text, canonical_well
from phenoloom.profiles.queries import nearest
from phenoloom.profiles.storage import write_double
from phenoloom.simulate import heterogeneity

#: Bytes of one piece of a table of cells while it streams; also the size of a row group.
CHUNK_BYTES = 2**27

#: Numeric columns of CellProfiler's exports that number things instead of measuring them.
NUMBERS = {
    "ImageNumber": "ImageNumber",
    "Image_ImageNumber": "ImageNumber",
    "ObjectNumber": "ObjectNumber",
    "Number_Object_Number": "ObjectNumber",
    "TableNumber": None,
    "Image_TableNumber": None,
}

_INTEGERS = ("Metadata_Site", "Metadata_ImageNumber", "Metadata_ObjectNumber")
_MISSING_WORDS = {"", "na", "n/a", "nan", "none", "null"}
_INFINITE_WORDS = {"inf", "+inf", "-inf", "infinity", "-infinity"}

log = logging.getLogger("phenoloom")


def enter(block, level, path, ledger, origin=None):
    """Write the representation that a config block describes to `path` as Parquet; tables of cells stream.

    block: completed config (see representations.schema.yaml). level: cells, sites, wells or treatments. Features are
    float32 for cells and sites, float64 for wells and treatments (they are small, and normalised afterwards). Rows
    without a usable well, doubled rows and columns that are set aside become rows of the ledger.
    Raises InputError, naming file and column, for what cannot be mapped.
    """
    folders = sources.folders(block)
    if folders or block.get("simulate"):
        with tempfile.TemporaryDirectory(dir=Path(path).parent) as scratch:
            whole = Path(scratch) / "cells.parquet"
            if folders:
                _join_folders(folders, whole, ledger)
            else:
                _simulate(block["simulate"], whole)
            enter({**block, "folders": None, "simulate": None, "table": str(whole)}, "cells", path, ledger, origin)
        return
    pieces = read_pieces(block, level, ledger)
    if level in ("wells", "treatments"):
        frame = pd.concat(pieces, ignore_index=True)
        check_one_row_per_well(frame, level, sources.tables(block))
        write_double(path, frame, origin)
        return
    with stream_table(path, origin) as write:
        for piece in pieces:
            write(piece)


def read_pieces(block, level, ledger, chunk_bytes=CHUNK_BYTES):
    """Yield DataFrames (standard metadata, other metadata, float features) of all rows of a block's tables in order."""
    paths = sources.tables(block)
    headers = {path: read_header(path) for path in paths}
    joins = [Join(options) for options in block["join"]]
    mapping = Mapping(block, level, paths[0], headers[paths[0]], joins)
    features = _common_features(mapping, headers, ledger)
    seen = np.array([], dtype=np.uint64)
    doubled = rows = 0
    for path in paths:
        mapping.check(path, headers[path])
        for first, chunk in read_chunks(path, mapping.text_columns, chunk_bytes):
            if features.numeric is None:
                features.settle(chunk, path, ledger)
            piece = pd.concat([mapping.metadata(chunk, path), features.values(chunk, path, first)], axis="columns")
            piece = _placed(piece, level, path, ledger)
            hashes = pd.util.hash_pandas_object(piece, index=False).to_numpy()
            repeated = np.isin(hashes, seen) | pd.Series(hashes).duplicated().to_numpy()
            seen = np.union1d(seen, hashes)
            doubled += int(repeated.sum())
            piece = piece[~repeated].reset_index(drop=True)
            rows += len(piece)
            if len(piece):
                yield piece
    if doubled:
        ledger.add(f"{_names(paths)}: rows that repeat an earlier row in every value", unit="row", count=doubled)
    for join in joins:
        join.tell_unmatched(ledger)
    if not rows:
        raise InputError(f"{_names(paths)} has no row that belongs to a {level.removesuffix('s')}; the ledger says why")


def check_one_row_per_well(frame, level, paths):
    """Raise InputError when a table of wells has two rows for one well: its level is another."""
    doubled = frame.duplicated(KEYS, keep=False)
    if level == "wells" and doubled.any():
        plate, well = frame.loc[doubled, KEYS].iloc[0]
        raise InputError(
            f"{_names(paths)} has {int(doubled.sum())} rows that share their well with another row, first {well} of "
            f"plate {plate}; say level: sites or cells, or keep one row per well"
        )


def read_header(path):
    """Column names of a table. Raises InputError when the file is missing, empty or names a column twice."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path of the representation in the config")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); write it again or remove it from the config")
    try:
        if path.suffix == ".parquet":
            names = pq.read_schema(path).names
        else:
            names = pd.read_csv(path, sep=_separator(path), header=None, nrows=1, dtype=str, na_filter=False)
            names = [str(name).strip() for name in names.iloc[0]]
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a table: {_words(error)}") from error
    doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        raise InputError(f"{path} has {len(doubled)} column names twice, {doubled[0]!r} among them; rename or drop one")
    return [name for name in names if not name.startswith("__index_level_")]


def read_chunks(path, text_columns, chunk_bytes):
    """Yield (number of the first row, DataFrame) over a table; `text_columns` keep their text (007 stays 007)."""
    path = Path(path)
    width = len(read_header(path))
    rows = max(100, chunk_bytes // (8 * width))
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path, pre_buffer=False)  # buffered ahead, all of it stays in memory to the end
            chunks = (batch.to_pandas() for batch in file.iter_batches(batch_size=rows))
        else:
            chunks = pd.read_csv(
                path,
                sep=_separator(path),
                chunksize=rows,
                dtype=dict.fromkeys(text_columns, str),
                float_precision="round_trip",
                low_memory=False,
                encoding="utf-8-sig",
            )
        first = 0
        for chunk in chunks:
            chunk.columns = [str(name).strip() for name in chunk.columns]
            yield first, chunk.reset_index(drop=True)
            first += len(chunk)
    except (pa.ArrowException, pd.errors.ParserError, UnicodeDecodeError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a table: {_words(error)}") from error


class Mapping:
    """Which column holds which metadata, checked against a table's header and the tables joined to it."""

    def __init__(self, block, level, path, header, joins):
        self.block, self.level, self.joins = block, level, joins
        self.missing = {_bare(name): value for name, value in block["missing"].items()}
        self.controls = block["controls"]
        self.kinds = {}
        self.rules = {name: f"Metadata_{name}" for name in map(_bare, _kept(header))}
        self.rules |= {number: column for column, number in NUMBERS.items() if column in header and number}
        self.rules |= {_bare(name): rule for name, rule in block["metadata"].items()}
        self.check(path, header)
        needed = ["Perturbation"] if level == "treatments" else ["Plate", "Well"]
        for name in needed:
            if name not in self.rules:
                near = nearest(name, [*header, *self._joined()])
                raise InputError(
                    f"{path} is at level {level} and needs {name}: add `metadata: {{{name}: <column>}}`"
                    + (f"; {', '.join(near)} may be it" if near else "")
                )

    def check(self, path, header):
        """Raise InputError when a column that the mapping names is neither in the table nor joined."""
        known = set(header)
        for join in self.joins:
            for column in join.left:
                if column not in known:
                    raise _unknown(path, column, f"on which {join.path} is joined", known)
            both = known & set(join.columns)
            if both:
                raise InputError(
                    f"{path} and {join.path} both have a column {sorted(both)[0]!r}; "
                    "list the columns to take with `columns:`"
                )
            known |= set(join.columns)
        for name, rule in self.rules.items():
            column = _column(rule)
            if column is not None and column not in known:
                raise _unknown(path, column, f"mapped to {name}", known)
        control = self._control_column()
        if control is not None and control not in self.rules and control not in known:
            raise _unknown(path, control, "that tells the controls", {*known, *self.rules})
        for name in self.missing:
            if name not in self.rules:
                raise InputError(f"`missing` names {name}, which is no metadata of {path}; map it first")

    @property
    def used(self):
        """Columns of the table that are metadata, keys of joined tables or numbers of things."""
        columns = {_column(rule) for rule in self.rules.values()} | {key for join in self.joins for key in join.left}
        control = self._control_column()
        return (columns | set(NUMBERS) | ({control} if control not in self.rules else set())) - {None}

    @property
    def text_columns(self):
        """Columns that are read as text: those of the standard metadata but the concentration."""
        named = {_column(rule) for name, rule in self.rules.items() if f"Metadata_{name}" in STANDARD}
        concentration = _column(self.rules.get("Concentration", {"value": 0}))
        return sorted(named - {None, concentration})

    def metadata(self, chunk, path):
        """Metadata of a chunk of rows: standard columns first, text stripped, wells canonical where they can be."""
        for join in self.joins:
            chunk = join.attach(chunk)
        columns = {f"Metadata_{name}": self._values(chunk, name, rule, path) for name, rule in self.rules.items()}
        frame = pd.DataFrame(columns, index=chunk.index)
        for name, value in self.missing.items():
            text = as_text(frame[f"Metadata_{name}"])
            frame[f"Metadata_{name}"] = text.where(text != "", value)
        control = self._control_column()
        if control is not None:
            values = frame[f"Metadata_{control}"] if control in self.rules else chunk[control]
            frame["Metadata_Control"] = self._controls(as_text(values))
        self._check_controls(frame, path)
        for name in STANDARD:
            if name == "Metadata_Concentration":
                frame[name] = _numbers(frame[name], path, name) if name in frame else np.nan
            else:
                frame[name] = as_text(frame[name]) if name in frame else ""
        others = [name for name in frame.columns if name not in STANDARD]
        for name in others:
            kind = self.kinds.setdefault(name, _kind(frame[name]))
            frame[name] = _as_kind(frame[name], kind, path, name)
        return frame[[*STANDARD, *others]]

    def _values(self, chunk, name, rule, path):
        if isinstance(rule, dict) and "value" in rule:
            return pd.Series([rule["value"]] * len(chunk), index=chunk.index)
        values = chunk[_column(rule)]
        if not isinstance(rule, dict):
            return values
        try:
            pattern = re.compile(rule["pattern"])
        except re.error as error:
            raise InputError(f"the pattern {rule['pattern']!r} of {name} is no regular expression: {error}") from error
        found = as_text(values).map(pattern.search)
        if found.isna().all():
            raise InputError(
                f"the pattern {rule['pattern']!r} of {name} fits no value of column {rule['column']} of {path}"
            )
        return found.map(lambda match: "" if match is None else match[1 if pattern.groups else 0])

    def _control_column(self):
        return _bare(self.controls["column"]) if self.controls["negative"] or self.controls["positive"] else None

    def _controls(self, values):
        kinds = {str(value): kind for kind in ("negative", "positive") for value in self.controls[kind]}
        return values.map(lambda value: kinds.get(value, ""))

    def _check_controls(self, frame, path):
        if "Metadata_Control" not in frame:
            return
        strange = sorted(set(as_text(frame["Metadata_Control"])) - {"negative", "positive", ""})
        if strange:
            raise InputError(
                f"Control in {path} is negative, positive or empty, not {strange[0]!r}; say which values are controls "
                "with `controls: {column: Control, negative: [...], positive: [...]}`"
            )

    def _joined(self):
        return [column for join in self.joins for column in join.columns]


class Features:
    """The feature columns of a table: chosen by name, and settled to be numbers at the first rows."""

    def __init__(self, candidates, asked):
        self.candidates, self.asked, self.numeric = candidates, asked, None

    def settle(self, chunk, path, ledger):
        """Decide which candidates are numbers. Raises InputError for a column that is numbers and text mixed."""
        numeric, text = [], []
        for name in self.candidates:
            share = _share_of_numbers(chunk[name])
            if share == 1:
                numeric.append(name)
            elif share >= 0.5 or self.asked:
                row, value = _first_text(chunk[name])
                raise InputError(
                    f"column {name!r} of {path} holds text where numbers are due ({value!r} in row {row + 1}); "
                    "correct it or leave the column out with `features:`"
                )
            else:
                text.append(name)
        if not numeric:
            raise InputError(
                f"{path} has no numeric feature column among {len(self.candidates)} columns; check `features:`"
            )
        if text:
            names = ", ".join(text[:5]) + (", ..." if len(text) > 5 else "")
            ledger.add(
                f"{Path(path).name}: {len(text)} columns of text are neither features nor mapped metadata and are left "
                f"out ({names})",
                severity="flagged",
                unit="column",
                count=len(text),
            )
        self.numeric = numeric

    def values(self, chunk, path, first):
        """Float64 features of a chunk whose first row has the number `first`."""
        columns = {}
        for name in self.numeric:
            values = chunk[name]
            if not pd.api.types.is_numeric_dtype(values):
                if _share_of_numbers(values) < 1:
                    row, value = _first_text(values)
                    raise InputError(
                        f"column {name!r} of {path} holds text where numbers are due "
                        f"({value!r} in row {first + row + 1})"
                    )
                values = pd.to_numeric(values, errors="coerce")
            columns[name] = values.astype(float)
        return pd.DataFrame(columns, index=chunk.index)


class Join:
    """A table with more metadata, looked up by its keys."""

    def __init__(self, options):
        self.path = Path(options["table"])
        self.left, right = list(options["by"]), list(options["by"].values())
        header = read_header(self.path)
        chosen = options["columns"]
        for column in [*right, *(chosen or [])]:
            if column not in header:
                raise _unknown(self.path, column, "that the config joins", header)
        self.columns = list(chosen) if chosen is not None else [name for name in header if name not in right]
        frame = read_table(self.path, columns=[*right, *(name for name in self.columns if name not in right)])
        keys = _join_keys(frame, right)
        frame = frame[self.columns].set_axis(keys, axis="index")
        frame = frame[
            ~pd.DataFrame({"key": keys, **{n: as_text(frame[n]).to_numpy() for n in self.columns}})
            .duplicated()
            .to_numpy()
        ]
        doubled = frame.index.duplicated(keep=False)
        if doubled.any():
            key = frame.index[doubled][0]
            rows = frame[frame.index == key]
            column = next((name for name in self.columns if rows[name].astype(str).nunique() > 1), self.columns[0])
            raise InputError(
                f"{self.path} has {len(rows)} different rows for {' / '.join(key.split(chr(31)))} (they differ in "
                f"{column}); list the columns that are needed with `columns:`"
            )
        self.frame = frame
        self.unmatched = 0

    def attach(self, chunk):
        """The chunk with this table's columns added; empty where the keys are not found."""
        keys = _join_keys(chunk, self.left)
        self.unmatched += int((~np.isin(keys, self.frame.index.to_numpy())).sum())
        return pd.concat([chunk, self.frame.reindex(keys).set_axis(chunk.index, axis="index")], axis="columns")

    def tell_unmatched(self, ledger):
        """Flag how many rows found nothing."""
        if self.unmatched:
            reason = f"{self.path.name} has no row for their {', '.join(self.left)}; its columns stay empty there"
            ledger.add(reason, severity="flagged", unit="row", count=self.unmatched)


def _common_features(mapping, headers, ledger):
    """Features that every file of a representation has; the others are listed."""
    asked = mapping.block["features"]
    first, *others = headers.values()
    used = mapping.used
    candidates = [name for name in first if name not in used and not _is_metadata(name) and _is_asked(name, asked)]
    if not candidates:
        raise InputError(
            f"{next(iter(headers))} has no feature column"
            + (f" that fits features: {asked}" if asked else " beside metadata")
        )
    everywhere = set(candidates).intersection(*others) if others else set(candidates)
    anywhere = {
        n
        for header in headers.values()
        for n in header
        if n not in used and not _is_metadata(n) and _is_asked(n, asked)
    }
    if anywhere != everywhere:
        lacking = sorted(anywhere - everywhere)
        reason = f"{len(lacking)} features are not in every file and are left out ({', '.join(lacking[:3])}, ...)"
        ledger.add(reason, unit="feature", count=len(lacking))
    if not everywhere:
        raise InputError(f"{_names(list(headers))} have no feature column in common")
    return Features([name for name in candidates if name in everywhere], bool(asked))


def _placed(piece, level, path, ledger):
    """Rows with plate and canonical well (with a perturbation at level treatments); others go to the ledger."""
    if level == "treatments":
        usable = piece["Metadata_Perturbation"] != ""
        if not usable.all():
            reason = f"{Path(path).name}: rows without a perturbation are left out"
            ledger.add(reason, unit="row", count=int((~usable).sum()))
        return piece[usable]
    wells = piece["Metadata_Well"].map(canonical_well)
    usable = wells.notna() & (piece["Metadata_Plate"] != "")
    if not usable.all():
        strange = sorted(set(piece.loc[~usable, "Metadata_Well"]))[:3]
        reason = (
            f"{Path(path).name}: rows without a plate or a well name such as A01 are left out ({', '.join(strange)})"
        )
        ledger.add(reason, unit="row", count=int((~usable).sum()))
    return piece.assign(Metadata_Well=wells)[usable]


def _join_folders(folders, path, ledger):
    """Write the cells of CellProfiler output, compartments joined, as Parquet; broken folders go to the ledger."""
    from phenoloom.cells.join import choose_compartments
    from phenoloom.cells.outputs import read_outputs
    from phenoloom.cells.table import write_cells

    pieces, images = read_outputs(folders, ledger)
    compartments = choose_compartments(sorted({name for piece in pieces for name in piece.features}))
    write_cells(path, pieces, images, compartments, {}, ledger)


def _simulate(options, path):
    """Write simulated cells, plate after plate, as Parquet."""
    with stream_table(path) as write:
        for plate in heterogeneity.cells(options):
            write(plate)


def _join_keys(frame, columns):
    """Array of one text per row: numbers in their shortest form, so that 3 and 3.000000 are the same key."""
    texts = [as_text(frame[column]).map(_key) for column in columns]
    return np.array(["\x1f".join(parts) for parts in zip(*texts, strict=True)], dtype=object)


def _key(text):
    try:
        return f"{float(text):.9g}"
    except ValueError:
        return text


def _share_of_numbers(values):
    """Share of the cells with text that can be read as numbers; 1 for a numeric column and for an empty one."""
    if pd.api.types.is_numeric_dtype(values):
        return 1.0
    present = values.dropna()
    text = present.astype(str).str.strip().str.lower()
    present = present[~text.isin(_MISSING_WORDS)]
    if present.empty:
        return 1.0
    fine = pd.to_numeric(present, errors="coerce").notna() | present.astype(str).str.strip().str.lower().isin(
        _INFINITE_WORDS
    )
    return float(fine.mean())


def _first_text(values):
    """(row, value) of the first cell that is no number and not missing."""
    text = values.astype(str).str.strip()
    numbers = pd.to_numeric(values, errors="coerce").notna() | values.isna() | text.str.lower().isin(_MISSING_WORDS)
    row = int(np.flatnonzero(~numbers.to_numpy())[0])
    return row, str(values.iloc[row])


def _numbers(values, path, name):
    numbers = pd.to_numeric(values, errors="coerce")
    strange = numbers.isna() & ~as_text(values).str.lower().isin(_MISSING_WORDS)
    if strange.any():
        raise InputError(
            f"{name.removeprefix('Metadata_')} in {path} is a number, not {values[strange].iloc[0]!r}; "
            "take the number out by `{column: ..., pattern: '([0-9.]+)'}`"
        )
    return numbers.astype(float)


def _kind(values):
    """What the values of a metadata column are: integers, numbers or text."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return "text"
    whole = values.name in _INTEGERS and values.notna().all() and (values % 1 == 0).all()
    return "integers" if whole else "numbers"


def _as_kind(values, kind, path, name):
    """Values in the form that the first rows of the table had."""
    if kind == "text":
        return as_text(values)
    numbers = _numbers(values, path, name)
    if kind == "numbers":
        return numbers
    if not (numbers.notna() & (numbers % 1 == 0)).all():
        raise InputError(
            f"column {name.removeprefix('Metadata_')} of {path} holds whole numbers first and others later"
        )
    return numbers.astype("int64")


def _is_metadata(name):
    return bool(re.search(r"(^|_)Metadata_", name))


def _is_asked(name, asked):
    if not asked:
        return True
    if isinstance(asked, str):
        try:
            return re.search(asked, name) is not None
        except re.error as error:
            raise InputError(f"features: {asked!r} is no regular expression ({error})") from error
    return name.startswith(tuple(asked))


def _kept(header):
    return [name for name in header if name.startswith("Metadata_")]


def _bare(name):
    return name.removeprefix("Metadata_")


def _column(rule):
    return rule.get("column") if isinstance(rule, dict) else rule


def _unknown(path, column, what, known):
    near = nearest(column, known)
    hint = f"; did you mean {', '.join(near)}?" if near else f"; its columns begin with {', '.join(sorted(known)[:5])}"
    return InputError(f"{path} has no column {column!r} {what}{hint}")


def _separator(path):
    """Separator of a text table: by its ending, else by what its header holds most of."""
    name = Path(path).name.removesuffix(".gz")
    if name.endswith(".tsv"):
        return "\t"
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
    return max(",\t;", key=head.count)


def _names(paths):
    first = Path(paths[0]).name
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def _words(error):
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
