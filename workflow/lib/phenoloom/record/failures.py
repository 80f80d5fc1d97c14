"""The jobs of a run that failed: which, why, and how to go on."""

import csv
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.core.names import decode
from phenoloom.core.words import count
from phenoloom.record.reasons import KINDS, node, reason
from phenoloom.slurm import client

#: Failures that are named one by one; of more, those that are alike are counted.
SHOWN = 20
#: Jobs that Slurm is asked about at the end of a run.
ASKED = 50


@dataclass
class Failure:
    """One failed job. `kind` is one of reasons.KINDS, `attempts` how often it was tried, `log` the file that says more.

    `slurm` holds its numbers at Slurm, `node` where it ran last, `slurm_log` what Slurm kept of it.
    """

    rule: str
    dataset: str
    plate: str
    batch: str
    attempts: int
    kind: str
    reason: str
    log: str
    slurm: str
    node: str
    slurm_log: str
    outputs: str


def failures(run):
    """The jobs of a Run that failed and were not done by a later attempt, as Failures."""
    slurm = _Slurm()
    return [_failure(run, job, slurm) for job in run.failed()]


class _Slurm:
    """Slurm itself, asked about some jobs only, and no more once it does not answer."""

    def __init__(self):
        self._left = ASKED if client.available() else 0

    def details(self, number):
        """What Slurm knows of a job; empty where it is not asked or does not know."""
        if not number or self._left <= 0:
            return {}
        self._left -= 1
        try:
            return client.details(number)
        except InputError:
            self._left = 0
            return {}


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
    lines = [
        f"{count(len(found), 'job')} failed" + (f", {waiting:,} not started because of it" if waiting else "") + ":"
    ]
    lines += _one_by_one(found) if len(found) <= SHOWN else _alike(found)
    kinds = {failure.kind for failure in found}
    lines += [f"All of them: {table}", *(KINDS[kind] for kind in KINDS if kind in kinds and KINDS[kind])]
    lines += ["What is finished is kept. Mend the cause, then continue with", f"  {again}"]
    return "\n".join(lines)


def _one_by_one(found):
    for failure in found:
        tries = f" ({failure.attempts} attempts)" if failure.attempts > 1 else ""
        yield f"  {_title(failure)}{tries}: {failure.reason}"
        if failure.log:
            yield f"      {failure.log}"


def _alike(found):
    """The most frequent pairs of rule and reason, each with how many jobs and the log of one of them."""
    pairs = Counter((failure.rule, failure.reason) for failure in found)
    logs = {(failure.rule, failure.reason): failure.log for failure in reversed(found)}
    for pair, number in pairs.most_common(SHOWN):
        yield f"  {pair[0]}, {count(number, 'job')}: {pair[1]}"
        yield f"      such as {logs[pair]}" if number > 1 else f"      {logs[pair]}"
    if len(pairs) > SHOWN:
        yield f"  ... and {count(len(pairs) - SHOWN, 'other reason')}"


def _title(failure):
    return " ".join(filter(None, (failure.rule, failure.dataset, failure.plate, failure.batch)))


def _failure(run, number, slurm):
    errors, job = run.errors[number], run.jobs.get(number, {})
    where = job.get("wildcards", {})
    paths = [path for path in [*job.get("log", []), *errors[-1]["logs"]] if path and path != "None"]
    logs = [path for path in dict.fromkeys(paths) if "/slurm_logs/" not in path]
    slurm_logs = [path for path in dict.fromkeys(paths) if "/slurm_logs/" in path]
    numbers = run.slurm_jobs.get(number) or list(dict.fromkeys(e["slurm"] for e in errors if e.get("slurm")))
    last = numbers[-1] if numbers else None
    why = reason(errors[-1]["message"], job.get("resources", {}), logs, slurm_logs, lambda: slurm.details(last))
    return Failure(
        rule=errors[-1]["rule"],
        dataset=decode(where.get("dataset", "")),
        plate=decode(where.get("plate", "")),
        batch=where.get("batch", ""),
        attempts=len(errors),
        kind=why.kind,
        reason=why.words,
        log=next((path for path in [*logs, *slurm_logs] if Path(path).exists()), paths[0] if paths else ""),
        slurm=" ".join(map(str, numbers)),
        node=node(slurm_logs),
        slurm_log=slurm_logs[-1] if slurm_logs else "",
        outputs=" ".join(job.get("output", [])),
    )
