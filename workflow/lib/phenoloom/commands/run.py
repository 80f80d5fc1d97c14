"""`run`: index the images, then run Snakemake on a study."""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from phenoloom.commands import prepare
from phenoloom.profiles.chain import learned
from phenoloom.record.events import read_runs
from phenoloom.running import machine
from phenoloom.running.previous import settle
from phenoloom.slurm.checks import check, writable
from phenoloom.slurm.watch import watching

ROOT = Path(__file__).resolve().parents[4]
LOOKS = {"-n", "--dry-run", "--dryrun", "preflight", "--lint", "--unlock"}


def add(parser):
    parser.add_argument("config")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="targets and options of Snakemake")


def call(given, begin=prepare.everything):
    """Index first, since the images decide the shape of the DAG; then hand over to Snakemake.

    begin: function of the completed config that does the former; it may return more arguments for Snakemake.
    """
    from phenoloom.config.loading import read_config

    config = read_config(given.config)
    results = Path("results") / config["study"]
    looks_only = LOOKS & set(given.rest)
    if "preflight" in given.rest and looks_only == {"preflight"}:
        return _preflight(config, results)
    if looks_only:
        return _snakemake([*given.rest, "--configfile", given.config])
    profile = _profile(given.rest)
    writable(results)
    more = check(profile, results, _gpu_rules(config), given.rest) if profile else _resources(given.rest)
    settle(results)
    more = [*more, *(begin(config) or [])]
    status = _snakemake([*given.rest, *more, "--configfile", given.config], results if profile else None)
    _last_words(status, results)
    return status


def _profile(rest):
    """The site's profile among Snakemake's options, or None."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--workflow-profile")
    return options.parse_known_args(rest)[0].workflow_profile


def _gpu_rules(config):
    """Rules that ask for a GPU unless the profile says otherwise."""
    trained = [f"train_{name}" for name, block in config["models"].items() if block["kind"] != "pretrained"]
    embedding = ["embed"] if config["models"] else []
    return [*trained, *embedding, *(["deep_sets"] if any(map(learned, config["profiles"].values())) else [])]


def _resources(rest):
    """What this machine has, for runs that stay on it."""
    if {"--profile", "--executor", "-e", "--resources"} & set(rest):
        return []
    return ["--resources", f"mem_mb={machine.memory_mb()}", f"gpu={machine.gpus()}"]


def _snakemake(arguments, results=None):
    """Run Snakemake; Ctrl-C is Snakemake's to act on, which then stops its jobs.

    results: folder of the study when its jobs go to a cluster, where they are watched.
    """
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
    process = subprocess.Popen(command, env={**os.environ, "PHENOLOOM_COMMAND": _again()})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        with _watched(process, arguments, results) if results else contextlib.nullcontext():
            return process.wait()
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def _watched(process, arguments, results):
    """Say which jobs wait in vain, and stop a run that waits for nothing else."""
    return watching(
        lambda: next((run for run in read_runs(results)[-1:] if run.start.get("pid") == process.pid), None),
        status_command="sacct" if "sacct" in arguments else "squeue",
        again=_again(),
        hopeless=lambda: process.send_signal(signal.SIGINT),
    )


def _again():
    return os.environ.get("PHENOLOOM_COMMAND") or shlex.join(["python", "-m", "phenoloom", *sys.argv[1:]])


def _last_words(status, results):
    """Where the report is; or how to go on, unless the end of the run has said it with what failed."""
    report = results / "report.html"
    if status == 0 and report.exists():
        from phenoloom.running.retry import losses

        lost = losses(results / "ledger.parquet")
        print(f"\nThe report: {report.resolve()}")
        if lost:
            print(f"Lost, as its ledger says: {lost}. `make retry` tries again what may succeed once it is mended.")
    elif status != 0 and not any(run.failed() for run in read_runs(results)[-1:]):
        print(
            f"\nThe run did not finish; the messages above say why. This continues it:\n  {_again()}", file=sys.stderr
        )


def _preflight(config, results):
    """List what is wrong with the inputs without Snakemake: images that are not indexed yet give no DAG to build."""
    from phenoloom.ingest.preflight import preflight, write

    findings, estimate = preflight(config)
    print(write(results, config["study"], findings, estimate))
    return int(any(one.severity == "error" for one in findings))
