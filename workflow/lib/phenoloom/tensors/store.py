"""Tensors on disk: one array of integers (N, C, H, W) and a table with a row for each of its items."""

import contextlib
import functools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from phenoloom.core.arrays import ArrayFile, array_header, read_into
from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.core.tables import metadata_columns, read_table, stream_table
from phenoloom.tensors.normalisation import LIMITS, NEEDS, line

DTYPES = ("uint8", "uint16")

#: Items that are worked on at a time where nothing else sets their number.
BATCH = 256

#: Items whose rows are written at a time: row groups of a few would make a table's own directory larger than its data.
ROWS = 20_000

#: Files of a tensor that are open at a time.
OPEN = 256

#: What mends a damaged file.
MEND = "make the tensor again"


class TensorWriter:
    """Writes a tensor item by item; both files appear, complete, when the block ends without an error.

    path: the array (.npy). channels: names, in order. size: (H, W). dtype: uint8 or uint16. items: the table beside it,
    `{path without ending}.items.parquet` by default. percentiles: those that `Low_` and `High_` hold. origin: of the
    table (a dict); the channels are added. Something must be appended, if only no items with their metadata's columns.
    """

    def __init__(self, path, channels, size, dtype="uint16", items=None, percentiles=(0.1, 99.9), origin=None):
        if dtype not in DTYPES:
            raise InputError(f"tensors are stored as {' or '.join(DTYPES)}, not {dtype!r}")
        self.path = Path(path)
        self.items = Path(items or self.path.with_suffix(".items.parquet"))
        self.channels, self.size = list(channels), tuple(int(length) for length in size)
        self.dtype, self.percentiles = np.dtype(dtype), tuple(percentiles)
        self.origin = {**(origin or {}), "channels": self.channels}
        self._waiting = []

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            partial = stack.enter_context(atomic(self.path))
            self._array = stack.enter_context(ArrayFile(partial, (len(self.channels), *self.size), self.dtype))
            self._write = stack.enter_context(stream_table(self.items, self.origin))
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def __len__(self):
        return self._array.count

    def _finish(self, kind, *_):
        if kind is None:
            self._flush()

    def append(self, images, metadata):
        """Store items. images: (n, C, H, W), finite numbers. metadata: DataFrame of n rows of Metadata_*.

        Each item and channel fills the range of the type: intensity = offset + scale * stored, off by scale / 2 at
        most. A channel of one value has scale 0.
        """
        images = np.ascontiguousarray(images, np.float32)
        due = (len(metadata), len(self.channels), *self.size)
        if images.shape != due:
            raise ValueError(f"images have the shape {images.shape} where {due} is due")
        if not np.isfinite(images).all():
            raise ValueError("images hold NaN or infinity")
        stored, statistics = quantise(images, self.dtype)
        self._array.append(stored)
        statistics |= describe(images, self.percentiles)
        columns = {
            f"{name}_{channel}": values[:, number]
            for number, channel in enumerate(self.channels)
            for name, values in statistics.items()
        }
        self._waiting.append(pd.concat([metadata.reset_index(drop=True), pd.DataFrame(columns)], axis=1))
        if sum(map(len, self._waiting)) >= ROWS:
            self._flush()

    def _flush(self):
        if self._waiting:
            table = pd.concat([one for one in self._waiting if len(one)] or self._waiting[:1], ignore_index=True)
            # missing values alone, or no rows, would say nothing of a column's type
            self._write(table.astype(dict.fromkeys(table.select_dtypes(object).columns, "string")))
            self._waiting = []


def append_usable(tensor, images, metadata, ledger, unit, **where):
    """Append items to a TensorWriter but for those that hold nothing, which go to the ledger.

    images: (n, C, H, W). metadata: DataFrame, n rows. unit: what an item is, for the ledger; where: its place.
    """
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    alive = (images != images[:, :, :1, :1]).any(axis=(1, 2, 3))
    for bad, reason in ((~finite, "a pixel is NaN or infinite"), (finite & ~alive, "every channel is of one value")):
        if bad.any():
            ledger.add(reason, unit=unit, count=bad.sum(), **where)
    good = finite & alive
    tensor.append(images[good], metadata[good])


