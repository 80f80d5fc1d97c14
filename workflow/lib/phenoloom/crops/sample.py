"""One sample of a cytometry dataset: its events table and the stack of their images, from its manifest."""

from array import array
from collections import Counter
from itertools import chain, islice

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.core.tables import stream_table
from phenoloom.crops.background import background_levels
from phenoloom.crops.bad_events import find_bad
from phenoloom.crops.canvas import canvas_size
from phenoloom.crops.stack import write_stack
from phenoloom.cytometry.gates import Gates
from phenoloom.cytometry.images import read_events, with_pages
from phenoloom.cytometry.instrument import Instrument
from phenoloom.cytometry.labels import read_labels
from phenoloom.cytometry.manifest import described, drained, images_of

#: Events by which the pages of a sorter's channels are found, before the others are read.
LOOK_AT = 500

#: Rows of tables that are written at a time where nothing else sets their number.
ROWS = 50_000


class Sums:
    """Sums of all pages of the events that pass by, by their number; 8 bytes a page stay in memory, no pixels."""

    def __init__(self):
        self.numbers, self.values = array("q"), array("d")

    def watch(self, found):
        """Yield Events in the order of their numbers, their sums noted."""
        for event in found:
            self.numbers.append(event.number)
            self.values.extend(page_sums(event.pixels))
            yield event

    def of(self, numbers):
        """Sums (n, P) of the pages of events."""
        places = np.searchsorted(np.asarray(self.numbers), numbers)
        return np.asarray(self.values).reshape(len(self.numbers), -1)[places]


def build_sample(manifest, metadata, block, paths, ledger, threads=1, origin=None):
    """Write a sample's stack (N, C, H, W), its frames and its events, row k of each being one event.

    manifest: Arrow table (cytometry.manifest.SCHEMA). metadata: of all events. block: of the dataset's config.
    paths: {"stack", "frames", "events"}. What is lost or odd goes to the ledger; in memory are some hundred images, and
    a few hundred bytes of each event. Raises InputError when nothing is left, and for images that are not those of the
    events.
    """
    channels, events = list(block["channels"]), block["events"]
    files = {row["kind"]: row["path"] for row in _beside(manifest)}
    found = read_events(manifest, events, _pages(manifest, block), channels, ledger, threads)
    instrument = None
    if events["format"] == "sorter":
        instrument = Instrument(files["fcs"], events["fcs"], ledger, events["join"]["areas"], files.get("spillover"))
        found, pages = _joined(found, instrument, block, ledger)
        sums = Sums()
        images = ((event.number, event.pixels[pages]) for event in sums.watch(found))
    else:
        images = ((event.number, event.pixels) for event in found)
    frames = _stack(paths["stack"], images, manifest, block, ledger)
    numbers = frames["Metadata_Event"].to_numpy()
    if instrument:
        instrument.verify(block["channels"], pages, numbers, sums.of(numbers), events["join"], ledger)
        instrument.missing(numbers, ledger)
        del sums
    table = described(manifest, numbers, events)
    for name, values in _labels(table, files, manifest, events, instrument, ledger).items():
        table = table.append_column(name, pa.array(values, pa.string()))
    rows, pulses = (numbers, instrument.frames()) if instrument else (np.arange(len(frames)), _nothing(len(frames)))
    _write(paths["events"], _rows(table, metadata, rows, pulses), origin)
    _write(paths["frames"], [frames], origin)


def page_sums(pixels):
    """(P,) light of the pages of one event (P, h, w): distance of their sums from that of the background.

    The background is the median of the border. Without it the sums of an instrument with an offset follow the size of
    the image, and not the pulse; the distance holds for light that is lost as well as for light that is gained.
    """
    level = background_levels(pixels[None])[0].astype(np.float64)
    return np.abs(pixels.sum(axis=(1, 2), dtype=np.float64) - level * pixels[0].size)


