"""One sample of a cytometry dataset: its events table and the stack of their images, from its manifest."""

from array import array
from itertools import chain, islice

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.core.tables import read_text_table, stream_table
from phenoloom.crops.canvas import canvas_size
from phenoloom.crops.stack import write_stack
from phenoloom.cytometry.images import image_rows, read_events
from phenoloom.cytometry.instrument import Instrument

#: Events by which the pages of a sorter's channels are found, before the others are read.
LOOK_AT = 500


class Seen:
    """What is kept of every event after its image has gone to the stack: number, name, metadata and sums of its pages.

    The number is that of the FCS file, and the place in the sample where there is none.
    """

    def __init__(self):
        self.numbers, self.names, self.metadata, self.sums = array("q"), [], [], array("d")

    def numbered(self, found, pages):
        """Yield (number, pixels of the channels' pages) of Events."""
        for position, event in enumerate(found):
            self.numbers.append(position if pages is None else event.number)
            self.names.append(event.name)
            if event.metadata:
                self.metadata.append(event.metadata)
            self.sums.extend(_sums(event.pixels))
            yield self.numbers[-1], event.pixels if pages is None else event.pixels[pages]

    def places(self, numbers):
        """Places (n,) of events by their numbers."""
        order = np.argsort(self.numbers, kind="stable")
        return order[np.searchsorted(np.asarray(self.numbers)[order], numbers)]

    def sums_of(self, numbers):
        """Sums (n, P) of the pages of events."""
        return np.asarray(self.sums).reshape(len(self.numbers), -1)[self.places(numbers)]


def build_sample(manifest, metadata, block, paths, ledger, threads=1, origin=None):
    """Write a sample's stack (N, C, H, W), its frames and its events, row k of each being one event.

    manifest: Arrow table (cytometry.manifest.SCHEMA). metadata: of all events. block: of the dataset's config.
    paths: {"stack", "frames", "events"}. What is lost or odd goes to the ledger; in memory are some hundred images, and
    the names and sums of all events. Raises InputError when nothing is left, and for images that are not those
    of the events.
    """
    channels, events = list(block["channels"]), block["events"]
    files = {row["kind"]: row["path"] for row in _beside(manifest)}
    found = read_events(manifest, events, _pages(manifest, block), channels, ledger, threads)
    instrument = pages = None
    if events["format"] == "sorter":
        instrument = Instrument(files["fcs"], events["fcs"], ledger)
        found = instrument.known(found, ledger)
        first = list(islice(found, LOOK_AT))
        sums = np.array([_sums(event.pixels) for event in first]).reshape(len(first), -1)
        pages = instrument.pages(block["channels"], [event.number for event in first], sums)
        found = chain(first, found)
        del first
    seen = Seen()
    frames = _stack(paths["stack"], seen.numbered(found, pages), manifest, block, ledger)
    numbers = frames["Metadata_Event"].to_numpy()
    if instrument:
        sums = seen.sums_of(numbers)
        instrument.verify(block["channels"], pages, numbers, sums, events["join"], ledger)
        instrument.missing(numbers, ledger)
    table = _metadata(numbers, seen, metadata)
    table = _labelled(table, files.get("events"), events["labels"], instrument)
    _write(paths["events"], _with_pulses(table, instrument) if instrument else [table], origin)
    _write(paths["frames"], [frames], origin)


def _sums(pixels):
    return pixels.sum(axis=(1, 2), dtype=np.float64)


def _stack(path, images, manifest, block, ledger):
    crops = block["crops"]
    rows, columns = block["events"]["grid"] or (1, 1)
    images_only = manifest.filter(pc.equal(manifest["kind"], "image"))
    sizes = np.stack([images_only["height"].to_numpy() // rows, images_only["width"].to_numpy() // columns], axis=1)
    with atomic(path) as partial:
        return write_stack(
            partial,
            images,
            list(block["channels"]),
            canvas_size(sizes, crops["canvas"], crops["canvas_percentile"]),
            ledger,
            background=crops["background"],
            bad=crops["bad"],
            centre=crops["centre"],
            centre_channel=crops["centre_channel"],
        )


def _beside(manifest):
    """Rows of the files of a manifest that are no images."""
    return manifest.filter(pc.not_equal(manifest["kind"], "image")).to_pylist()


def _pages(manifest, block):
    """Pages of the channels in files that hold them all; None where all are read or each channel has its file."""
    first = next(image_rows(manifest))
    if block["events"]["format"] != "crops" or first["channel"]:
        return None
    sources = [channel.get("source") or "" for channel in block["channels"].values()]
    return [int(source) if source.isdigit() else number for number, source in enumerate(sources)]


def _metadata(numbers, seen, metadata):
    """Metadata of the events in the stack: the sample's, and what the name of each image says."""
    places = seen.places(numbers)
    rows = [seen.metadata[place] for place in places] if seen.metadata else []
    own = pd.DataFrame(rows, index=range(len(numbers)), dtype=str)
    shared = {name: value for name, value in metadata.items() if name not in own}
    table = pd.DataFrame({**shared, "Metadata_Event": numbers}, index=own.index)
    table["Metadata_Image"] = [seen.names[place] for place in places]
    return pd.concat([table, own], axis=1)


def _labelled(table, path, labels, instrument):
    """The table with columns of the per-event table, joined by its column `event`, or by its rows' order."""
    if not labels:
        return table
    if not path:
        raise InputError(
            "events.labels needs a table of events; name it in the column 'events' of the table of samples"
        )
    given = read_text_table(path)
    missing = [name for name in labels.values() if name not in given]
    if missing:
        raise InputError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(given)}")
    due = instrument.fcs.n_events if instrument else None
    if "event" in given:
        keys = pd.to_numeric(given["event"], errors="coerce")
        if keys.isna().any() or keys.duplicated().any():
            raise InputError(f"{path}: the column 'event' needs a different whole number in every row")
        given = given.set_index(keys.astype(np.int64))
    elif due is not None and len(given) != due:
        raise InputError(
            f"{path} has {len(given):,} rows for {due:,} events; give a row per event, or a column 'event' with numbers"
        )
    for name, column in labels.items():
        found = given[column].reindex(table["Metadata_Event"]).to_numpy()
        table[f"Metadata_{name}"] = pd.Series(found, index=table.index).replace("", None)
    return table


def _with_pulses(table, instrument):
    """Yield the table's rows with the instrument's measurements of each event, chunk by chunk."""
    numbers = table["Metadata_Event"].to_numpy()
    for start, pulses in instrument.frames():
        low, high = np.searchsorted(numbers, [start, start + len(pulses)])
        if high > low:
            rows = table.iloc[low:high].reset_index(drop=True)
            yield pd.concat([rows, pulses.iloc[numbers[low:high] - start].reset_index(drop=True)], axis=1)


def _write(path, tables, origin):
    """Write tables of one schema, one after the other, as one Parquet file with its origin."""
    with stream_table(path, origin) as write:
        for table in tables:
            write(table)
