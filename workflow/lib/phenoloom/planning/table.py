"""The plan of a run: its jobs added up by rule, as text for people and as JSON."""

from typing import NamedTuple

from phenoloom.core.words import count, duration
from phenoloom.planning.work import RULES, rule_of, stage_of

HEADER = ("stage", "rule", "jobs", "threads", "CPU h", "GPU h", "longest job", "memory", "disk", "rate from")
UNKNOWN = "?"


class Line(NamedTuple):
    """The jobs of one rule. Hours are sums; longest is the wall time of the longest job in seconds; memory is the most
    that a job asks for, in MB; disk is what all of them write, in MB. None where no rate is known. sources: words.
    """

    stage: str
    rule: str
    jobs: int
    threads: int
    cpu_hours: float | None
    gpu_hours: float | None
    longest_seconds: float | None
    memory_mb: float | None
    disk_mb: float | None
    sources: tuple
    unknown: int


def lines(jobs, estimates):
    """Lines of all rules, in the order of their stages. jobs, estimates: equally long, jobs.Job and rates.Estimate."""
    return [_line(rule, members) for rule, members in by_rule(zip(jobs, estimates, strict=True))]


def by_rule(rows):
    """[(rule, its rows)] in the order of the stages, rules that are not known last. rows: tuples, a Job first."""
    groups = {}
    for row in rows:
        groups.setdefault(rule_of(row[0]), []).append(row)
    order = {rule: number for number, rule in enumerate(RULES)}
    return sorted(groups.items(), key=lambda group: (order.get(group[0], len(order)), group[0]))


def _line(rule, members):
    cpu = [estimate.cpu_seconds for _, estimate in members]
    gpu = [_times(estimate.wall_seconds, job.gpu) for job, estimate in members if job.gpu]
    return Line(
        stage_of(rule),
        rule,
        len(members),
        max(job.threads for job, _ in members),
        _hours(cpu),
        _hours(gpu) if gpu else 0,
        _most(estimate.wall_seconds for _, estimate in members),
        _most(job.mem_mb for job, _ in members),
        _sum(estimate.disk_mb for _, estimate in members),
        tuple(dict.fromkeys(estimate.source for _, estimate in members)),
        sum(estimate.wall_seconds is None for _, estimate in members),
    )


def total(found):
    """One Line of all lines; what is not known is left out of its sums."""
    return Line(
        "",
        "total",
        sum(line.jobs for line in found),
        max((line.threads for line in found), default=0),
        _sum(line.cpu_hours for line in found) or 0,
        _sum(line.gpu_hours for line in found) or 0,
        _most(line.longest_seconds for line in found),
        _most(line.memory_mb for line in found),
        _sum(line.disk_mb for line in found) or 0,
        (),
        sum(line.unknown for line in found),
    )


def table(found):
    """The lines and their total as text, columns aligned."""
    whole = total(found)
    rows, digits, stage = [HEADER], _digits(whole.cpu_hours + whole.gpu_hours), None
    for line in [*found, whole]:
        rows.append(_cells(line, line.stage if line.stage != stage else "", digits))
        stage = line.stage
    return aligned(rows, left=(0, 1, len(HEADER) - 1))


