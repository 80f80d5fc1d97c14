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
from phenoloom.core.ledger import join_ledgers, read_ledgers
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
    anew. unindexed: {dataset: number of sites, and of images without a place, that the index lost}. left: ledgers
    (DataFrames) of what follows from images, maps and config.
    """

    jobs: list = field(default_factory=list)
    places: dict = field(default_factory=lambda: defaultdict(set))
    unindexed: Counter = field(default_factory=Counter)
    left: list = field(default_factory=list)

    def look_at(self, dataset, rows):
        """Look anew at the images of ledger rows."""
        for plate, well, site in rows[["plate", "well", "site"]].dropna().itertuples(index=False):
            self.places[dataset, plate].add((well, int(site)))

    def outputs(self, study):
        """Outputs of the jobs, but for those of batches that the study no longer has."""
        return [
            job.output for job in self.jobs if not job.batch or job.batch in _batches(study, job.dataset, job.plate)
        ]


def plan(study):
    """The Plan of a study, from the ledgers that its stages left; an empty one where none has run yet."""
    found = Plan()
    for dataset in study.image_datasets():
        for plate in _plates(study, dataset):
            _index(found, study, dataset, plate)
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
        lines.append(
            f"looked at again: {count(number, 'site or image', 'sites or images')} that the index of {dataset} lacks"
        )
    for stage in dict.fromkeys(job.stage for job in found.jobs):
        jobs = [job for job in found.jobs if job.stage == stage]
        lines.append(f"run again, with what follows: {count(len(jobs), 'job')} of {stage}")
        lines += [f"  {_title(job)}: {_most(job.reasons)}" for job in jobs[:SHOWN]]
        lines += [f"  and {len(jobs) - SHOWN} more"] if len(jobs) > SHOWN else []
    groups = ledger_groups(pd.concat(found.left, ignore_index=True)) if found.left else []
    if groups:
        lines.append("nothing to run again by itself, for it follows from the images, the maps and the config:")
        lines += [f"  {one['stage']}: {one['example']} ({count(one['count'], one['unit'])})" for one in groups[:SHOWN]]
        lines += [f"  and {count(len(groups) - SHOWN, 'more kind')}, see the ledger"] if len(groups) > SHOWN else []
    return lines


def _plates(study, dataset):
    """Plates of a dataset as it was indexed last; none before."""
    try:
        return study.plates(dataset)
    except InputError:
        return []


def _batches(study, dataset, plate):
    return study.batches(dataset, plate) if plate in _plates(study, dataset) else []


def _index(found, study, dataset, plate):
    """What the index lost: `prepare` looks at it anew; images that a rule made are indexed by a job."""
    folder = f"{study.results}/{dataset}/index"
    if not study.simulated(dataset):
        rows = _lost(f"{folder}/{plate}.ledger.parquet")
        lost = _of_sites(rows)
        if len(lost):
            found.unindexed[dataset] += int(lost["count"].sum())
            found.look_at(dataset, rows)
        return
    for batch in study.batches(dataset, plate):
        path = f"{folder}/{plate}/{batch}"
        lost = _of_sites(_lost(f"{path}.ledger.parquet"))
        if len(lost):
            found.jobs.append(Job("index", dataset, plate, batch, f"{path}.parquet", Counter(lost["reason"])))


def _of_sites(rows):
    """Rows of an index's ledger that count whole sites, or tell of none in particular."""
    return rows[(rows["unit"] == "site") | rows["site"].isna()]


def _images(found, study, dataset, plate, stage, output):
    """A stage of a plate that could not read images: it runs again where one of them can be read now."""
    folder = Path(study.results) / dataset
    rows = _lost(folder / stage / f"{plate}.ledger.parquet")
    found.left.append(rows[rows["unit"] == "site"])
    rows = rows[rows["unit"] == "image"]
    index = folder / "index" / f"{plate}.parquet"
    if rows.empty or not index.is_file():
        return
    found.look_at(dataset, rows)
    places = set(zip(rows["well"], rows["site"], rows["channel"], strict=True))
    planes = (row for row in read_index(index).itertuples() if (row.well, str(row.site), row.channel) in places)
    if any(map(_readable, planes)):
        found.jobs.append(Job(stage, dataset, plate, "", f"{folder}/{output}", Counter(rows["reason"])))
    else:
        found.left.append(rows)


def _cellprofiler(found, study, dataset, plate):
    """Batches of which CellProfiler did not measure every site."""
    for batch in study.batches(dataset, plate):
        path = Path(f"{study.results}/{dataset}/cellprofiler/{plate}/{batch}.ledger.jsonl")
        rows = [row for row in read_failures([path] if path.is_file() else []) if row["severity"] == "lost"]
        if rows:
            reasons = Counter(row["reason"] for row in rows)
            found.jobs.append(Job("cellprofiler", dataset, plate, batch, str(path.with_name(f"{batch}.h5")), reasons))
            found.look_at(dataset, pd.DataFrame(rows))


def _entered(found, study, dataset):
    """Tables that entered from folders of which some could not be read."""
    for name in study.representations(dataset):
        if study.entered(dataset, name):
            path = f"{study.results}/{dataset}/representations/{name}/{study.level(dataset, name)}/all"
            rows = _lost(f"{path}.ledger.parquet")
            sites = rows[rows["unit"] == "site"]
            if len(sites):
                found.jobs.append(Job("enter", dataset, name, "", f"{path}.parquet", Counter(sites["reason"])))
            found.left.append(rows[rows["unit"] != "site"])


def _follows(found, study):
    """What cells, profiles and evaluations lost by themselves, not as others' ledgers have it."""
    results = Path(study.results)
    paths = [
        results.glob(f"*/{pattern}")
        for pattern in ("representations/*/cells/*.ledger.parquet", "profiles/*/*/ledger.parquet")
    ]
    paths += [(results / "evaluation").rglob("*.ledger.parquet")]
    rows = join_ledgers([path for found in paths for path in sorted(found) if _has_rows(path)])
    own = ~rows["stage"].isin(["cellprofiler", "enter"]) & ~rows["reason"].str.startswith("excluded by quality")
    found.left.append(rows[own & (rows["severity"] == "lost")])


def _lost(path):
    """Rows of one ledger that are gone from the results; none where there is no such ledger."""
    rows = read_ledgers([path] if _has_rows(path) else [])
    return rows[rows["severity"] == "lost"]


def _has_rows(path):
    return Path(path).is_file() and pq.read_metadata(path).num_rows > 0


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
