"""Crops of a sample's single events: the middle of their canvas, or all of it."""

import numpy as np
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.tables import metadata_columns, read_table
from phenoloom.crops.canvas import object_centres, place
from phenoloom.crops.chunks import chunks
from phenoloom.tensors.store import BATCH, TensorWriter, append_usable

#: Level of a row as in the table of classical features: the event's row of the stack, from 1.
NUMBER = "Metadata_ObjectNumber"

BACKGROUND = "Background_"


def write_event_crops(paths, sample, channels, options, ledger, origin=None):
    """Write the tensor of a sample's events: (array, table of items).

    sample: paths of its stack (N, C, H, W), frames and events. channels: names, in order, of those in the stack.
    options: of the tensor (size, dtype, cut_off, percentiles). size: the canvas is cut, or filled up with 0 (the
    background), about its middle; None keeps it. 256 events are in memory. Events that hold nothing go to the ledger.
    Raises InputError where the three files are not of the same events, or lack a channel.
    """
    stack_path, frames, events = sample
    stack = np.load(stack_path, mmap_mode="r", allow_pickle=False)
    known = [name.removeprefix(BACKGROUND) for name in pq.read_schema(frames).names if name.startswith(BACKGROUND)]
    unknown = [name for name in channels if name not in known]
    if unknown:
        raise InputError(f"{stack_path} has no channel {unknown[0]!r}; it has {', '.join(known)}")
    metadata = read_table(events, metadata_columns(pq.read_schema(events).names))
    rows = pq.read_metadata(frames).num_rows
    if not len(stack) == rows == len(metadata):
        raise InputError(
            f"{stack_path} has {len(stack):,} events, its frames {rows:,} and {events} {len(metadata):,}; "
            "make them again"
        )
    metadata[NUMBER] = np.arange(1, len(metadata) + 1, dtype=np.int64)
    wanted = [known.index(name) for name in channels]
    size = tuple(options["size"] or stack.shape[2:])
    with TensorWriter(paths[0], channels, size, options["dtype"], paths[1], options["percentiles"], origin) as tensor:
        for part in chunks(stack, BATCH):
            images = stack[part][:, wanted]
            if images.shape[2:] != size:
                images = place(images, size, object_centres(images))[0]
            if options["cut_off"] is not None:
                images = np.minimum(images, np.float32(options["cut_off"]))
            append_usable(tensor, images, metadata[part], ledger, "event")
        if not len(tensor):
            tensor.append(np.empty((0, len(channels), *size)), metadata[:0])
            ledger.add("no event of this sample can be used", unit="plate")
