"""What runs of a small study leave on disk, made without running it: results, benchmark tables and events."""

import hashlib
import json
from pathlib import Path

import finished_study
from phenoloom.config.loading import complete
from phenoloom.record.events import folder_of_runs, read_runs

RESULTS = "results/tiny"
START = 1_780_000_000
ENVS = "workflow/envs"


def config(**more):
    """The completed config of the study."""
    return complete({**finished_study.config(), **more})


def checkout(folder):
    """A small checkout of the workflow."""
    files = {
        "Snakefile": "rule all:\n",
        "LICENSE": "BSD\n",
        "workflow/rules/a.smk": "rule a:\n",
        "workflow/lib/__pycache__/a.pyc": "x",
        f"{ENVS}/main.txt": "numpy==1\n",
        f"{ENVS}/cellprofiler-py39.txt": "# why\ncellprofiler==4.2.8.1\n",
        f"{ENVS}/build.py": "",
        "resources/a.cppipe": "CellProfiler Pipeline\n",
        "docs/a.md": "",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def results(last="finished"):
    """Write results and two runs below the working folder: the first left what the second, ending as `last`, made new.

    Returns the Runs.
    """
    for path in (
        "report.html",
        "evaluation.csv",
        "ledger.parquet",
        "evaluation/replicates/screen/cellprofiler/default.parquet",
        "figures/screen/umap/cellprofiler/default/umap.svg",
        "figures/screen/umap/cellprofiler/default/umap.png",
        "screen/profiles/cellprofiler/default/wells.parquet",
        "screen/profiles/cellprofiler/default/wells/P~201.parquet",
        "screen/cellprofiler/P~201/0001.h5",
        "screen/cellprofiler/P~201/0002.h5",
        "screen/index/P~201.parquet",
        "logs/report.log",
    ):
        write(path, path)
    title = {"name": "umap", "title": "Map of wells"}
    write("figures/screen/umap/cellprofiler/default/figures.json", json.dumps({"figures": [title]}))
    events("20260101T000000Z-1", [cellprofiler(1), cellprofiler(2), report(3)], "failed", failed=[2], start=START)
    events("20260102T000000Z-2", [cellprofiler(1, "0002"), report(2)], last, start=START + 1000)
    return read_runs(RESULTS)


def write(path, text):
    """Write a file of the results."""
    path = Path(RESULTS, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def cellprofiler(number, batch=None, **more):
    """The event that a job of one batch starts."""
    batch = batch or f"{number:04d}"
    where = {"dataset": "screen", "plate": "P~201", "batch": batch}
    stem = f"screen/cellprofiler/P~201/{batch}"
    return job(number, "cellprofiler", stem, [f"{RESULTS}/{stem}.h5"], wildcards=where, **more)


def report(number):
    return job(number, "report", "report", [f"{RESULTS}/report.html"])


def job(number, rule, stem, output, **more):
    """The event that a job starts; `stem` is the name of its log and benchmark table."""
    event = {"event": "job", "jobid": number, "rule": rule, "wildcards": {}, "threads": 2, "output": output}
    event |= {"resources": {"mem_mb": 400, "runtime": 30}, "log": [f"{RESULTS}/logs/{stem}.log"]}
    return {**event, "benchmark": f"{RESULTS}/benchmarks/{stem}.tsv", **more}


def events(name, jobs, status, failed=(), start=START, extra=()):
    """Write the event file of a run: each job starts and ends 10 s later, well or not; the run ends 100 s later."""
    lines = [
        {
            "event": "start",
            "time": start,
            "command": ["/secret/snakemake"],
            "host": "secret-host",
            "pid": 2**22 + 1,
            "created": 0.0,
        }
    ]
    for one in jobs:
        one = {"time": start + 1, **one}
        ending = {"event": "finished", "jobid": one["jobid"], "time": one["time"] + 10}
        if one["jobid"] in failed:
            ending |= {"event": "error", "rule": one["rule"], "message": "", "logs": one["log"], "slurm": None}
        lines += [one, ending]
    lines += [*extra, {"event": "end", "time": start + 100, "status": status}] if status else extra
    path = folder_of_runs(RESULTS) / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
