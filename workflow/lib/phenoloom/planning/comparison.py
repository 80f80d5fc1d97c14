"""Estimate against what was measured, rule by rule, after a run."""

from typing import NamedTuple

from phenoloom.core.words import count, duration
from phenoloom.planning.table import UNKNOWN, aligned, by_rule, size

HEADER = ("rule", "jobs", "CPU plan", "run", "ratio", "wall plan", "run", "ratio", "disk plan", "run", "ratio")
HEADER += ("memory asked", "peak")


class Compared(NamedTuple):
    """The jobs of one rule. Pairs are sums over the jobs for which both are known, (estimated, measured), or Nones.

    CPU and wall are in seconds. memory_mb: (the most that a job asked for, the highest peak).
    """

    rule: str
    jobs: int
    cpu_seconds: tuple
    wall_seconds: tuple
    disk_mb: tuple
    memory_mb: tuple


def compare(done, estimates):
    """Compared of every rule. done: [(Job, Done)]; estimates: rates.Estimate of each, by the shipped rates."""
    rows = [(job, took, estimate) for (job, took), estimate in zip(done, estimates, strict=True)]
    return [_one(rule, members) for rule, members in by_rule(rows)]


def _one(rule, members):
    def both(name):
        return _sums((getattr(estimate, name), getattr(took, name)) for _, took, estimate in members)

    asked, peaks = (job.mem_mb for job, _, _ in members), (took.peak_mb for _, took, _ in members)
    memory = _most(asked), _most(peaks)
    return Compared(rule, len(members), both("cpu_seconds"), both("wall_seconds"), both("disk_mb"), memory)


def total(found):
    """Compared of all rules together."""

    def both(name):
        return _sums(getattr(one, name) for one in found)

    memory = tuple(_most(one.memory_mb[side] for one in found) for side in (0, 1))
    jobs = sum(one.jobs for one in found)
    return Compared("total", jobs, both("cpu_seconds"), both("wall_seconds"), both("disk_mb"), memory)


def text(found):
    """The comparison as text, its total last. A ratio is measured / estimated."""
    rows = [HEADER]
    for one in [*found, total(found)]:
        cells = [one.rule, f"{one.jobs:,}"]
        for pair in (one.cpu_seconds, one.wall_seconds):
            cells += [*(_said(duration, value) for value in pair), _ratio(pair)]
        cells += [*(_said(size, value) for value in one.disk_mb), _ratio(one.disk_mb)]
        rows.append([*cells, *(_said(size, value) for value in one.memory_mb)])
    return aligned(rows, left=(0,))


def elapsed(runs):
    """Seconds from start to end of each run that did some job; of one that was killed, to its last job."""
    spans = []
    for run in runs:
        times = [time for time in (*run.finished.values(), run.ended) if time is not None]
        if run.finished and times and "time" in run.start:
            spans.append(max(times) - run.start["time"])
    return spans


def meaning(wall, cores, spans):
    """The time of the runs against that of their jobs placed on `cores` cores. wall: schedule.Wall."""
    return (
        f"From start to end: {duration(wall.placed)} planned with {count(cores, 'core')}, "
        f"{duration(sum(spans))} in {count(len(spans), 'run')}. Ratios are measured / planned."
    )


def _said(words, value):
    return UNKNOWN if value is None else words(value)


def _ratio(pair):
    estimated, measured = pair
    return f"{measured / estimated:.2f}" if estimated else ""


def _sums(pairs):
    """Sums of the first and of the second of pairs of which both are known; Nones without any."""
    known = [pair for pair in pairs if None not in pair]
    return (sum(one for one, _ in known), sum(other for _, other in known)) if known else (None, None)


def _most(values):
    return max((value for value in values if value is not None), default=None)
