"""Rates: what a job takes per unit of its work, as shipped, and as the jobs of a study were seen to take."""

import csv
from pathlib import Path
from typing import NamedTuple

from phenoloom.core.errors import InputError

#: Written by benchmarks/rates.py.
SHIPPED = Path(__file__).resolve().parents[4] / "resources" / "rates.tsv"

#: What is estimated of a job: seconds of processor and wall time, and MB (1e6 bytes) written.
QUANTITIES = ("cpu_seconds", "wall_seconds", "disk_mb")

#: A job may have this many times the work of the largest one that a rate was measured on before it is said.
BEYOND = 10


class Rate(NamedTuple):
    """A job of `n` units takes fixed + per_unit x n. largest: units of the largest job that this was measured on."""

    unit: str
    fixed: float
    per_unit: float
    largest: float

    def __call__(self, units):
        """What a job takes; only the fixed part where its units are not known (None)."""
        return self.fixed + self.per_unit * (units or 0)


class Shipped(NamedTuple):
    """rates: {(kind, quantity): Rate}. about: the lines that say what they were measured on."""

    rates: dict
    about: list


def read_shipped(path=SHIPPED):
    """The shipped rates. Raises InputError when the file is damaged."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        table = list(csv.DictReader([line for line in lines if not line.startswith("#")], delimiter="\t"))
        rates = {
            (row["kind"], row["quantity"]): Rate(row["unit"], *(float(row[name]) for name in Rate._fields[1:]))
            for row in table
        }
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read; restore it from the repository") from error
    return Shipped(rates, [line.lstrip("# ") for line in lines if line.startswith("#")])


def rough(jobs, units, path=SHIPPED):
    """(CPU seconds, MB written) by the shipped rates, of jobs {kind: number} with units {unit: number in all of them}.

    Units that are not given, and kinds without a rate, count nothing.
    """
    shipped = read_shipped(path).rates

    def sum_of(quantity):
        found = ((number, shipped.get((kind, quantity))) for kind, number in jobs.items() if number)
        return sum(number * rate.fixed + rate.per_unit * units.get(rate.unit, 0) for number, rate in found if rate)

    return sum_of("cpu_seconds"), sum_of("disk_mb")


class Estimate(NamedTuple):
    """What a job will take, None where nothing is known; and why: a word for each source of what was used."""

    cpu_seconds: float | None
    wall_seconds: float | None
    disk_mb: float | None
    source: str


class Estimator:
    """Estimates jobs by the shipped rates, corrected by what jobs of the same kind took in this study."""

    def __init__(self, work, shipped, done=()):
        """work: work.Work. shipped: {(kind, quantity): Rate}. done: [(Job, Done)] of jobs that this study has run."""
        self.work = work
        self.shipped = shipped
        self.measured = self._measure(done)

    def __call__(self, job):
        """Estimate of one job."""
        kind = self.work.kind(job)
        values = [self._value(job, kind, quantity) for quantity in QUANTITIES]
        return Estimate(*values, self._source(job, kind, values))

    def _by_rate(self, job, kind, quantity):
        rate = self.shipped.get((kind, quantity))
        return None if rate is None else rate(self.work.units(job, rate.unit))

    def _value(self, job, kind, quantity):
        expected, found = self._by_rate(job, kind, quantity), self.measured.get((kind, quantity))
        if found is None:
            return expected
        factor, mean = found
        return mean if factor is None else factor * expected

    def _measure(self, done):
        """{(kind, quantity): (took / expected over all jobs that were done, or None without a rate; mean per job)}."""
        sums = {}
        for job, took in done:
            kind = self.work.kind(job)
            for quantity in QUANTITIES:
                value = getattr(took, quantity)
                if value is not None:
                    total = sums.setdefault((kind, quantity), [0, 0, 0])
                    total[0] += value
                    total[1] += self._by_rate(job, kind, quantity) or 0
                    total[2] += 1
        return {key: (took / due if due else None, took / jobs) for key, (took, due, jobs) in sums.items()}

    def _source(self, job, kind, values):
        if all(value is None for value in values):
            return "no rate known"
        if (kind, "wall_seconds") in self.measured:
            return "measured here"
        rate = self.shipped.get((kind, "wall_seconds"))
        units = self.work.units(job, rate.unit) if rate else None
        if units is None:
            return "shipped, size unknown"
        if rate.unit == "pipeline second":
            return self.work.pipeline_source(job)
        return "shipped, extrapolated" if units > BEYOND * rate.largest else "shipped"
