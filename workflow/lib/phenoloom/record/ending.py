"""What happens when a run ends, well or not: its failures are listed and its provenance is written."""

import os
import shlex
import sys
from pathlib import Path

from phenoloom.record.events import read_run
from phenoloom.record.failures import failures, message, write_failures


def finish(results, events, config):
    """Write `provenance/failures.tsv` of a study's results and print what failed and how to go on.

    events: the event file of the run that ends. config: the study's config as resolved.
    """
    run = read_run(events)
    found, table = failures(run), Path(results) / "provenance" / "failures.tsv"
    write_failures(table, found)
    if found:
        print(f"\n{message(run, found, table, command())}", file=sys.stderr)


def command():
    """The command that the user gave: make's or the wrapper's where one called Snakemake."""
    return os.environ.get("PHENOLOOM_COMMAND") or shlex.join(["snakemake", *sys.argv[1:]])
