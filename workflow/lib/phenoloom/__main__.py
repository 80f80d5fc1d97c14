"""The command line: `python -m phenoloom run|prepare|reference`."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from phenoloom.core.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


def main(arguments=None):
    """Run a command; return its exit status. An InputError is printed as its one sentence."""
    parser = argparse.ArgumentParser(prog="phenoloom", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="index the images, then run Snakemake on a study")
    run.add_argument("config")
    run.add_argument("rest", nargs=argparse.REMAINDER, help="targets and options of Snakemake")
    prepare = commands.add_parser("prepare", help="fetch and index the images of a study")
    prepare.add_argument("config")
    prepare.add_argument("--threads", type=int, default=os.cpu_count())
    commands.add_parser("reference", help="print the page of all config keys")
    given = parser.parse_args(arguments)
    try:
        return {"run": _run, "prepare": _prepare, "reference": _reference}[given.command](given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _prepare(given):
    from phenoloom.config.loading import read_config
    from phenoloom.ingest.prepare import prepare

    config = read_config(given.config)
    prepare(config, f"results/{config['study']}", threads=given.threads)
    return 0


def _run(given):
    """Index first, since the images decide the shape of the DAG; then hand over to Snakemake."""
    from phenoloom.config.loading import read_config

    config = read_config(given.config)
    if "preflight" in given.rest and not {"-n", "--dry-run", "--dryrun"} & set(given.rest):
        return _preflight(config)
    report = Path("results") / config["study"] / "report.html"
    looks_only = {"-n", "--dry-run", "--dryrun", "preflight", "--lint", "--unlock"} & set(given.rest)
    if not looks_only:
        _prepare(argparse.Namespace(config=given.config, threads=os.cpu_count()))
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


def _reference(given):
    from phenoloom.config.reference import reference

    sys.stdout.write(reference())
    return 0


if __name__ == "__main__":
    sys.exit(main())