def _joined(found, instrument, block, ledger):
    """(Events that the instrument knows, with as many pages as are due; page of each channel)."""
    found = instrument.known(found, ledger)
    first = list(islice(found, LOOK_AT))
    if not first:
        raise InputError(f"no image is of an event of {instrument.path}; {_first(ledger)}")
    due = block["events"]["pages"] or Counter(len(event.pixels) for event in first).most_common(1)[0][0]
    whole = [event for event in first if len(event.pixels) == due]
    if not whole:
        raise InputError(f"no image of the first {len(first)} has the {due} pages of events.pages; correct it")
    good = [event for event in whole if not _is_bad(event, block["crops"]["bad"])] or whole
    sums = np.array([page_sums(event.pixels) for event in good])
    pages = instrument.pages(block["channels"], [event.number for event in good], sums, block["events"]["join"])
    return with_pages(chain(drained(first), found), due, ledger), pages


def _is_bad(event, options):
    """Whether an event is bad in any of its pages, where a ceiling per channel says nothing."""
    if isinstance(options["saturation"], list):
        options = {**options, "saturation": "type"}
    pixels = event.pixels[None]
    return bool(find_bad(pixels, background_levels(pixels), **options)[0])


def _stack(path, images, manifest, block, ledger):
    crops = block["crops"]
    rows, columns = block["events"]["grid"] or (1, 1)
    listed = images_of(manifest.select(["kind", "height", "width"]))
    sizes = np.stack([listed["height"].to_numpy() // rows, listed["width"].to_numpy() // columns], axis=1)
    try:
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
    except InputError as error:
        raise InputError(f"{error}; {_first(ledger)}") from error


def _first(ledger):
    """The first loss, for the ledger is not kept when the sample fails."""
    lost = next((row["reason"] for row in ledger.rows if row["severity"] == "lost"), "none is lost")
    return f"the first reason: {lost}"


def _beside(manifest):
    """Rows of the files of a manifest that are no images."""
    return manifest.filter(pc.not_equal(manifest["kind"], "image")).to_pylist()


def _pages(manifest, block):
    """Pages of the channels in files that hold them all; None where all are read or each channel has its file."""
    if block["events"]["format"] != "crops" or images_of(manifest)["channel"][0].as_py():
        return None
    sources = [channel.get("source") or "" for channel in block["channels"].values()]
    return [int(source) if source.isdigit() else number for number, source in enumerate(sources)]


def _labels(table, files, manifest, events, instrument, ledger):
    """Labels of the events in a table, from the sample's table of events and the gates of its FlowJo workspace."""
    found = {}
    if events["labels"]:
        found |= _from_table(table, files.get("events"), manifest, events, instrument, ledger)
    if events["gates"]:
        gates = Gates(files.get("workspace"), instrument.fcs, events["gates"])
        found |= gates.labels(table["Metadata_Event"].to_numpy(), ledger)
    return found


def _from_table(table, path, manifest, events, instrument, ledger):
    """Labels of the events in a table, from the sample's table of events."""
    if not path:
        raise InputError(
            "events.labels needs a table of events; name it in the column 'events' of the table of samples"
        )
    numbers = table["Metadata_Event"].to_numpy()
    names = table["Metadata_Image"].to_pylist() if events["format"] == "crops" else None
    due = instrument.fcs.n_events if instrument else int(manifest.schema.metadata[b"events"])
    return read_labels(path, events["labels"], numbers, names, due, ledger)


def _nothing(rows):
    """Yield (number of the first row, table without columns) for rows of which nothing else is said."""
    for start in range(0, rows, ROWS):
        yield start, pd.DataFrame(index=range(min(ROWS, rows - start)))


def _rows(table, metadata, numbers, pulses):
    """Yield the events as Arrow tables: metadata of the sample, of each event, and the instrument's measurements.

    table: Arrow, a row per event. numbers: (N,) rows of the pulses that the events have, ascending. pulses: (number of
    the first, DataFrame) in order.
    """
    for start, frame in pulses:
        low, high = np.searchsorted(numbers, [start, start + len(frame)])
        rows, own = table.slice(low, high - low), frame.iloc[numbers[low:high] - start]
        columns = {name: pa.repeat(value, len(rows)) for name, value in metadata.items()}
        columns |= dict(zip(rows.column_names, rows.columns, strict=True))
        columns |= {name: pa.array(own[name].to_numpy()) for name in own}
        if len(rows):
            yield pa.table(columns)


def _write(path, tables, origin):
    """Write tables of one schema, one after the other, as one Parquet file with its origin."""
    with stream_table(path, origin) as write:
        for table in tables:
            write(table)
