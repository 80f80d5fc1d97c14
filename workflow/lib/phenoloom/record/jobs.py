"""Tables of jobs: what each run of a study submitted, and what Snakemake measured of each job."""

import csv
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePath

from phenoloom.core.names import decode

#: Wildcards of the workflow; others become columns at the end.
WILDCARDS = ("dataset", "plate", "sample", "batch", "channel", "representation", "profile", "evaluation")
RESOURCES = ("mem_mb", "runtime", "gpu")
JOB_COLUMNS = (
    *("run", "job", "rule", *WILDCARDS, "state", "attempts", "threads", *RESOURCES),
    *("submitted", "started", "finished", "slurm", "log"),
)
BENCHMARK_COLUMNS = ("rule", *WILDCARDS, "table", "s", "h:m:s", "max_rss")
#: Small files are read at once by so many threads: on a file server each costs a while.
READERS = 16


@dataclass
class Benchmark:
    """A benchmark table of Snakemake: when it was written (s since 1970), and its rows."""

    written: float
    rows: list


def read_benchmarks(folder):
    """{path: Benchmark} of all tables below a folder; one that cannot be read is left out."""
    paths = [
        os.path.join(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if name.endswith(".tsv") and not name.startswith(".")
    ]
    with ThreadPoolExecutor(READERS) as pool:
        found = dict(zip(paths, pool.map(_read, paths), strict=True))
    return {path: found[path] for path in sorted(found) if found[path]}


def rows_of_benchmarks(runs, benchmarks, datasets):
    """One row per job that was measured: rule, wildcards, the table's path, its values.

    What a table belongs to is told by the last job that wrote it; where no run is on record, by its path.
    """
    makers = {job["benchmark"]: job for run in runs for job in run.jobs.values() if job.get("benchmark")}
    found = []
    for path, benchmark in benchmarks.items():
        job = makers.get(path)
        rule, wildcards = (job["rule"], job["wildcards"]) if job else (_stage(path, datasets), {})
        for row in benchmark.rows:
            found.append({"rule": rule, **_wildcards(wildcards), "table": path, **row})
    return found


def rows_of_jobs(runs, benchmarks):
    """One row per job of each run: what it was, what it had, when it ran, how it ended. Times in UTC.

    A job on a cluster started when its benchmark was written, less the seconds in it; unknown for one without.
    """
    found = []
    for run in runs:
        left = "running" if run.status is None and run.alive() else "stopped"
        for number, job in run.jobs.items():
            if job["output"] or job["log"]:  # the targets by name are no jobs
                found.append(_row(run, number, job, benchmarks, left))
    return found


def table(rows, columns):
    """Rows as a table separated by tabs, in bytes: these columns first, then others as they appear."""
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def utc(seconds):
    """A time in seconds since 1970 as `2026-01-31T12:00:00Z`; empty for None."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else ""


def _row(run, number, job, benchmarks, left):
    """left: the state of a job that has neither finished nor failed."""
    errors, state = run.errors.get(number, []), run.state(number)
    ended = run.finished.get(number) if state == "finished" else errors[-1]["time"] if state == "failed" else None
    numbers = run.slurm_jobs.get(number) or [error["slurm"] for error in errors if error.get("slurm")]
    benchmark = benchmarks.get(job.get("benchmark"))
    started = _started(benchmark, job["time"], ended) if numbers or run.slurm_names else job["time"]
    return {
        "run": run.path.stem,
        "job": number,
        "rule": job["rule"],
        **_wildcards(job["wildcards"]),
        "state": left if state == "open" else state,
        "attempts": run.attempts[number],
        "threads": job["threads"],
        **{name: job["resources"].get(name, "") for name in RESOURCES},
        "submitted": utc(job["time"]),
        "started": utc(started),
        "finished": utc(ended),
        "slurm": " ".join(map(str, numbers)),
        "log": " ".join(job["log"]),
    }


def _started(benchmark, submitted, ended):
    """When the command of a job on a cluster began; None when the table is of an earlier or later job."""
    if not benchmark or not ended or not submitted <= benchmark.written <= ended:
        return None
    try:
        return max(benchmark.written - sum(float(row["s"]) for row in benchmark.rows), submitted)
    except (KeyError, TypeError, ValueError):
        return None


def _wildcards(found):
    return {name: decode(value) for name, value in found.items()}


def _stage(path, datasets):
    """The rule by a table's path, as the rules write it: `benchmarks/{dataset}/rule/...` or `benchmarks/rule.tsv`."""
    parts = PurePath(path).with_suffix("").parts
    parts = parts[parts.index("benchmarks") + 1 :] if "benchmarks" in parts else parts
    return parts[1] if parts[0] in datasets and len(parts) > 1 else parts[0]


def _read(path):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
            written = os.fstat(file.fileno()).st_mtime
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    return Benchmark(written, [_known(row) for row in rows]) if rows and "s" in rows[0] else None


def _known(row):
    """A row without what Snakemake could not measure (`-`, `NA`) and without cells beyond the header."""
    return {name: "" if value in ("-", "NA", None) else value for name, value in row.items() if name}
