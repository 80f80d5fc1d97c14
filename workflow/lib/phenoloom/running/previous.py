"""Earlier runs of a study: one that still works keeps others off; of one that was killed the remains are cleared away.

A killed head leaves its jobs behind, which would go on writing into the files of the next run, and Snakemake's locks.
"""

import contextlib
import json
import socket
import tempfile
import time
from pathlib import Path

import psutil

from phenoloom.core.errors import InputError
from phenoloom.core.words import count
from phenoloom.record.events import read_runs
from phenoloom.slurm import client

#: A head touches its event file every half minute; one that has not for so long is dead.
SILENT_SECONDS = 180
#: The environment variable by which a run's processes are known.
MARK = "PHENOLOOM_RUN"
PATIENCE = 90


def settle(results, say=print):
    """Make sure that no earlier run of a study works on it: stop what a killed one left behind, and say so.

    Raises InputError when an earlier run is alive, or when its jobs cannot be stopped.
    """
    for run in read_runs(results):
        if run.status is None:
            if _alive(run):
                raise InputError(_busy(run))
            _clear(run, results, say)


def _alive(run):
    known = run.alive()
    if known is not None:
        return known
    with tempfile.NamedTemporaryFile(dir=run.path.parent) as probe:  # the file server's clock, not this host's
        now = Path(probe.name).stat().st_mtime
    return now - run.path.stat().st_mtime < SILENT_SECONDS


def _busy(run):
    start = run.start
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(start.get("time", 0)))
    return (
        f"the study is being run since {since} by process {start.get('pid')} on {start.get('host')}: "
        "wait until it ends, or stop it there with Ctrl-C or kill"
    )


def _clear(run, results, say):
    stopped = _stop_processes(run) if run.start.get("host") == socket.gethostname() else 0
    cancelled = _cancel_slurm_jobs(run)
    locks = _unlock(results, run.start.get("workdir", "."))
    with open(run.path, "a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"event": "end", "time": round(time.time(), 3), "status": "killed"}) + "\n")
    left = [
        f"{count(stopped, 'process', 'processes')} stopped" if stopped else "",
        f"{count(cancelled, 'Slurm job')} cancelled" if cancelled else "",
        "its locks removed" if locks else "",
    ]
    left = ", ".join(filter(None, left)) or "it left nothing behind"
    say(f"An earlier run (process {run.start.get('pid')} on {run.start.get('host')}) was killed: {left}.")


def _stop_processes(run):
    """Stop the processes that carry the run's mark; return how many there were."""
    orphans = [process for process in psutil.process_iter() if _is_orphan(process, run)]
    for process in orphans:
        _ask(process.terminate)
    stubborn = list(filter(_lives, psutil.wait_procs(orphans, timeout=5)[1]))
    for process in stubborn:
        _ask(process.kill)
    stubborn = list(filter(_lives, psutil.wait_procs(stubborn, timeout=5)[1]))
    if stubborn:
        raise InputError(
            f"process {stubborn[0].pid} of an earlier run that was killed does not end: stop it, then run again"
        )
    return len(orphans)


def _is_orphan(process, run):
    """Whether a process of this host belongs to a run. Jobs on Slurm carry the mark too, and are Slurm's to end."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return environment.get(MARK) == run.path.stem and not (run.slurm_names and "SLURM_JOB_ID" in environment)


def _lives(process):
    """Whether a process runs; in a container often nobody takes dead ones, zombies, off the list."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ask(action):
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself
        action()


def _cancel_slurm_jobs(run):
    """Cancel the Slurm jobs of a run and wait until they are gone; return how many there were."""
    if not run.slurm_names:
        return 0
    if not client.available():
        raise InputError(
            f"an earlier run was killed and may have left Slurm jobs named {run.slurm_names[0]}, which would write "
            "into the same files, and Slurm's commands are not here: run this on a login node of the cluster"
        )
    active = client.jobs_named(run.slurm_names)
    client.cancel(active)
    if stuck := client.wait_until_gone(active, PATIENCE):
        raise InputError(
            f"Slurm job {min(stuck)} of an earlier run that was killed does not end: scancel it, then run again"
        )
    return len(active)


def _unlock(results, workdir):
    """Remove Snakemake's locks on files of these results, those of other studies in the same folder stay."""
    prefix, removed = f"{Path(results).as_posix().rstrip('/')}/", 0
    for lock in Path(workdir, ".snakemake", "locks").glob("*.lock"):
        if any(line.startswith(prefix) for line in lock.read_text(encoding="utf-8", errors="replace").splitlines()):
            lock.unlink()
            removed += 1
    return removed
