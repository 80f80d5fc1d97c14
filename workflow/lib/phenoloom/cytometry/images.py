"""The images of single events, one after the other, from stacks of a sorter, montages or crops."""

from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from phenoloom.core.images import ImageError, read_pages
from phenoloom.cytometry import montages
from phenoloom.cytometry.manifest import images_of

#: Events that are read at a time: enough to keep threads busy, few enough to take little memory.
CHUNK = 128

#: Rows of a manifest that are taken out of the table at a time.
ROWS = 10_000


class Event(NamedTuple):
    """One event: its number (see manifest.SCHEMA) and pixels (C, h, w) in their own dtype."""

    number: int
    pixels: np.ndarray


def read_events(manifest, events, pages=None, channels=(), ledger=None, threads=1):
    """Yield the Events of a sample in the order of its manifest; what cannot be read goes to the ledger.

    manifest: Arrow table (manifest.SCHEMA). events: block of the dataset's config. pages: those to read of a file
    with several (0-based; all by default). channels: names, in order, of formats with a file per channel.
    """
    sets = (list(rows) for _, rows in groupby(_rows(manifest), key=lambda row: row["number"]))
    if events["format"] == "montage":
        yield from _cells(sets, events["grid"], channels, ledger)
        return

    def read(rows):
        try:
            return _read_event(rows, pages, channels)
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        while chunk := list(islice(sets, CHUNK)):
            for rows, found in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(found, str):
                    ledger.add(found, unit="event", site=rows[0]["number"])
                else:
                    yield Event(rows[0]["number"], found)


def with_pages(found, due, ledger):
    """Yield the Events with as many pages as are due; the others go to the ledger."""
    for event in found:
        if len(event.pixels) == due:
            yield event
        else:
            ledger.add(f"the image has {len(event.pixels)} pages where {due} are due", unit="event", site=event.number)


def _rows(manifest):
    """Yield the rows of the images of a manifest as dicts; few are in memory at a time."""
    for start in range(0, len(manifest), ROWS):
        yield from images_of(manifest.slice(start, ROWS)).to_pylist()


def _read_event(rows, pages, channels):
    """Pixels (C, h, w) of the file with all its pages, or of its files, one per channel."""
    if rows[0]["channel"]:
        pixels = np.concatenate([read_pages(path, [0]) for path in _by_channel(rows, channels)])
    else:
        pixels = read_pages(rows[0]["path"], pages)
    height, width = pixels.shape[1:]
    if (height, width) != (rows[0]["height"], rows[0]["width"]):
        raise ImageError(
            f"{rows[0]['path']} is {width}x{height} pixels but was listed as {rows[0]['width']}x{rows[0]['height']}; "
            "prepare the study again"
        )
    return pixels


def _cells(sets, grid, channels, ledger):
    """Cells of montages; the files are read twice, for a filler is known by its copies anywhere in the sample."""
    readable, marks = [], []
    for rows in sets:
        paths = _by_channel(rows, channels)
        try:
            marks.append(montages.digests(montages.read_montage(paths, grid)))
        except ImageError as error:
            ledger.add(str(error), unit="event", count=grid[0] * grid[1], site=rows[0]["number"])
            continue
        readable.append((rows[0]["number"], paths))
    if not readable:
        return
    kinds = montages.unreal(np.concatenate(marks))
    for kind, reason in montages.REASONS.items():
        if number := np.count_nonzero(kinds == kind):
            ledger.add(reason, unit=montages.UNITS[kind], count=number)
    for (first, paths), found in zip(readable, kinds.reshape(len(readable), -1), strict=True):
        cells = montages.read_montage(paths, grid)
        for place in np.flatnonzero(found == montages.REAL):
            yield Event(first + int(place), cells[place])


def _by_channel(rows, channels):
    """Paths of an event's files in the order of the channels."""
    paths = {row["channel"]: row["path"] for row in rows}
    return [paths[channel] for channel in channels]
