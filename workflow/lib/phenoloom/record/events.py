"""The events of a run, one JSON object per line: what started, which jobs were submitted, finished and failed.

Snakemake's head process writes them as they happen, so that they outlive it when it is killed:

| event | further keys |
|---|---|
| start | host, pid, created (the process's start, s since 1970), workdir, command, again (what continues it) |
| jobs | total (number of jobs) |
| job | jobid, rule, wildcards, threads, resources, reason, input, output, log, benchmark |
| slurm_run | name (that of all Slurm jobs of the run) |
| submitted | jobid, slurm (the job's number there) |
| finished | jobid |
| error | jobid, rule, message, logs, slurm |
| end | status: finished, failed, stopped (by a signal) or killed (the next run found it dead) |
"""

import contextlib
import json
import logging
import os
import re
import shlex
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

RUN_NAME = re.compile(r"SLURM run ID: (\S+)")
#: How often the event file is touched while its head lives, in seconds: heads on other hosts are known to live by it.
HEARTBEAT = 30
SUBMITTED = re.compile(r"Job (\S+) has been submitted with SLURM jobid (\S+)")
#: The one failure that Snakemake reports without naming it a job's.
NOT_WRITTEN = re.compile(r"MissingOutputException in rule (\S+).*?^Job (\d+)\s+completed successfully", re.S | re.M)
#: Characters of a message that are kept: what Slurm refused holds the whole command.
LONGEST = 4000


class EventLog(logging.Handler):
    """Writes the events of Snakemake's logger to a file that `start` names; those before it are kept until then."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.path = None
        self._waiting = []
        self._file = None
        self._ended = False
        self._errors = _Errors()

    def start(self, path, **more):
        """Open the file and write the event `start`, then what came before it."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
        self._write({"event": "start", **this_process(), **more})
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self._write(event)
        threading.Thread(target=self._touch, daemon=True).start()

    def start_where_asked(self):
        """Open the file that the environment names, if it names one."""
        if asked := os.environ.get("PHENOLOOM_EVENTS"):
            self.start(asked)

    def end(self, status):
        """Write the last event; later ones are ignored."""
        if self._file and not self._ended:
            self._write({"event": "end", "status": status})
            self._ended = True

    def emit(self, record):
        """Called by the logger. An event that cannot be read must not end the run."""
        try:
            for event in self._errors.of(record) or _events_of(record):
                self._write(event)
        except Exception:
            self.handleError(record)

    def close(self):
        """Called when the process exits: a run without another end was stopped."""
        self.end("stopped")
        super().close()

    def _touch(self):
        while True:
            time.sleep(HEARTBEAT)
            if self._ended:
                return
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def _write(self, event):
        """Write one event. A full disk costs the events that follow, said once, and not the run."""
        event = {"event": event["event"], "time": round(time.time(), 3), **event}
        with self.lock:
            if self._file is None:
                self._waiting.append(event)
            elif not self._ended:
                try:
                    self._file.write(json.dumps(event, default=str) + "\n")
                    self._file.flush()
                except OSError as error:
                    self._ended = True
                    print(f"warning: {self.path} ends here: {error.strerror}", file=sys.stderr)


class _Errors:
    """Puts together what Snakemake says of a failed job in several records, those of one thread following each other.

    A job of this machine: its exception, then that it failed. A group: that it failed, then each of its jobs again. A
    job that did not write its output: an exception only.
    """

    def __init__(self):
        self._said = {}
        self._told = {}

    def of(self, record):
        """The events `error` of one record; none for most."""
        kind, thread = _kind(record), record.thread
        said, told = self._said.pop(thread, ""), self._told.pop(thread, set())
        if kind == "error":
            text = str(record.msg)
            if found := NOT_WRITTEN.search(text):
                return [_error({"jobid": int(found[2]), "rule_name": found[1], "rule_msg": text})]
            self._said[thread] = text
        elif kind == "job_error":
            self._told[thread] = told
            if record.jobid not in told:
                return [_error(vars(record), said)]
            told.discard(record.jobid)
        elif kind == "group_error":
            logs = list(getattr(record, "aux_logs", None) or [])
            self._told[thread] = {info["jobid"] for info in record.job_error_info}
            return [_error({**info, "log": [*(info.get("log") or []), *logs]}, said) for info in record.job_error_info]
        return []


