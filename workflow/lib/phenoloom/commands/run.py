"""`run`: index the images, then run Snakemake on a study."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from phenoloom.commands import prepare

ROOT = Path(__file__).resolve().parents[4]


def add(parser):
    parser.add_argument("config")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="targets and options of Snakemake")


def call(given):
    """Index first, since the images decide the shape of the DAG; then hand over to Snakemake."""
    from phenoloom.config.loading import read_config

    config = read_config(given.config)
    if "preflight" in given.rest and not {"-n", "--dry-run", "--dryrun"} & set(given.rest):
        return _preflight(config)
    report = Path("results") / config["study"] / "report.html"
    looks_only = {"-n", "--dry-run", "--dryrun", "preflight", "--lint", "--unlock"} & set(given.rest)
    if not looks_only:
        prepare.call(argparse.Namespace(config=given.config, threads=os.cpu_count()))
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), *given.rest, "--configfile", given.config]
    status = subprocess.run(command, check=False).returncode
    if status == 0 and not looks_only and report.exists():
        print(f"\nThe report: {report.resolve()}")
    if status != 0:
        print(
            f"\nThe run did not finish. The messages above name the jobs that failed and their logs in "
            f"{report.parent / 'logs'}; the same command continues from there.",
            file=sys.stderr,
        )
    return status


def _preflight(config):
    """List what is wrong with the inputs without Snakemake: images that are not indexed yet give no DAG to build."""
    from phenoloom.ingest.preflight import preflight, write

    findings, estimate = preflight(config)
    print(write(Path("results") / config["study"], config["study"], findings, estimate))
    return int(any(one.severity == "error" for one in findings))
