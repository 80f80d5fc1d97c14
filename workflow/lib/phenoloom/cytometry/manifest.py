"""The files of one sample: which image file is which event, channel or montage, with size and digest of each.

Written before the DAG is built, and rewritten only when it differs: later jobs depend on it, not on the files.
"""

import json
import os
import re
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phenoloom.core import ledger as ledgers
from phenoloom.core.errors import InputError
from phenoloom.core.files import digest_file
from phenoloom.core.ledger import Ledger
from phenoloom.core.words import count
from phenoloom.cytometry.patterns import compile_pattern, metadata_fields, metadata_of
from phenoloom.ingest.facts import Facts, read_facts
from phenoloom.ingest.filenames import channel_key
from phenoloom.ingest.folders import stat, walk

#: One row per file. kind: image, fcs, events, workspace or spillover. name: event or montage as the file says it.
#: number: that of the event, from 0: the row of the FCS file for a sorter, else its place among all events of the
#: sample (the place of its first cell for a montage); -1 for other files. metadata: JSON of what the name says beside.
#: An event stands here with the files of all its channels or not at all.
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

#: What is remembered of the files that were read, so that they are not read again.
MEMORY = pa.schema([("mtime_ns", pa.int64()), *(SCHEMA.field(name) for name in ("path", *SCHEMA.names[6:]))])

#: Events whose headers are read at a time; what a file needs beyond its row is in memory for so many.
CHUNK = 20_000


class Named(NamedTuple):
    """An image file under the names that the study uses. page: 0, the one whose header is read."""

    name: str
    number: int
    channel: str
    metadata: str
    path: str
    size: int
    mtime_ns: int
    page: int = 0


def list_sample(dataset, row, block, known=None, threads=4):
    """(manifest, ledger, memory) of one sample, three Arrow tables; some 500 bytes per file while they are made.

    row: of the table of samples. block: of the dataset's config. known: memory of the last time. The manifest's schema
    metadata has the number of all events that there are files of (events), usable or not.
    Raises InputError when no image can be used or another file is missing; lesser faults are rows of the ledger.
    """
    events, channels = block["events"], block["channels"]
    ledger = Ledger("index", dataset=dataset, plate=row["sample"])
    each = cells_per_file(events)
    named = drained(_images(row, channels, events, ledger))
    sets = (list(files) for _, files in groupby(named, key=lambda one: one.name))
    tables, memories, number = [], [], 0
    while chunk := list(islice(sets, CHUNK)):
        chunk = [_once(files, ledger) for files in chunk]
        asked = [one for files in chunk for one in files]
        facts = read_facts(asked, _remembered(known, asked), events["digest"], threads)
        usable = []
        for files in chunk:
            place = number if files[0].number is None else files[0].number
            if fault := _fault(files, facts, channels, events):
                ledger.add(fault, unit="event", count=each, site=place)
            else:
                usable += [one._replace(number=place) for one in files]
            number += each
        tables.append(_table([("image", *one[:5], *_fact(facts[one.path])) for one in usable], SCHEMA))
        good = [one for one in asked if not facts[one.path].errors]
        memories.append(_table([(one.mtime_ns, one.path, *_fact(facts[one.path])) for one in good], MEMORY))
    images = pa.concat_tables(tables or [SCHEMA.empty_table()])
    if not len(images):
        reasons = sorted(ledger.rows, key=lambda one: one["severity"] != "lost")
        first = reasons[0]["reason"] if reasons else "the folder is empty"
        raise InputError(f"{row['images']} (sample {row['sample']}) has no usable image; the first reason: {first}")
    table = pa.concat_tables([images, _table(list(_beside(row, events)), SCHEMA)])
    table = table.replace_schema_metadata({"events": str(number)})
    return table, pa.Table.from_pylist(ledger.rows, schema=ledgers.SCHEMA), pa.concat_tables(memories)


