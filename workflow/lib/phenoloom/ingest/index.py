"""The image index of a plate: list, read headers, check, and split into manifests of batches of sites."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from phenoloom.cellprofiler.batches import batch_name
from phenoloom.core import ledger
from phenoloom.core.files import write_if_changed
from phenoloom.core.names import encode
from phenoloom.core.tables import INDEX_SCHEMA
from phenoloom.core.words import count
from phenoloom.ingest.checks import check_plate
from phenoloom.ingest.facts import load, read_facts, save, to_bytes
from phenoloom.ingest.listing import Problem, list_plate

#: How the simulator names its images.
SIMULATED = {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif", "digest": "content"}


@dataclass
class PlateIndex:
    """Rows of the index (dicts by INDEX_SCHEMA) of all usable sites, all sites seen, and the problems met."""

    dataset: str
    batch: str
    plate: str
    rows: list
    sites: list
    problems: list

    def table(self):
        """Arrow table of the rows."""
        return pa.Table.from_pylist(self.rows, schema=INDEX_SCHEMA)

    def tables(self, batches):
        """Arrow tables of the rows of batches, which are lists of (well, site) and hold every site used."""
        number_of = {site: number for number, batch in enumerate(batches) for site in batch}
        rows = [[] for _ in batches]
        for row in self.rows:
            rows[number_of[row["well"], row["site"]]].append(row)
        return [pa.Table.from_pylist(some, schema=INDEX_SCHEMA) for some in rows]

    def ledger(self, sites=None, first=True):
        """Ledger table of the problems of some sites; those of no site in particular go with the `first` batch."""
        rows = [
            {
                "dataset": self.dataset,
                "plate": self.plate,
                "well": problem.well,
                "site": None if problem.site is None else str(problem.site),
                "channel": problem.channel,
                "unit": problem.unit,
                "stage": "index",
                "severity": problem.severity,
                "count": problem.count,
                "reason": problem.reason,
            }
            for problem in self.problems
            if sites is None or ((problem.well, problem.site) in sites if problem.site is not None else first)
        ]
        return pa.Table.from_pylist(rows, schema=ledger.SCHEMA)

    def used_sites(self):
        """Usable (well, site) pairs."""
        return {(row["well"], row["site"]) for row in self.rows}


def index_plate(
    dataset,
    batch,
    plate,
    place,
    channels,
    images,
    memory=None,
    threads=4,
    only=None,
    shape=None,
    declared=None,
    again=(),
):
    """Index one plate.

    place: its folder or load_data table. channels, images: blocks of the dataset's config. memory: file that remembers
    what was read of unchanged files. only: (well, site) pairs to stay with, each of them due; all by default.
    shape: (width, height) due; by default the plate's most frequent one. declared: all (well, site) pairs of the
    plate's declared geometry; images beyond it are a problem. again: (well, site) pairs whose files are read whatever
    the memory says. Raises InputError when the plate cannot be listed at
    all; anything less ends in `problems`.
    """
    listing = list_plate(place, plate, channels, images)
    found, sites, expected = listing.found, listing.sites, ()
    problems = listing.problems
    beyond = sorted(sites - set(declared)) if declared is not None else []
    if beyond:
        well, site = beyond[0]
        reason = (
            f"{count(len(beyond), 'site')} of plate {plate} lie beyond the declared geometry, {well} site {site} the "
            "first: they are not used; run `make prepare`, or declare them"
        )
        problems = [*problems, Problem("undeclared", reason, unit="site", count=len(beyond))]
    if only is not None:
        expected = set(only)
        sites = sites & expected
        found = [plane for plane in found if (plane.well, plane.site) in expected]
        problems = [one for one in problems if one.site is None or (one.well, one.site) in expected]
    known = load(memory) if memory else {}
    for plane in found:
        if (plane.well, plane.site) in again:
            known.pop(plane.path, None)
    facts = read_facts(found, known, images.get("digest", "content"), threads)
    if memory:
        save(memory, facts if only is None else {**known, **facts})
    kept, more = check_plate(found, facts, list(channels), sites, expected, shape)
    rows = []
    for plane in kept:
        one = facts[plane.path]
        width, height, dtype = one.pages[plane.page]
        rows.append(
            {
                "dataset": dataset,
                "batch": batch,
                "plate": plate,
                "well": plane.well,
                "site": plane.site,
                "channel": plane.channel,
                "path": plane.path,
                "page": plane.page,
                "width": width,
                "height": height,
                "dtype": dtype,
                "size": one.size,
                "digest": one.digest,
            }
        )
    return PlateIndex(dataset, batch, plate, rows, sorted(sites | set(expected)), problems + more)


def write_plate(index, folder, batches):
    """Write manifests `{plate}/{batch}.parquet`, `{plate}.parquet` and its ledger; each only if it differs.

    batches: lists of (well, site). Files of batches that are no more are removed. Returns whether anything changed.
    """
    name = encode(index.plate)
    own = Path(folder) / name
    tables = {f"{batch_name(number)}.parquet": table for number, table in enumerate(index.tables(batches), start=1)}
    changed = [write_if_changed(own / file, to_bytes(table)) for file, table in tables.items()]
    stale = [path for path in own.glob("*.parquet") if path.name not in tables]
    for path in stale:
        path.unlink()
    problems = pa.concat_tables(index.ledger(set(batch), number == 0) for number, batch in enumerate(batches))
    changed += [
        write_if_changed(own.with_name(f"{name}.parquet"), to_bytes(index.table())),
        write_if_changed(own.with_name(f"{name}.ledger.parquet"), to_bytes(problems.combine_chunks())),
    ]
    return any(changed) or bool(stale)


def split(index, assign, size):
    """Batches of sites of a plate: all sites seen are assigned, so that a mended image moves no other site; batches
    without a usable site are left out. Sites that are lost are kept in theirs, for the ledger.
    """
    used = index.used_sites()
    batches, waiting = [], []
    for batch in assign(index.sites, size):
        if any(site in used for site in batch):
            batches.append(waiting + batch)
            waiting = []
        else:
            waiting += batch
    if batches:
        batches[-1] = batches[-1] + waiting
    return batches


def summarize(index, batches):
    """What the DAG must know of a plate: its batch, usable sites per batch of sites, width, height and dtype."""
    used = index.used_sites()
    first = index.rows[0]
    return {
        "batch": index.batch,
        "plate": index.plate,
        "sites": [len(used.intersection(batch)) for batch in batches],
        "width": first["width"],
        "height": first["height"],
        "dtype": first["dtype"],
    }


def write_summary(folder, summaries):
    """Write summary.json, and remove the index of plates that are no more in the study."""
    folder = Path(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        plate = path.name.removesuffix(".parquet").removesuffix(".ledger")
        stale = plate not in summaries and not path.name.startswith(".")
        if path.is_dir() and stale:
            shutil.rmtree(path)
        elif path.suffix == ".parquet" and stale:
            path.unlink()
    text = json.dumps(summaries, indent=1, ensure_ascii=False)
    write_if_changed(folder / "summary.json", text.encode())
