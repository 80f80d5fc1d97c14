"""The files of one sample: which image file is which event, channel or montage, with size and digest of each.

Written before the DAG is built, and rewritten only when it differs: later jobs depend on it, not on the files.
"""

import json
from collections import defaultdict
from typing import NamedTuple

import pyarrow as pa

from phenoloom.core import ledger as ledgers
from phenoloom.core.errors import InputError
from phenoloom.core.files import digest_file
from phenoloom.core.ledger import Ledger
from phenoloom.core.words import count
from phenoloom.cytometry.patterns import compile_pattern, metadata_of
from phenoloom.ingest.facts import read_facts
from phenoloom.ingest.filenames import channel_key
from phenoloom.ingest.folders import stat, walk

#: One row per file. kind: image, fcs or events. name: event or montage as the file says it; number: that of a sorter's
#: event, counted as its FCS file does, -1 elsewhere. metadata: JSON of what the name says beside.
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("number", pa.int64()),
        ("channel", pa.string()),
        ("metadata", pa.string()),
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("dtype", pa.string()),
        ("size", pa.int64()),
        ("digest", pa.string()),
    ]
)


class Named(NamedTuple):
    """An image file under the names that the study uses. page: 0, the one whose header is read."""

    name: str
    number: int
    channel: str
    metadata: str
    path: str
    page: int
    size: int
    mtime_ns: int


def list_sample(dataset, row, block, known=None, threads=4):
    """(manifest table, ledger table, facts to remember) of one sample.

    row: of the table of samples. block: of the dataset's config. known: facts remembered.
    Raises InputError when no image can be used or another file is missing; lesser faults are rows of the ledger.
    """
    events = block["events"]
    ledger = Ledger("index", dataset=dataset, plate=row["sample"])
    images = _images(row, block["channels"], events, ledger)
    facts = read_facts(images, known or {}, events["digest"], threads)
    rows = []
    for one in images:
        fact = facts[one.path]
        if fact.errors:
            ledger.add(fact.errors[0], unit=_unit(events), site=one.name)
            continue
        rows.append(("image", *one[:5], *fact.pages[0], fact.size, fact.digest))
    if not rows:
        first = ledger.rows[0]["reason"] if ledger.rows else "the folder is empty"
        raise InputError(f"{row['images']} (sample {row['sample']}) has no usable image; the first reason: {first}")
    rows += [_beside(kind, row[kind], row["sample"]) for kind in ("fcs", "events") if row.get(kind)]
    columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
    table = pa.table({name: list(values) for name, values in columns.items()}, schema=SCHEMA)
    return table, pa.Table.from_pylist(ledger.rows, schema=ledgers.SCHEMA), facts


def summarize(table, row):
    """What the DAG must know of a sample: number of events at most, largest height and width of its images."""
    images = [one for one in table.to_pylist() if one["kind"] == "image"]
    return {
        "sample": row["sample"],
        "batch": row["batch"],
        "images": len(images),
        "events": len({one["name"] for one in images}),
        "height": max(one["height"] for one in images),
        "width": max(one["width"] for one in images),
    }


def _images(row, channels, events, ledger):
    """Named files of a sample, sorted by event and channel; files whose names do not fit are left aside, counted."""
    regex = compile_pattern(events["pattern"], events["format"])
    wanted = {channel_key(block.get("source") or name): name for name, block in channels.items()}
    found, aside = defaultdict(list), []
    for file in walk(row["images"]):
        fit = regex.fullmatch(file.name)
        fields = fit.groupdict() if fit else {}
        channel = wanted.get(channel_key(fields["channel"])) if "channel" in fields else ""
        if not fit or channel is None:
            aside.append(file.name)
            continue
        metadata = metadata_of(fields)
        name, number = _event(fields, metadata, events)
        text = json.dumps(metadata, ensure_ascii=False, sort_keys=True)
        found[name, channel].append(Named(name, number, channel, text, file.path, 0, file.size, file.mtime_ns))
    if not found and aside:
        example = f"{row['images']}/{aside[0]}"
        raise InputError(
            f"no image of sample {row['sample']} fits events.pattern {events['pattern']!r}, such as {example}; "
            "mend the pattern or the channels' sources"
        )
    if aside:
        ledger.add(
            f"{count(len(aside), 'file')} left aside: no event's image by its name, such as {aside[0]}",
            "flagged",
            unit="file",
            count=len(aside),
        )
    for (name, channel), files in found.items():
        for other in files[1:]:
            ledger.add(
                f"{other.path} and {files[0].path} are both event {name} {channel}".strip(),
                unit=_unit(events),
                site=name,
            )
    return [files[0] for _, files in sorted(found.items(), key=lambda item: (item[1][0].number, item[0]))]


def _event(fields, metadata, events):
    """(name, number) of a file's event or montage; labels in the folder's name belong to the name of a crop."""
    if events["format"] == "sorter":
        number = int(fields["event"]) - events["first_event"]
        return str(int(fields["event"])), number
    own = fields.get("event") or fields.get("montage") or "1"
    return "/".join([*metadata.values(), own]), -1


def _unit(events):
    return "image" if events["format"] == "montage" else "event"


def _beside(kind, path, sample):
    """Row of a file that is no image."""
    file = stat(path)
    if not file.size:
        state = "is empty" if file.mtime_ns else "does not exist"
        raise InputError(f"{path} {state}; mend the column '{kind}' of sample {sample}, or copy the file again")
    return (kind, "", -1, "", "{}", path, None, None, None, file.size, digest_file(path))
