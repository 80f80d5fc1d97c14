"""`plan`: what the jobs that remain will take, from the index and measured rates."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from phenoloom.core.errors import InputError

ROOT = Path(__file__).resolve().parents[4]


def add(parser):
    parser.add_argument("config")
    parser.add_argument("targets", nargs="*", default=["all"], help="targets of the run (default all)")
    parser.add_argument("--all", action="store_true", help="every job, also those whose results are there")
    parser.add_argument(
        "--cores", type=_positive, default=os.cpu_count(), help="cores at once (default this machine's)"
    )
    parser.add_argument("--start", type=float, default=0, help="seconds that a job takes to start; some 10 on Slurm")
    parser.add_argument("--compare", action="store_true", help="estimate against what finished jobs really took")
    parser.add_argument("--json", type=Path, help="write the plan to this file too")


def call(given):
    from phenoloom.config.loading import read_config
    from phenoloom.config.study import Study

    config = read_config(given.config)
    study = Study(config, f"results/{config['study']}")
    for dataset in study.image_datasets():
        study.plates(dataset)  # says what to do where neither an index nor a geometry tells how many sites there are
    found, text = _comparison(study, given) if given.compare else _plan(study, given)
    print(text)
    if given.json:
        from phenoloom.core.files import write_text

        write_text(given.json, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return 0


def _plan(study, given):
    """(the plan as plain data, as text) of the jobs that a dry run lists."""
    from phenoloom.planning import jobs, rates, schedule, table
    from phenoloom.planning.work import Work
    from phenoloom.record.events import read_runs

    listed = [job for job in jobs.planned(_dry_run(given)) if not _prepared(study, job)]
    shipped, work = rates.read_shipped(), Work(study)
    estimate = rates.Estimator(work, shipped.rates, _done(study, read_runs(study.results), work))
    working = [job for job in listed if job.works()]
    estimates = [estimate(job) for job in working]
    seconds = [(one.wall_seconds or 0) + given.start for one in estimates]
    wall = schedule.schedule(working, seconds, given.cores)
    lines = table.lines(working, estimates)
    found = {
        "study": study.config["study"],
        "targets": given.targets,
        "all": given.all,
        "lines": [line._asdict() for line in lines],
        "total": table.total(lines)._asdict(),
        "cores": given.cores,
        "start_seconds": given.start,
        "wall_seconds": wall._asdict(),
        "rates": shipped.about,
    }
    if not lines:
        return found, f"{study.config['study']}: nothing is left to do for {' '.join(given.targets)}."
    said = table.meaning(lines, wall, given.cores, given.start)
    return found, "\n".join([table.table(lines), "", *said, *table.sources(lines, shipped.about)])


def _comparison(study, given):
    """(the comparison as plain data, as text) of the jobs that this study has run."""
    from phenoloom.planning import comparison, rates, schedule
    from phenoloom.planning.work import Work
    from phenoloom.record.events import read_runs

    runs, work = read_runs(study.results), Work(study)
    done = _done(study, runs, work)
    if not done:
        raise InputError(f"no run of {study.config['study']} left what its jobs took; run it first")
    estimate = rates.Estimator(work, rates.read_shipped().rates)
    estimates = [estimate(job) for job, _ in done]
    seconds = [(one.wall_seconds or 0) + given.start for one in estimates]
    wall = schedule.schedule([job for job, _ in done], seconds, given.cores)
    compared, elapsed = comparison.compare(done, estimates), comparison.elapsed(runs)
    found = {
        "study": study.config["study"],
        "rules": [one._asdict() for one in compared],
        "cores": given.cores,
        "wall_seconds": wall._asdict(),
        "elapsed_seconds": elapsed,
    }
    return found, "\n".join([comparison.text(compared), "", comparison.meaning(wall, given.cores, elapsed)])


def _done(study, runs, work):
    """[(Job, Done)] of the jobs that the runs of a study have done and that it still has."""
    from phenoloom.planning import jobs
    from phenoloom.record.jobs import read_benchmarks

    benchmarks = read_benchmarks(f"{study.results}/benchmarks")
    return [(job, took) for job, took in jobs.done(runs, benchmarks) if work.holds(job)]


def _dry_run(given):
    """record.events.Run of Snakemake's dry run. Raises InputError with what Snakemake said."""
    from phenoloom.record.events import read_run

    with tempfile.TemporaryDirectory(prefix="phenoloom-plan-") as folder:
        events = Path(folder) / "events.jsonl"
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *given.targets]
        command += ["--dry-run", "--quiet", "all", "--cores", str(given.cores)]
        command += ["--forceall"] if given.all else []
        done = subprocess.run(
            [*command, "--configfile", given.config],
            env={**os.environ, "PHENOLOOM_EVENTS": str(events)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise InputError("the jobs cannot be listed; Snakemake says:\n" + _objection(done.stderr + done.stdout))
        return read_run(events)


def _objection(output):
    """The end of what Snakemake printed, from the first line that names an error."""
    lines = [line for line in output.splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if re.search("Error|Exception", line)), -15)
    return "\n".join(lines[start:][:15])


def _prepared(study, job):
    """Whether a job is done by `prepare`, which indexes images that exist before a run starts, and not by the run."""
    dataset = job.wildcards.get("dataset")
    indexes = job.rule in ("index", "plate_index") and dataset is not None
    return indexes and os.path.exists(f"{study.results}/{dataset}/index/summary.json")


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
