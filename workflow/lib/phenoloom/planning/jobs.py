"""Jobs of a run as its events tell them: those that a dry run would start, or those that were done."""

import math
import os
from pathlib import Path
from typing import NamedTuple

#: Snakemake looks at a running job every half second for its first 15 s, then every 30 s.
LOOK, FIRST, LATER = 0.5, 15.5, 30


class Job(NamedTuple):
    """A job. mem_mb: as asked for, None where it asks for nothing. gpu: number of GPUs. inputs, outputs: paths."""

    rule: str
    wildcards: dict
    threads: int
    mem_mb: float | None
    gpu: float
    inputs: list
    outputs: list
    benchmark: str | None

    def works(self):
        """Whether it does anything: a target such as `all` only names what others make."""
        return bool(self.outputs or self.benchmark)


class Done(NamedTuple):
    """What a job took: seconds of wall and of processor time, peak memory in MB, MB written; None where unknown."""

    wall_seconds: float
    cpu_seconds: float | None
    peak_mb: float | None
    disk_mb: float | None


def planned(run):
    """All jobs of a dry run. run: record.events.Run."""
    return [_job(event) for event in run.jobs.values()]


def done(runs, benchmarks):
    """[(Job, Done)] of the jobs that finished in any of the runs and left a benchmark table; each once, the last time.

    runs: list of record.events.Run, the oldest first. benchmarks: record.jobs.read_benchmarks of the study. Sizes are
    those of the outputs that are there now.
    """
    latest = {}
    for run in runs:
        for number in run.finished.keys() & run.jobs.keys():
            job = _job(run.jobs[number])
            if job.benchmark in benchmarks:
                latest[job.benchmark] = job
    found = ((job, took(benchmarks[path].rows)) for path, job in latest.items())
    return [(job, one._replace(disk_mb=written_mb(job.outputs))) for job, one in found if one]


def _job(event):
    resources = event.get("resources") or {}
    return Job(
        event["rule"],
        event.get("wildcards") or {},
        max(1, int(event.get("threads") or 1)),
        _number(resources.get("mem_mb")),
        _number(resources.get("gpu")) or 0,
        event.get("input") or [],
        event.get("output") or [],
        event.get("benchmark"),
    )


def took(rows):
    """Done of the rows of a benchmark table of Snakemake, its disk_mb None; the mean of several repeats. None without
    a time.
    """
    wall = _mean(_number(row.get("s")) for row in rows)
    if wall is None:
        return None
    cpu = _mean(_whole(_number(row.get("cpu_time")), _number(row.get("s"))) for row in rows)
    return Done(wall, cpu, _mean(_number(row.get("max_rss")) for row in rows), None)


def _whole(cpu, wall):
    """Processor seconds of a whole job: what it used after Snakemake's last look is added at its mean pace.

    A job that ended before it could be looked at counts with its wall time.

    >>> _whole(15.5, 31.0), _whole(None, 0.4)
    (31.0, 0.4)
    """
    if wall is None:
        return None
    if not cpu:
        return wall if wall < 2 * LOOK else None
    looked = wall // LOOK * LOOK if wall < FIRST else FIRST + (wall - FIRST) // LATER * LATER
    return cpu * wall / max(looked, LOOK)


def written_mb(paths):
    """MB (1e6 bytes) of files and folders that are there; None when none is."""
    there = [Path(path) for path in paths if os.path.exists(path)]
    return sum(map(_size, there)) / 1e6 if there else None


def _size(path):
    if not path.is_dir():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


def _number(value):
    """A finite number from what a table or an event holds, else None (`-`, `NA`, `<TBD>`)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