def aligned(rows, left):
    """Rows of cells as lines of text. left: numbers of the columns that start at the left; others end at the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    texts = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        texts.append("  ".join(cells).rstrip())
    return "\n".join(texts)


def _cells(line, stage, digits):
    return (
        stage,
        line.rule,
        f"{line.jobs:,}",
        str(line.threads),
        hours(line.cpu_hours, digits),
        hours(line.gpu_hours, digits) if line.gpu_hours != 0 else "–",
        UNKNOWN if line.longest_seconds is None else duration(line.longest_seconds),
        UNKNOWN if line.memory_mb is None else size(line.memory_mb),
        UNKNOWN if line.disk_mb is None else size(line.disk_mb),
        "; ".join(line.sources),
    )


def hours(value, digits=2):
    """'0.35', '1,234.50'; '<0.01' for less than can be shown; '?' for None.

    >>> hours(0.351), hours(0.001), hours(12345.6, 0)
    ('0.35', '<0.01', '12,346')
    """
    if value is None:
        return UNKNOWN
    least = 10**-digits
    return f"<{least:g}" if 0 < value < least / 2 else f"{value:,.{digits}f}"


def _digits(value):
    """Digits after the point that tell the jobs of a small study apart and do not pretend for those of a large one."""
    return 4 if value < 1 else 2 if value < 100 else 0


def size(mb):
    """'0.2 MB', '350 MB', '12.5 GB', '3.1 TB' of a number of MB (1e6 bytes).

    >>> size(0.15), size(349.6), size(12500), size(3.1e6)
    ('0.1 MB', '350 MB', '12.5 GB', '3.1 TB')
    """
    for unit, factor in (("TB", 1e6), ("GB", 1e3)):
        if mb >= 0.9995 * factor:
            return f"{mb / factor:,.1f} {unit}"
    if 0 < mb < 0.05:
        return "<0.1 MB"
    return f"{mb:.1f} MB" if mb < 10 else f"{mb:.0f} MB"


def meaning(found, wall, cores, start=0):
    """What the plan means, in sentences: totals, and the time that it takes on `cores` cores.

    wall: schedule.Wall. start: seconds added to each job for its start.
    """
    whole = total(found)
    gpu = f"{hours(whole.gpu_hours)} GPU hours" if whole.gpu_hours else "no GPU"
    most = "" if whole.memory_mb is None else f"; the largest job asks for {size(whole.memory_mb)} of memory"
    of_rules = f"{count(whole.jobs, 'job')} of {count(len(found), 'rule')}"
    starts = f", {start:g} s for the start of each job included" if start else ""
    said = [
        f"{of_rules}: {hours(whole.cpu_hours)} CPU hours, {gpu}, {size(whole.disk_mb)} written{most}.",
        f"With {count(cores, 'core')} it takes about {duration(wall.placed)}{starts}. "
        f"Its longest chain of jobs takes {duration(wall.chain)} on any number of cores; "
        f"with every core always at work it would be {duration(wall.busy)}.",
    ]
    on_processors = [line.rule for line in found if line.gpu_hours and any("shipped" in one for one in line.sources)]
    if on_processors:
        said.append(
            f"The shipped rates of {', '.join(on_processors)} were measured on processors. A GPU takes a small part of "
            "these hours: after a run on yours, the plan counts with what it took."
        )
    if whole.unknown:
        said.append(f"No rate is known for {count(whole.unknown, 'job')}; hours, disk and time above are without them.")
    return said


def sources(found, about):
    """Where the rates of a plan come from, in sentences. about: what the shipped rates were measured on."""
    used = {source for line in found for source in line.sources}
    said = []
    if "measured here" in used:
        said.append("Measured here: the shipped rate, corrected by what jobs of this study took so far.")
    if any(source.startswith("shipped") for source in used):
        said += [f"Shipped: {' '.join(about)}"]
    if "shipped, extrapolated" in used:
        said.append("Extrapolated: the jobs have more than ten times the work of those that the rate was measured on.")
    if "shipped, size unknown" in used:
        said.append("Size unknown: only what such a job takes at least is counted, for its tables are not read yet.")
    if any(source.startswith("guess") for source in used):
        said.append("Guess: `make rate` measures what the pipeline takes per site.")
    return [*said, "All of this is an estimate; `--compare` shows after a run how far it was off."]


def _times(seconds, number):
    return None if seconds is None else seconds * number


def _hours(seconds):
    found = _sum(seconds)
    return None if found is None else found / 3600


def _sum(values):
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _most(values):
    return max((value for value in values if value is not None), default=None)
