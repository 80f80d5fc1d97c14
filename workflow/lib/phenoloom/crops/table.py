"""The table of classical image features of one sample: metadata of its events, one column per feature."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.tables import metadata_columns, stream_table
from phenoloom.crops.classical import feature_names, iterate_features
from phenoloom.crops.rescale import channel_scale, rescale
from phenoloom.crops.stack import FRAME

#: Level of a row, as for any table of single cells; a profile counts from 1 where one is asked for.
NUMBER = "Metadata_ObjectNumber"

#: Cells that are written at a time: row groups of some cells would make the file's own directory larger than its data.
ROWS = 20_000


class Rescaled:
    """A stack (N, C, H, W) in a file, whose channels are rescaled as they are read.

    The file is mapped for each part anew: pages of a mapping that stays would count as memory of this process.
    """

    def __init__(self, path, shift, scale):
        self.path, self.shift, self.scale = path, shift, scale
        stack = _mapped(path)
        self.shape, self.dtype, self.ndim = stack.shape, stack.dtype, stack.ndim

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, part):
        return rescale(np.asarray(_mapped(self.path)[part]), self.shift, self.scale)


def write_features(path, sample, channels, options, scaling, threads=1, origin=None):
    """Write the features of a sample (stack, frames and events: three paths), chunk by chunk.

    channels: names. options: of classical.FeatureOptions. scaling: of rescale.channel_scale.
    Raises InputError where the three are not of the same events.
    """
    stack_path, frames_path, events_path = sample
    stack = _mapped(stack_path)
    frames = pq.read_table(frames_path, columns=FRAME).to_pandas().to_numpy()
    wanted = metadata_columns(pq.read_schema(events_path).names)
    metadata = pq.read_table(events_path, columns=wanted)
    if not len(stack) == len(frames) == len(metadata):
        raise InputError(
            f"{stack_path} has {len(stack):,} events, its frames {len(frames):,} and {events_path} {len(metadata):,}; "
            "make them again"
        )
    if scaling["method"] != "none":
        stack = Rescaled(stack_path, *channel_scale(stack, **scaling, frames=frames))
    names = feature_names(channels, options)
    with stream_table(path, origin) as write:
        for start, values in _gathered(iterate_features(stack, channels, options, frames, threads=threads)):
            rows = metadata.slice(start, len(values))
            columns = dict(zip(rows.column_names, rows.columns, strict=True))
            columns[NUMBER] = np.arange(start, start + len(values), dtype=np.int64) + 1
            write(pa.table(columns | dict(zip(names, np.ascontiguousarray(values.T), strict=True))))


def _mapped(path):
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _gathered(parts):
    """Yield (first row, values) of about ROWS rows from small parts (slice, values) in order."""
    waiting, start = [], 0
    for part, values in parts:
        waiting.append(values)
        if part.stop - start >= ROWS:
            yield start, np.concatenate(waiting)
            waiting, start = [], part.stop
    if waiting:
        yield start, np.concatenate(waiting)
