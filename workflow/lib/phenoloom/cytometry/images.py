"""The images of single events, one after the other, from stacks of a sorter, montages or crops."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from phenoloom.core.images import ImageError, read_pages
from phenoloom.cytometry import montages

#: Events that are read at a time: enough to keep threads busy, few enough to take little memory.
CHUNK = 512


class Event(NamedTuple):
    """One event: name, number in the FCS file (-1 without one), metadata, and pixels (C, h, w) in their own dtype."""

    name: str
    number: int
    metadata: dict
    pixels: np.ndarray


def read_events(manifest, events, pages=None, channels=(), ledger=None, threads=1):
    """Yield the Events of a sample in the order of its manifest; what cannot be read goes to the ledger.

    manifest: Arrow table (manifest.SCHEMA). events: block of the dataset's config. pages: those to read
    of a file with several (0-based; all by default). channels: names, in order, of formats with a file per channel.
    """
    sets = (list(rows) for _, rows in groupby(image_rows(manifest), key=lambda row: row["name"]))
    if events["format"] == "montage":
        yield from _tiles(sets, events["grid"], channels, ledger)
        return

    def read(rows):
        try:
            return _read_event(rows, pages, channels, events["pages"])
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        while chunk := list(islice(sets, CHUNK)):
            for rows, found in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(found, str):
                    ledger.add(found, unit="event", site=rows[0]["name"])
                else:
                    yield found


def image_rows(manifest):
    """Yield the rows of the images of a manifest as dicts; few are in memory at a time."""
    for batch in manifest.to_batches(10_000):
        yield from (row for row in batch.to_pylist() if row["kind"] == "image")


def _read_event(rows, pages, channels, due):
    """Event of the file with all its pages, or of its files, one per channel."""
    first = rows[0]
    if first["channel"]:
        paths = _by_channel(rows, channels)
        planes = [read_pages(path, [0]) for path in paths]
        if len({plane.shape for plane in planes}) > 1:
            raise ImageError(f"{paths[0]} differs in size from another channel of its event; export the event again")
        pixels = np.concatenate(planes)
    else:
        pixels = read_pages(first["path"], None if due else pages)
        if due:
            if len(pixels) != due:
                raise ImageError(f"{first['path']} has {len(pixels)} page(s) where {due} are due")
            pixels = pixels if pages is None else pixels[list(pages)]
    return Event(first["name"], first["number"], json.loads(first["metadata"]), pixels)


def _tiles(sets, grid, channels, ledger):
    """Cells of montages; the files are read twice, for a filler is known by its copies anywhere in the sample."""
    readable, marks = [], []
    for rows in sets:
        try:
            paths = _by_channel(rows, channels)
            found = montages.digests(montages.read_montage(paths, grid))
        except ImageError as error:
            ledger.add(str(error), unit="image", site=rows[0]["name"])
            continue
        readable.append((rows[0], paths))
        marks += found
    unreal = montages.unreal(marks)
    for kind, reason in (
        ("filler", "filler tiles of a montage (one tile, repeated)"),
        ("repeat", "repeats of another cell"),
    ):
        if number := sum(found == kind for found in unreal.values()):
            ledger.add(reason, unit="event", count=number)
    start = 0
    for row, paths in readable:
        tiles = montages.read_montage(paths, grid)
        metadata = json.loads(row["metadata"])
        for index, tile in enumerate(tiles):
            if start + index not in unreal:
                yield Event(f"{row['name']}/{index}", index, metadata, tile)
        start += len(tiles)


def _by_channel(rows, channels):
    """Paths of an event's files in the order of the channels. Raises ImageError when one is missing."""
    paths = {row["channel"]: row["path"] for row in rows}
    missing = [channel for channel in channels if channel not in paths]
    if missing:
        raise ImageError(f"{rows[0]['path']} is there, but the channel {missing[0]} of its event is not; copy it again")
    return [paths[channel] for channel in channels]