def cells_per_file(events):
    """Number of events in an image file. events: block of the dataset's config."""
    return int(np.prod(events["grid"])) if events["format"] == "montage" else 1


def summarize(table, row):
    """What the DAG must know of a sample: number of events at most, largest height and width of its images."""
    images = images_of(table)
    return {
        "sample": row["sample"],
        "batch": row["batch"],
        "images": len(images),
        "events": pc.count_distinct(images["name"]).as_py(),
        "height": pc.max(images["height"]).as_py(),
        "width": pc.max(images["width"]).as_py(),
    }


def images_of(manifest):
    """The rows of the images of a manifest."""
    return manifest.filter(pc.equal(manifest["kind"], "image"))


def described(manifest, numbers, events):
    """Arrow table of events that a manifest has: Metadata_Event, Metadata_Image and what the files' names say.

    numbers: (n,) of the events wanted, ascending. events: block of the dataset's config.
    """
    images = images_of(manifest.select(["kind", "name", "number", "channel", "metadata"]))
    images = images.filter(pc.equal(images["channel"], images["channel"][0]))
    files = images["number"].to_numpy()
    place = np.searchsorted(files, numbers, side="right") - 1
    cells = np.asarray(numbers) - files[place]
    names = images["name"].take(pa.array(place))
    if events["format"] == "montage":
        names = pc.binary_join_element_wise(names, pa.array(cells).cast(pa.string()), "/")
    columns = {"Metadata_Event": pa.array(numbers, pa.int64()), "Metadata_Image": names}
    said = images["metadata"].combine_chunks().dictionary_encode()
    meant = [json.loads(text) for text in said.dictionary.to_pylist()]
    for name in meant[0]:
        values = pa.array([fields[name] for fields in meant])
        columns[name] = values.take(said.indices).take(pa.array(place))
    return pa.table(columns)


def _images(row, channels, events, ledger):
    """Named files of a sample, sorted by event and channel; files whose names do not fit are left aside, counted."""
    regex = compile_pattern(events["pattern"], events["format"])
    _check_names(row, events)
    if not os.path.isdir(row["images"]):
        raise InputError(
            f"{row['images']} is no folder; correct the column 'images' of sample {row['sample']}, or copy it again"
        )
    wanted = {channel_key(block.get("source") or name): name for name, block in channels.items()}
    found, aside, shared = [], [], {}
    for file in drained(walk(row["images"])):
        fit = regex.fullmatch(file.name) if _is_text(file.name) else None
        fields = fit.groupdict() if fit else {}
        channel = wanted.get(channel_key(fields["channel"])) if "channel" in fields else ""
        if not fit or channel is None:
            aside.append(file.name)
            continue
        metadata = metadata_of(fields)
        name, number = _event(fields, metadata, events)
        text = json.dumps(metadata, ensure_ascii=False, sort_keys=True)
        text = shared.setdefault(text, text)
        found.append(Named(name, number, channel, text, file.path, file.size, file.mtime_ns))
    if aside:
        example = os.path.join(row["images"], aside[0]).encode("utf-8", "backslashreplace").decode()
        if not found:
            raise InputError(
                f"no image of sample {row['sample']} fits events.pattern {events['pattern']!r}, such as {example}; "
                "mend the pattern or the channels' sources"
            )
        ledger.add(
            f"{count(len(aside), 'file')} left aside: no event's image by its name, such as {example}",
            "flagged",
            unit="file",
            count=len(aside),
        )
    by_number = events["format"] == "sorter"
    found.sort(key=lambda one: (one.number if by_number else _natural(one.name), one.name, one.channel, one.path))
    return found


def drained(items):
    """Yield the items of a list and let go of each."""
    items.reverse()
    while items:
        yield items.pop()


def _check_names(row, events):
    """Raise InputError where a field of the pattern and a column of the table of samples have one name."""
    both = [name for name in metadata_fields(events["pattern"], events["format"]) if name in row]
    if both:
        raise InputError(
            f"sample {row['sample']}: {both[0]} is a column of the table of samples and a field of events.pattern "
            f"{events['pattern']!r}; take one of them out"
        )


