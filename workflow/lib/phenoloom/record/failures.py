"""The jobs of a run that failed: which, why, and how to go on."""

import csv
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from phenoloom.core.files import atomic
from phenoloom.core.names import decode
from phenoloom.core.words import count

#: What Slurm says of a job that it ended, in words.
SLURM_STATES = {
    "OUT_OF_MEMORY": "it needed more than its {mem_mb} MB of memory",
    "TIMEOUT": "it needed more than its {runtime} minutes",
    "NODE_FAIL": "its node failed",
    "CANCELLED": "it was cancelled",
    "PREEMPTED": "it was preempted",
    "DEADLINE": "its deadline passed",
    "BOOT_FAIL": "its node did not start",
}
STATE = re.compile(r"SLURM status is: '(\w+)|failed due to a node failure")
REFUSED = re.compile(r"sbatch: error: ([^\n]+)")
#: A job of the head's own machine that was killed leaves no more than the number of the signal.
KILLED = re.compile(r"died with <Signals\.(\w+)|exit status 1(37|43)\b|\bKilled$", re.MULTILINE)
SHOWN = 20


@dataclass
class Failure:
    """One failed job. `attempts` is how often it was tried; `log` the file that says more."""

    rule: str
    dataset: str
    plate: str
    batch: str
    attempts: int
    reason: str
    log: str
    slurm: str
    outputs: str


def failures(run):
    """The jobs of a Run that failed and were not done by a later attempt, as Failures."""
    return [_failure(run, job) for job in run.failed()]


def write_failures(path, found):
    """Write Failures as a table separated by tabs; none leaves the header."""
    with atomic(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        names = [field.name for field in fields(Failure)]
        writer = csv.DictWriter(file, names, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(failure) for failure in found)


def message(run, found, table, again):
    """What to tell the user when a run ends with failed jobs.

    table: path of the table of all failures. again: the command that continues.
    """
    waiting = max((run.total or 0) - len(run.finished) - len(found), 0)
    lines = [f"{count(len(found), 'job')} failed" + (f", {waiting} not started because of it" if waiting else "") + ":"]
    for failure in found[:SHOWN]:
        tries = f" ({failure.attempts} attempts)" if failure.attempts > 1 else ""
        lines += [f"  {_title(failure)}{tries}: {failure.reason}", f"      {failure.log}"]
    if len(found) > SHOWN:
        lines.append(f"  ... and {len(found) - SHOWN} more")
    lines += [f"All of them: {table}", "What is finished is kept. Mend the cause, then continue with", f"  {again}"]
    return "\n".join(lines)


def _title(failure):
    return " ".join(filter(None, (failure.rule, failure.dataset, failure.plate, failure.batch)))


def _failure(run, number):
    errors, job = run.errors[number], run.jobs.get(number, {})
    where = job.get("wildcards", {})
    logs = [path for path in (errors[-1]["logs"] or job.get("log", [])) if path and path != "None"]
    return Failure(
        rule=errors[-1]["rule"],
        dataset=decode(where.get("dataset", "")),
        plate=decode(where.get("plate", "")),
        batch=where.get("batch", ""),
        attempts=len(errors),
        reason=_reason(errors[-1]["message"], job.get("resources", {}), logs),
        log=next((path for path in logs if Path(path).exists()), logs[0] if logs else ""),
        slurm=" ".join(run.slurm_jobs.get(number, [])),
        outputs=" ".join(job.get("output", [])),
    )


def _reason(said, resources, logs):
    """Why a job failed: what Slurm says where it ended the job, otherwise what its log says last."""
    refused, state = REFUSED.search(said), STATE.search(said)
    if refused:
        return f"Slurm did not take it: {refused[1].strip()}"
    words = SLURM_STATES.get((state[1] or "NODE_FAIL") if state else "")
    if words:
        return words.format_map({"mem_mb": "allotted", "runtime": "allotted", **resources})
    for path in logs:
        if sentence := last_words(path):
            return sentence
    return KILLED.search(said) and "it was killed" or "it left no message"


def last_words(path):
    """The sentence that a log ends with: its last line that states an error, otherwise its last line; or None."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - 20_000, 0))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return None
    stated = [line for line in lines if re.match(r"(error: |[\w.]+(Error|Exception|Interrupt)\b)", line)]
    return (stated or lines or [None])[-1]
