"""What the ledgers of a study name and another try may mend: images to look at anew, and jobs to run once more."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from phenoloom.cells.table import read_failures
from phenoloom.core.errors import InputError
from phenoloom.core.images import ImageError, read_image
from phenoloom.core.ledger import SCHEMA
from phenoloom.core.names import decode
from phenoloom.core.tables import read_index
from phenoloom.core.words import count
from phenoloom.report.contents import ledger_groups

SHOWN = 10


@dataclass
class Job:
    """A job to run once more. output: one of its files. reasons: {why: how many}."""

    stage: str
    dataset: str
    plate: str
    batch: str
    output: str
    reasons: Counter


@dataclass
class Plan:
    """What a retry does.

    jobs: those to run once more. places: {(dataset, plate): {(well, site)}}, true names, whose images are looked at
    anew. unindexed: {dataset: number of sites, and of images without a place, that the index lost}. left: ledger rows
    (dicts) of what follows from images, maps and config.
    """

    jobs: list = field(default_factory=list)
    places: dict = field(default_factory=lambda: defaultdict(set))
    unindexed: Counter = field(default_factory=Counter)
    left: list = field(default_factory=list)

    def look_at(self, dataset, rows):
        """Look anew at the images of ledger rows."""
        for row in rows:
            if row["well"] is not None and row["site"] is not None:
                self.places[dataset, row["plate"]].add((row["well"], int(row["site"])))

    def outputs(self, study):
        """Outputs of the jobs, but for those of batches that the study no longer has."""
        known = {
            (dataset, plate, batch)
            for dataset in study.image_datasets()
            for plate in _plates(study, dataset)
            for batch in study.batches(dataset, plate)
        }
        return [job.output for job in self.jobs if not job.batch or (job.dataset, job.plate, job.batch) in known]


def plan(study):
    """The Plan of a study, from the ledgers that its stages left; an empty one where none has run yet."""
    found = Plan(unindexed=unindexed(study))
    for dataset in study.image_datasets():
        for plate in _plates(study, dataset):
            if study.simulated(dataset):
                _simulated(found, study, dataset, plate)
            else:
                found.look_at(dataset, _not_indexed(study, dataset, plate))
            _images(found, study, dataset, plate, "quality", f"quality/{plate}.parquet")
            if study.illuminated(dataset) and not study.frozen(dataset):
                function = f"illumination/{plate}/{study.channels(dataset)[0]}.npy"
                _images(found, study, dataset, plate, "illumination", function)
            if study.pipeline(dataset):
                _cellprofiler(found, study, dataset, plate)
    for dataset in study.datasets():
        _entered(found, study, dataset)
    _follows(found, study)
    return found


def words(found):
    """Lines that say what a Plan retries and why, and what it does not."""
    lines = []
    for dataset, number in found.unindexed.items():
        what = count(number, "site or image", "sites or images")
        lines.append(f"looked at again: {what} that the index of {dataset} lacks")
    for stage in dict.fromkeys(job.stage for job in found.jobs):
        jobs = [job for job in found.jobs if job.stage == stage]
        lines.append(f"run again, with what follows: {count(len(jobs), 'job')} of {stage}")
        lines += [f"  {_title(job)}: {_most(job.reasons)}" for job in jobs[:SHOWN]]
        lines += [f"  and {len(jobs) - SHOWN:,} more"] if len(jobs) > SHOWN else []
    groups = ledger_groups(pd.DataFrame(found.left, columns=SCHEMA.names))
    if groups:
        lines.append("nothing to run again by itself, for it follows from the images, the maps and the config:")
        lines += [f"  {one['stage']}: {one['example']} ({count(one['count'], one['unit'])})" for one in groups[:SHOWN]]
        lines += [f"  and {count(len(groups) - SHOWN, 'more kind')}, see the ledger"] if len(groups) > SHOWN else []
    return lines


def losses(path):
    """What a joined ledger lists as lost, in words such as '3 images, 3 sites, 4 wells'; "" for nothing of these."""
    counts = Counter()
    for row in _lost(path):
        counts[row["unit"]] += row["count"]
    return ", ".join(count(counts[unit], unit) for unit in ("plate", "well", "site", "image") if counts[unit])


def _plates(study, dataset):
    """Plates of a dataset as it was indexed last; none before."""
    try:
        return study.plates(dataset)
    except InputError:
        return []


def unindexed(study):
    """{dataset: number of sites, and of images without a place, that the index lost}, but for those of simulations."""
    found = Counter()
    for dataset in study.image_datasets():
        for plate in _plates(study, dataset) if not study.simulated(dataset) else ():
            found[dataset] += sum(row["count"] for row in _not_indexed(study, dataset, plate) if _is_loss(row))
    for dataset in study.event_datasets():
        for path in sorted(Path(study.results, dataset, "manifests").glob("*.ledger.parquet")):
            found[dataset] += sum(row["count"] for row in _lost(path))
    return +found


def _not_indexed(study, dataset, plate):
    return _lost(f"{study.results}/{dataset}/index/{plate}.ledger.parquet")


def _is_loss(row):
    """Whether a row of the index counts: a site, or an image that names none; other images are of a lost site."""
    return row["unit"] == "site" or row["site"] is None


def _simulated(found, study, dataset, plate):
    """Images that a rule made are indexed by a job for each batch, which runs again."""
    for batch in study.batches(dataset, plate):
        path = f"{study.results}/{dataset}/index/{plate}/{batch}"
        rows = list(filter(_is_loss, _lost(f"{path}.ledger.parquet")))
        if rows:
            found.jobs.append(Job("index", dataset, plate, batch, f"{path}.parquet", _reasons(rows)))


def _images(found, study, dataset, plate, stage, output):
    """A stage of a plate that could not read images: it runs again where one of them can be read now."""
    folder = Path(study.results) / dataset
    rows = _lost(folder / stage / f"{plate}.ledger.parquet")
    found.left += [row for row in rows if row["unit"] == "site"]
    rows = [row for row in rows if row["unit"] == "image"]
    index = folder / "index" / f"{plate}.parquet"
    if not rows or not index.is_file():
        return
    found.look_at(dataset, rows)
    places = {(row["well"], row["site"], row["channel"]) for row in rows}
    planes = (row for row in read_index(index).itertuples() if (row.well, str(row.site), row.channel) in places)
    if any(map(_readable, planes)):
        found.jobs.append(Job(stage, dataset, plate, "", f"{folder}/{output}", _reasons(rows)))
    else:
        found.left += rows


def _cellprofiler(found, study, dataset, plate):
    """Batches of which CellProfiler did not measure every site."""
    for batch in study.batches(dataset, plate):
        path = Path(f"{study.results}/{dataset}/cellprofiler/{plate}/{batch}.ledger.jsonl")
        rows = [row for row in read_failures([path] if path.is_file() else []) if row["severity"] == "lost"]
        if rows:
            output = str(path.with_name(f"{batch}.h5"))
            found.jobs.append(Job("cellprofiler", dataset, plate, batch, output, _reasons(rows)))
            found.look_at(dataset, rows)


def _entered(found, study, dataset):
    """Tables that entered from folders of which some could not be read."""
    for name in study.representations(dataset):
        if study.entered(dataset, name):
            path = f"{study.results}/{dataset}/representations/{name}/{study.level(dataset, name)}/all"
            rows = _lost(f"{path}.ledger.parquet")
            sites = [row for row in rows if row["unit"] == "site"]
            if sites:
                found.jobs.append(Job("enter", dataset, name, "", f"{path}.parquet", _reasons(sites)))
            found.left += [row for row in rows if row["unit"] != "site"]


def _follows(found, study):
    """What cells, profiles and evaluations lost by themselves, not as others' ledgers have it."""
    results = Path(study.results)
    patterns = (
        "*/events/*.ledger.parquet",
        "*/representations/*/cells/*.ledger.parquet",
        "*/cell_profiles/*/*/ledger.parquet",
        "*/profiles/*/*/ledger.parquet",
        "evaluation/**/*.ledger.parquet",
    )
    rows = [row for pattern in patterns for path in sorted(results.glob(pattern)) for row in _lost(path)]
    others = ("cellprofiler", "enter")
    own = [row for row in rows if row["stage"] not in others and not row["reason"].startswith("excluded by quality")]
    found.left += list({tuple(row.items()): row for row in own}.values())  # chains repeat what they share


def _lost(path):
    """Rows of one ledger that are gone from the results; none where there is no such ledger."""
    if not Path(path).is_file() or not pq.read_metadata(path).num_rows:
        return []
    return [row for row in pq.read_table(path, schema=SCHEMA).to_pylist() if row["severity"] == "lost"]


def _reasons(rows):
    return Counter(row["reason"] for row in rows)


def _readable(row):
    """Whether the pixels of an index row can be used now."""
    try:
        image = read_image(row)
    except ImageError:
        return False
    return image.dtype.kind != "f" or bool(np.isfinite(image).all())


def _title(job):
    return " ".join(filter(None, (job.dataset, decode(job.plate), job.batch)))


def _most(reasons):
    (reason, number), *others = reasons.most_common()
    more = f", and {count(len(others), 'other reason')}" if others else ""
    return f"{reason} ({number:,}){more}"