def quantise(images, dtype):
    """(integers (n, C, H, W) of `dtype`, {"Offset", "Scale": float32 (n, C)}) of finite float32 images."""
    levels = np.iinfo(dtype).max
    low, high = images.min(axis=(2, 3)), images.max(axis=(2, 3))
    scale = ((high.astype(np.float64) - low) / levels).astype(np.float32)
    steps = images - low[:, :, None, None]
    np.divide(steps, scale[:, :, None, None], out=steps, where=scale[:, :, None, None] > 0)
    np.clip(np.rint(steps, out=steps), 0, levels, out=steps)
    return steps.astype(dtype), {"Offset": low, "Scale": scale}


def describe(images, percentiles):
    """{"Mean", "Deviation", "Low", "High": float32 (n, C)} of the pixels of images (n, C, H, W)."""
    if not len(images):
        return dict.fromkeys(("Mean", "Deviation", "Low", "High"), np.zeros(images.shape[:2], np.float32))
    pixels = images.reshape(*images.shape[:2], -1)
    found = {"Mean": pixels.mean(axis=2, dtype=np.float64), "Deviation": pixels.std(axis=2, dtype=np.float64)}
    low, high = _percentiles(pixels, percentiles)
    return {name: values.astype(np.float32) for name, values in (found | {"Low": low, "High": high}).items()}


def _percentiles(values, wanted):
    """Percentiles along the last axis as numpy's; sorting beats its partition of short rows several times."""
    values = np.sort(values, axis=-1)
    for percent in wanted:
        position = percent / 100 * (values.shape[-1] - 1)
        below, above = values[..., int(position)], values[..., int(np.ceil(position))]
        yield below + (above.astype(np.float64) - below) * (position - int(position))


class Items:
    """All items of a tensor, read at random from its files, normalised.

    metadata: DataFrame, the Metadata_* of all items. channels: names, in the order of what is read. size: (H, W).
    Pixels are read by their place in the file and not through a mapping, whose pages would count as memory of every
    process that reads them. May be copied to other processes (pickled or forked) and read from several threads.
    """

    def __init__(self, files, metadata, channels, places, lines, limits):
        self.metadata, self.channels = metadata, channels
        self.size, self.dtype = files[0].size, files[0].dtype
        self._files, self._places = files, places
        self._starts = np.cumsum([0, *(file.count for file in files)])
        self._factor, self._shift = lines
        self._limits = limits
        self._open = functools.lru_cache(OPEN)(_Descriptor)

    @classmethod
    def open(cls, files, channels=None, normalize="image", clip=None):
        """Items of the files [(array, items table), ...] one after the other.

        channels: those to read, all by default. normalize: plate, image, percentile, range or none (see
        normalisation.line). clip: (lowest, highest) value, beyond which normalised pixels are cut. A tensor without
        items is fine.
        Raises InputError, naming the file, where one is damaged or differs from the first in channels, size or type.
        """
        if normalize not in NEEDS:
            raise InputError(f"pixels are normalised by {', '.join(NEEDS)}, not {normalize!r}")
        found, first = [], None
        for path, table in files:
            array = _Array(path, table)
            first = first or array
            for what in ("channels", "size", "dtype"):
                one, other = getattr(first, what), getattr(array, what)
                if one != other:
                    raise InputError(f"{path} has the {what} {other} and {first.path} {one}; give the tensor one size")
            found.append(array)
        if first is None:
            raise InputError("a tensor has no file; its dataset has no plates or samples")
        channels = list(channels or first.channels)
        unknown = [name for name in channels if name not in first.channels]
        if unknown:
            raise InputError(f"{first.path} has no channel {unknown[0]!r}; it has {', '.join(first.channels)}")
        places = [first.channels.index(name) for name in channels]
        lines = [array.line(channels, normalize) for array in found]
        lines = [np.concatenate(values) for values in zip(*lines, strict=True)]
        tables = [array.metadata() for array in found if array.count] or [found[0].metadata()]
        limits = [limit for limit in (LIMITS.get(normalize), clip) if limit is not None]
        return cls(found, pd.concat(tables, ignore_index=True), channels, places, lines, limits)

    def __len__(self):
        return int(self._starts[-1])

    def read(self, indices):
        """Items of some numbers (n,), in their order: float32 (n, C, H, W), without NaN."""
        indices = np.asarray(indices, np.int64).reshape(-1)
        if ((indices < 0) | (indices >= len(self))).any():
            raise IndexError(f"items are numbered from 0 to {len(self) - 1}")
        stored = np.empty((len(indices), len(self.channels), *self.size), self.dtype)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        for image, index, owner in zip(stored, indices, owners, strict=True):
            file = self._files[owner]
            file.read(self._open(file.path).number, int(index - self._starts[owner]), self._places, image)
        values = np.multiply(stored, self._factor[indices][:, :, None, None], dtype=np.float32)
        values += self._shift[indices][:, :, None, None]
        for low, high in self._limits:
            np.clip(values, low, high, out=values)
        return values

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._open = functools.lru_cache(OPEN)(_Descriptor)


