"""A sample's stack: images of different sizes, one after the other, to one array on a common canvas."""

from itertools import groupby, islice

import numpy as np
import pandas as pd

from phenoloom.core.arrays import ArrayFile
from phenoloom.core.errors import InputError
from phenoloom.crops.background import background_levels
from phenoloom.crops.bad_events import find_bad, wrong_pages
from phenoloom.crops.canvas import object_centres, place

#: Events that are read before they are worked on together.
BATCH = 256

FRAME = ["Frame_Top", "Frame_Left", "Frame_Height", "Frame_Width"]


def write_stack(path, images, channels, shape, ledger, background=None, centre="image", centre_channel=None, bad=None):
    """Write a sample's stack (N, C, H, W) to `path`; returns the table of its rows, in the order of the events.

    images: iterable of (event number, array (C, h, w) of any number type); one batch is in memory at a time. channels:
    C names. shape: (H, W) of the canvas (`canvas_size`). background: options of `background_levels`; bad: of
    `find_bad`. centre: as `object_centres` has it, with a channel's name. Bad events go to the ledger with their reason
    and number (as site) and are not in the stack. The table has Metadata_Event, Original_Height, Original_Width, FRAME
    (where the image lies on the canvas, int32) and Background_{channel} (float32).
    Raises InputError when no event is left, or a channel to centre on does not exist.
    """
    if centre_channel is not None and centre_channel not in channels:
        raise InputError(f"channel {centre_channel!r} to centre on is none of {', '.join(channels)}")
    about = None if centre_channel is None else list(channels).index(centre_channel)
    rows, seen = [], 0
    with ArrayFile(path, (len(channels), *shape)) as file:
        images = iter(images)
        while batch := list(islice(images, BATCH)):
            seen += len(batch)
            usable = []
            for number, image in batch:
                reason = wrong_pages(image, len(channels))
                if reason:
                    ledger.add(reason, unit="event", site=number)
                else:
                    usable.append((number, image))
            placed = []
            # neighbours of one size and type are worked on together; their order stays
            for _, alike in groupby(usable, key=lambda item: (item[1].shape, item[1].dtype)):
                numbers, arrays = zip(*alike, strict=True)
                block = np.stack(arrays)
                level = background_levels(block, **(background or {}))
                reasons = find_bad(block, level, **(bad or {}))
                for number, reason in zip(numbers, reasons, strict=True):
                    if reason:
                        ledger.add(reason, unit="event", site=number)
                keep = np.array([not reason for reason in reasons])
                if keep.any():
                    level, block = level[keep], block[keep].astype(np.float32) - level[keep][:, :, None, None]
                    on_canvas, offsets = place(block, shape, object_centres(block, centre, about))
                    file.append(on_canvas)
                    sizes = np.tile(block.shape[2:], (len(block), 1))
                    placed.append((np.array(numbers)[keep], sizes, offsets, level))
            if placed:
                rows.append(_rows(*map(np.concatenate, zip(*placed, strict=True)), shape, channels))
    if not rows:
        raise InputError(f"none of {seen} events of this sample can be used; see its ledger, or check its images")
    return pd.concat(rows, ignore_index=True)


def _rows(numbers, sizes, offsets, level, shape, channels):
    """The table's rows of the events of a batch."""
    low = np.maximum(offsets, 0)
    extent = np.minimum(offsets + sizes, shape) - low
    table = pd.DataFrame({"Metadata_Event": numbers.astype(np.int64)})
    table[["Original_Height", "Original_Width"]] = sizes.astype(np.int32)
    table[FRAME] = np.hstack([low, extent]).astype(np.int32)
    table[[f"Background_{channel}" for channel in channels]] = level.astype(np.float32)
    return table