def this_process():
    """Host, number and start of this process: what tells later whether it is still alive."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "created": psutil.Process().create_time(),
        "workdir": os.getcwd(),
        "command": sys.argv,
        "again": command(),
    }


def command():
    """The command that the user gave: make's or the wrapper's where one called Snakemake."""
    return os.environ.get("PHENOLOOM_COMMAND") or shlex.join(["snakemake", *sys.argv[1:]])


def _kind(record):
    """What Snakemake says that a record is (`job_info`), empty for a record that is text only."""
    return str(getattr(record, "event", None) or "").lower().rpartition(".")[2]


def _events_of(record):
    """The events in one record of Snakemake's logger, errors apart; most records hold none."""
    kind = _kind(record)
    if kind == "job_info":
        yield {
            "event": "job",
            "jobid": record.jobid,
            "rule": record.rule_name,
            "wildcards": dict(record.wildcards or {}),
            "threads": record.threads,
            "resources": _resources(record.resources),
            "reason": record.reason,
            "input": [str(path) for path in record.input],
            "output": [str(path) for path in record.output],
            "log": [str(path) for path in record.log],
            "benchmark": str(record.benchmark) if record.benchmark else None,
        }
    elif kind == "job_finished":
        yield {"event": "finished", "jobid": record.job_id}
    elif kind == "group_info":
        # It is submitted under the name of one of its jobs.
        jobs = list(record.jobs)
        yield {"event": "group", "jobs": [str(job.jobid) for job in jobs], "names": [str(job.uuid()) for job in jobs]}
    elif kind == "run_info":
        yield {"event": "jobs", "total": record.stats.get("total")}
    else:
        text = str(record.msg)
        if found := RUN_NAME.search(text):
            yield {"event": "slurm_run", "name": found[1]}
        elif found := SUBMITTED.search(text):
            yield {"event": "submitted", "jobid": found[1], "slurm": found[2]}


def _error(info, said=""):
    message = "\n".join(filter(None, [str(info.get("rule_msg") or ""), said]))
    return {
        "event": "error",
        "jobid": info["jobid"],
        "rule": info["rule_name"],
        "message": message[:LONGEST],
        "logs": [str(path) for path in info.get("log") or []],
        "slurm": (info.get("aux") or {}).get("external_jobid"),
    }


def _resources(resources):
    """Resources of a job as plain values."""
    found = {}
    for name, value in resources.items():
        if not name.startswith("_") and isinstance(value, int | float | str):
            found[name] = value
    return found


@dataclass
class Run:
    """The events of one run, put together; jobs are known by their numbers in it, as texts.

    `jobs` holds the last event `job` of each, `attempts` how often it was started, `finished` when it ended well,
    `errors` its events `error`, `slurm_jobs` its numbers at Slurm, which the jobs of a group share. `groups` holds the
    jobs of a group under each name that it may be submitted by.
    """

    path: Path
    start: dict = field(default_factory=dict)
    total: int | None = None
    jobs: dict = field(default_factory=dict)
    attempts: dict = field(default_factory=dict)
    slurm_names: list = field(default_factory=list)
    slurm_jobs: dict = field(default_factory=dict)
    groups: dict = field(default_factory=dict)
    finished: dict = field(default_factory=dict)
    errors: dict = field(default_factory=dict)
    status: str | None = None
    ended: float | None = None

    def take(self, event):
        """Add one event."""
        kind, job = event.get("event"), str(event.get("jobid"))
        if kind == "start":
            self.start = event
        elif kind == "jobs":
            self.total = event.get("total")
        elif kind == "job":
            self.jobs[job] = event
            self.attempts[job] = self.attempts.get(job, 0) + 1
        elif kind == "slurm_run":
            self.slurm_names.append(event["name"])
        elif kind == "submitted":
            for one in self.groups.get(job, [job]):
                self.slurm_jobs.setdefault(one, []).append(event["slurm"])
        elif kind == "group":
            self.groups |= dict.fromkeys(event["names"], event["jobs"])
        elif kind == "finished":
            self.finished[job] = event.get("time")
        elif kind == "error":
            self.errors.setdefault(job, []).append(event)
        elif kind == "end":
            self.status, self.ended = event.get("status"), event.get("time")

    def state(self, job):
        """How a job stands: finished, failed, or open: it runs, waits, or was left when its run was ended."""
        if job in self.finished:
            return "finished"
        failed = len(self.errors.get(job, []))
        return "failed" if failed and failed >= self.attempts.get(job, 0) else "open"

    def failed(self):
        """Numbers of the jobs that failed and were not done by a later attempt."""
        return [job for job in self.errors if self.state(job) == "failed"]

    def alive(self):
        """Whether its head process still runs: True, False, or None when it ran on another host."""
        if self.status is not None:
            return False
        if self.start.get("host") != socket.gethostname():
            return None
        try:
            head = psutil.Process(self.start["pid"])
            return head.status() != psutil.STATUS_ZOMBIE and abs(head.create_time() - self.start["created"]) < 2
        except psutil.Error:
            return False


def read_run(path):
    """Read the events of one run. A line that was cut off when its writer was killed is left out."""
    run = Run(Path(path))
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            run.take(event)
    return run


def folder_of_runs(results):
    """Folder of the event files of a study's runs, one a run, named so that they sort by their start."""
    return Path(results) / "provenance" / "runs"


def new_path(results):
    """Path of the event file of a run that starts now."""
    return folder_of_runs(results) / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.jsonl"


def read_runs(results):
    """All runs of a study, the oldest first."""
    return [read_run(path) for path in sorted(folder_of_runs(results).glob("*.jsonl"))]