class _Descriptor:
    """An open file; closed when nobody holds it."""

    def __init__(self, path):
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self):
        if hasattr(self, "number"):
            os.close(self.number)


class _Array:
    """One file of a tensor and its table."""

    def __init__(self, path, table):
        self.path, self.table = str(path), str(table)
        shape, self.dtype, self.begin = _header(self.path)
        self.count, self.size = shape[0], tuple(shape[2:])
        names = pq.read_schema(self.table).names if Path(self.table).is_file() else []
        self.channels = [name.removeprefix("Offset_") for name in names if name.startswith("Offset_")]
        rows = pq.read_metadata(self.table).num_rows if names else 0
        if (rows, len(self.channels)) != tuple(shape[:2]):
            raise InputError(
                f"{self.path} has {shape[0]:,} items of {shape[1]} channels, its table {self.table} {rows:,} of "
                f"{len(self.channels)}; make the tensor again"
            )
        due = self.begin + int(np.prod(shape)) * self.dtype.itemsize
        if os.path.getsize(self.path) != due:
            raise InputError(
                f"{self.path} has {os.path.getsize(self.path):,} bytes where {due:,} are due; make the tensor again"
            )

    def metadata(self):
        return read_table(self.table, metadata_columns(pq.read_schema(self.table).names))

    def line(self, channels, method):
        names = ("Offset", "Scale", *NEEDS[method])
        frame = read_table(self.table, [f"{name}_{channel}" for name in names for channel in channels])
        given = {name: frame[[f"{name}_{channel}" for channel in channels]].to_numpy() for name in names}
        return line(method, np.iinfo(self.dtype).max, given)

    def read(self, descriptor, row, places, image):
        """Read some channels of an item, by their places, into `image` (C, H, W), which lies in one piece."""
        plane = self.size[0] * self.size[1] * self.dtype.itemsize
        begin = self.begin + row * plane * len(self.channels)
        if places == list(range(len(self.channels))):
            read_into(image, descriptor, begin, self.path, MEND)
        else:
            for channel, place in zip(image, places, strict=True):
                read_into(channel, descriptor, begin + place * plane, self.path, MEND)


def _header(path):
    """(shape, type, place of the first pixel) of a tensor's array. Raises InputError where it is none."""
    shape, fortran, dtype, begin = array_header(path, MEND)
    if fortran or len(shape) != 4 or dtype.name not in DTYPES:
        raise InputError(f"{path} is no tensor (N, C, H, W) of {' or '.join(DTYPES)}; make it again")
    return shape, dtype, begin