def _event(fields, metadata, events):
    """(name, number or None) of a file's event or montage; what else a name says belongs to the name of the event."""
    if events["format"] == "sorter":
        number = int(fields["event"])
        return str(number), number - events["first_event"]
    own = fields.get("event") or fields.get("montage") or "1"
    return "/".join([*metadata.values(), own]), None


def _natural(name):
    """Key by which names stand in the order of the numbers in them, so that cell 10 comes after cell 9."""
    return re.sub(r"[0-9]+", lambda digits: digits[0].zfill(18), name)


def _is_text(name):
    return name.isascii() or name.encode("utf-8", "replace").decode() == name


def _once(files, ledger):
    """The files of an event, one per channel: of several the first by its path."""
    kept = {}
    for one in files:
        first = kept.setdefault(one.channel, one)
        if first is not one:
            what = f"event {one.name} {one.channel}".strip()
            ledger.add(
                f"{one.path} and {first.path} are both {what}; the first is left aside",
                "flagged",
                unit="file",
                site=one.name,
            )
    return list(kept.values())


def _fault(files, facts, channels, events):
    """Why an event cannot be used as far as its files' headers say; "" where it can."""
    for one in files:
        if facts[one.path].errors:
            return facts[one.path].errors[0]
    there = {one.channel for one in files}
    missing = [] if "" in there else [name for name in channels if name not in there]
    if missing:
        return f"{files[0].path} is there, but the channel {missing[0]} of its event is not; copy it again"
    if len({facts[one.path].pages[0][:2] for one in files}) > 1:
        return f"{files[0].path} differs in size from another channel of its event; export the event again"
    width, height = facts[files[0].path].pages[0][:2]
    if events["format"] == "montage" and (height % events["grid"][0] or width % events["grid"][1]):
        return "{} is {}x{} pixels, which {} rows and {} columns of cells do not divide; mend events.grid".format(
            files[0].path, width, height, *events["grid"]
        )
    return ""


def _fact(fact):
    """Width, height, dtype, size and digest."""
    return *fact.pages[0], fact.size, fact.digest


def _remembered(known, asked):
    """{path: Facts} of those files asked for that are remembered."""
    if known is None or known.schema != MEMORY:
        return {}
    rows = known.filter(pc.is_in(known["path"], pa.array([one.path for one in asked], pa.string())))
    return {
        path: Facts(size, mtime_ns, digest, {0: (width, height, dtype)}, {})
        for mtime_ns, path, width, height, dtype, size, digest in zip(*rows.to_pydict().values(), strict=True)
    }


def _beside(row, events):
    """Rows of the files that are no images: FCS, table of events, FlowJo workspace, spillover matrix."""
    kinds = [kind for kind in ("fcs", "events", "workspace") if kind in row]
    files = [(kind, row[kind], f"column '{kind}' of sample {row['sample']}") for kind in kinds]
    spillover = events["fcs"]["compensate"] if events["format"] == "sorter" else False
    if isinstance(spillover, str):
        files.append(("spillover", spillover, "option events.fcs.compensate"))
    for kind, path, place in files:
        file = stat(path)
        if not os.path.isfile(path) or not file.size:
            state = "is empty" if os.path.isfile(path) else "is no file" if file.mtime_ns else "does not exist"
            raise InputError(f"{path} {state}; mend the {place}, or copy the file again")
        yield kind, "", -1, "", "{}", path, None, None, None, file.size, _digest(file, events["digest"])


def _digest(file, how):
    """What tells a changed file, as facts.read_facts has it for images."""
    return {"content": lambda: digest_file(file.path), "time": lambda: f"time:{file.mtime_ns}", "none": str}[how]()


def _table(rows, schema):
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table([list(values) for values in columns], schema=schema)
