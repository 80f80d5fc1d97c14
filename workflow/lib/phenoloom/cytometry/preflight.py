"""Everything wrong with samples of single events before anything runs: names and headers are read, no pixels."""

from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.words import count
from phenoloom.cytometry.gates import Gates
from phenoloom.cytometry.instrument import Instrument
from phenoloom.cytometry.labels import read_labels
from phenoloom.cytometry.manifest import cells_per_file, described, images_of, list_sample
from phenoloom.cytometry.samples import sample_rows

#: Losses of one sample that are listed one by one.
SHOWN = 5


class Checked(NamedTuple):
    """What was found: problems, (severity, sample or "", sentence) each; numbers of samples and images; their bytes."""

    problems: list
    samples: int = 0
    images: int = 0
    size: int = 0


def check_samples(dataset, block, threads=4):
    """Checked of a dataset. block: of its completed config. Nothing is raised for what is wrong with inputs."""
    try:
        rows = sample_rows(block["samples"], block["events"]["format"], dataset)
    except InputError as error:
        return Checked([("error", "", str(error))])
    found = [_check(dataset, block, row, threads) for row in rows]
    problems = [problem for one in found for problem in one.problems]
    return Checked(problems, len(rows), sum(one.images for one in found), sum(one.size for one in found))


def _check(dataset, block, row, threads):
    """Checked of one sample."""
    block = {**block, "events": {**block["events"], "digest": "none"}}
    ledger = Ledger("preflight")
    try:
        manifest, lost, _ = list_sample(dataset, row, block, threads=threads)
        images = images_of(manifest)
        ledger.rows += lost.to_pylist()
        numbers, n_events = _numbers(images, block["events"]), int(manifest.schema.metadata[b"events"])
        if block["events"]["format"] == "sorter":
            n_events = _check_instrument(row, block, numbers, ledger)
        _check_labels(row, block, manifest, numbers[numbers < n_events], n_events, ledger)
    except InputError as error:
        return Checked([*_warnings(ledger, row), ("error", row["sample"], str(error))])
    return Checked(_warnings(ledger, row), 1, len(images), pc.sum(images["size"]).as_py())


def _numbers(images, events):
    """(n,) numbers of all events that there are images of, ascending."""
    files = np.unique(images["number"].to_numpy())
    return (files[:, None] + np.arange(cells_per_file(events))).ravel()


def _check_instrument(row, block, numbers, ledger):
    """Number of events of the FCS file; it and the workspace must have what the study names. Raises InputError."""
    events = block["events"]
    instrument = Instrument(row["fcs"], events["fcs"], ledger, events["join"]["areas"])
    instrument.parameters(block["channels"])
    if events["gates"]:
        Gates(row.get("workspace"), instrument.fcs, events["gates"])
    known = int(np.count_nonzero((numbers >= 0) & (numbers < instrument.fcs.n_events)))
    if not known:
        raise InputError(
            f"no image is of an event of {row['fcs']}, which has {instrument.fcs.n_events:,}; mend events.first_event"
        )
    if known < len(numbers):
        ledger.add(f"{count(len(numbers) - known, 'image')} of no event of {row['fcs']}", unit="event")
    if known < instrument.fcs.n_events:
        ledger.add(f"{count(instrument.fcs.n_events - known, 'event')} of {row['fcs']} without an image", "flagged")
    return instrument.fcs.n_events


def _check_labels(row, block, manifest, numbers, n_events, ledger):
    """Raise InputError where the table of events does not fit."""
    events = block["events"]
    if not events["labels"]:
        return
    if not row.get("events"):
        raise InputError("events.labels needs a table of events; name it in the column 'events' of the sample")
    named = described(manifest, numbers, events) if events["format"] == "crops" else None
    names = named["Metadata_Image"].to_pylist() if named else None
    read_labels(row["events"], events["labels"], numbers, names, n_events, ledger)


def _warnings(ledger, row):
    """Problems that are rows of a ledger: the first ones, and how many more."""
    rows = sorted(ledger.rows, key=lambda one: one["severity"] != "lost")
    found = [("warning", row["sample"], one["reason"]) for one in rows[:SHOWN]]
    more = [("warning", row["sample"], f"and {len(rows) - SHOWN:,} more")] if len(rows) > SHOWN else []
    return found + more
