"""Cells as a learned aggregation reads them: one array per plate, prepared, the cells of a well in one piece."""

import functools
import os
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from phenoloom.core.arrays import array_header, read_into
from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.core.tables import METADATA, feature_columns, read_table, write_table
from phenoloom.core.words import count

#: Columns of the table of wells: first cell in the array, and number of cells.
START, CELLS = "Start", "Cells"
#: Files that a process holds open.
OPEN = 64
#: What mends a damaged file.
MEND = "write it again"


def shared_features(tables, blocklist=()):
    """(features that all tables of cells have, in the first one's order, {feature: why it is left out}).

    blocklist: names or patterns of features to leave out. Raises InputError, naming the tables, when none is left.
    """
    found = [feature_columns(pq.read_schema(path)) for path in tables]
    names = list(dict.fromkeys(name for features in found for name in features))
    lacking = {name: sum(name not in features for features in map(set, found)) for name in names}
    left_out = {name: f"missing in {count(number, 'plate')}" for name, number in lacking.items() if number}
    left_out |= {name: "on the block list" for name in names if any(fnmatchcase(name, one) for one in blocklist)}
    shared = [name for name in names if name not in left_out]
    if not shared:
        but = " but those on the block list" if "on the block list" in left_out.values() else ""
        raise InputError(f"the tables of cells share no feature{but}: {', '.join(map(str, tables))}")
    return shared, left_out


def write_cells(units, features, options, array, wells, keys, ledger, origin=None):
    """Write the cells of a plate, after the steps that they went through, as float32 (cells, features) and two tables.

    units: profiles.aggregation.Units of one plate. features: names, the same for all plates. options: of the step
    deep_sets. array, wells, keys: paths of the .npy, of the table of wells, which says where each well's cells lie, and
    of the table of what names each cell, in the array's order. A missing value becomes 0, which is the plate's mean
    once cells are standardised; the ledger counts them. Memory: some blocks of columns.
    """
    placed, starts, blocks = units.by_well(features, options)
    missing = {}
    with atomic(array) as partial, open(partial, "wb") as file:
        values = _mapped(file, (int(starts[-1]), len(features)))
        for part, block in blocks:
            lost = ~np.isfinite(block)
            for name, number in zip(features[part], lost.sum(axis=1), strict=True):
                if number:
                    missing[name] = int(number)
            values[:, part] = np.where(lost, 0, block).T
        del values
    if missing:
        worst = max(missing, key=missing.get)
        ledger.add(
            f"{count(sum(missing.values()), 'missing value')} of {count(len(missing), 'feature')} of cells, "
            f"{worst} for one, count as 0 in a learned aggregation",
            severity="flagged",
            unit="feature",
            count=len(missing),
            plate=placed["Metadata_Plate"].iloc[0] if len(placed) else "",
        )
    table = placed.assign(**{START: starts[:-1], CELLS: np.diff(starts)}).reset_index(drop=True)
    write_table(wells, table, origin)
    write_table(keys, units.keys_by_well(), origin)


def _mapped(file, shape):
    """Array of an open, empty .npy file to write into; one without rows has nothing to map."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    file.flush()
    if not shape[0]:
        return np.empty(shape, np.float32)
    file.truncate(file.tell() + 4 * shape[0] * shape[1])
    return np.memmap(file.name, np.float32, "r+", file.tell(), shape)


class Cells:
    """Wells of all plates and their cells, read from the files a well at a time.

    wells: DataFrame, Metadata_* of each. lengths: (W,) cells of each. features: number of columns.
    Cells are read by their place in the file and not through a mapping, whose pages would count as memory.
    """

    def __init__(self, arrays, tables):
        """arrays, tables: paths of the files of all plates. Raises InputError, naming the file, for a damaged one."""
        headers = [_header(path) for path in arrays]
        widths = {shape[1] for shape, _ in headers}
        if len(widths) != 1:
            raise InputError(f"the plates' cells have {sorted(widths)} features; write all of them again")
        self.features = widths.pop()
        frames = [read_table(path) for path in tables]
        for path, table, (shape, begin), frame in zip(arrays, tables, headers, frames, strict=True):
            due = begin + 4 * shape[0] * shape[1]
            if os.path.getsize(path) != due or int(frame[CELLS].sum()) != shape[0]:
                raise InputError(f"{path} and {table} do not belong together, or are cut off; write them again")
        self._owners = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
        whole = pd.concat(frames, ignore_index=True)
        self.lengths, self._starts = whole[CELLS].to_numpy(np.int64), whole[START].to_numpy(np.int64)
        self.wells = whole[[name for name in whole if name.startswith(METADATA)]]
        self._files = [(str(path), begin) for path, (_, begin) in zip(arrays, headers, strict=True)]
        self._open = functools.lru_cache(OPEN)(functools.partial(open, mode="rb", buffering=0))

    def read(self, well):
        """Cells of one well (M, D) float32."""
        path, begin = self._files[self._owners[well]]
        values = np.empty((self.lengths[well], self.features), np.float32)
        read_into(values, self._open(path).fileno(), begin + 4 * self.features * int(self._starts[well]), path, MEND)
        return values

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._open = functools.lru_cache(OPEN)(functools.partial(open, mode="rb", buffering=0))


def _header(path):
    """((cells, features), place of the first value). Raises InputError where it is no such array."""
    shape, fortran, dtype, begin = array_header(path, MEND)
    if fortran or len(shape) != 2 or dtype != np.float32:
        raise InputError(f"{path} is no array of cells (cells, features) of float32; write it again")
    return shape, begin
