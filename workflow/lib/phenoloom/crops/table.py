"""The table of classical image features of one sample: metadata of its events, one column per feature."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from phenoloom.core.tables import metadata_columns, stream_table
from phenoloom.crops.classical import feature_names, iterate_features
from phenoloom.crops.rescale import channel_scale, rescale
from phenoloom.crops.stack import FRAME

#: Level of a row, as for any table of single cells; a profile counts from 1 where one is asked for.
NUMBER = "Metadata_ObjectNumber"


class Rescaled:
    """A stack (N, C, H, W) whose channels are rescaled as they are read."""

    def __init__(self, stack, shift, scale):
        self.stack, self.shift, self.scale = stack, shift, scale
        self.shape, self.dtype, self.ndim = stack.shape, stack.dtype, stack.ndim

    def __len__(self):
        return len(self.stack)

    def __getitem__(self, part):
        return rescale(np.asarray(self.stack[part]), self.shift, self.scale)


def write_features(path, sample, channels, options, scaling, threads=1, origin=None):
    """Write the features of a sample (stack, frames and events: three paths), chunk by chunk.

    channels: names. options: of classical.FeatureOptions. scaling: of rescale.channel_scale.
    """
    stack_path, frames_path, events_path = sample
    stack = np.load(stack_path, mmap_mode="r", allow_pickle=False)
    frames = pq.read_table(frames_path, columns=FRAME).to_pandas().to_numpy()
    if scaling["method"] != "none":
        stack = Rescaled(stack, *channel_scale(stack, **scaling, frames=frames))
    wanted = metadata_columns(pq.read_schema(events_path).names)
    metadata = pq.read_table(events_path, columns=wanted)
    names = feature_names(channels, options)
    with stream_table(path, origin) as write:
        for part, values in iterate_features(stack, channels, options, frames, threads=threads):
            rows = metadata.slice(part.start, part.stop - part.start).to_pandas()
            rows[NUMBER] = np.arange(part.start, part.stop, dtype=np.int64) + 1
            write(pd.concat([rows, pd.DataFrame(values, columns=names)], axis=1))
