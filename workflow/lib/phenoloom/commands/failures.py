"""`failures`: how far the last run is, which of its jobs failed and why; also while it runs, or after it was killed."""

import shlex
import time
from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.words import count
from phenoloom.record.ending import list_failures
from phenoloom.record.events import read_runs

#: How a run ended, or that its head is alive, dead, or out of sight on another host.
WORDS = {"failed": "failed", "finished": "finished", "stopped": "was stopped", "killed": "was killed"}
ALIVE = {True: "is going on", False: "was killed", None: "is going on, or was killed, on {host}"}


def add(parser):
    parser.add_argument("config")


def call(given):
    from phenoloom.config.loading import read_config

    results = Path("results") / read_config(given.config)["study"]
    runs = read_runs(results)
    if not runs:
        raise InputError(f"no run of {results} is on record; start one with make run STUDY={given.config}")
    run = runs[-1]
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.start.get("time")))
    state = WORDS.get(run.status) or ALIVE[run.alive()].format_map({"host": "another host", **run.start})
    done = f"{len(run.finished):,} of {count(run.total or len(run.jobs), 'job')} finished"
    again = run.start.get("again") or shlex.join(run.start.get("command", []))
    print(f"The run of {began} {state}: {done}, {len(run.failed()):,} failed", flush=True)
    list_failures(results, run, again)
    return int(bool(run.failed()))
