"""What the jobs took: time, processor and memory per rule, from Snakemake's benchmark tables."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd

from phenoloom.core.words import count, duration
from phenoloom.report import style

#: Column of Snakemake's table -> column here. Times in seconds, memory in MB.
COLUMNS = {"s": "Seconds", "cpu_time": "CPU_Seconds", "max_rss": "Memory_MB", "max_pss": "Memory_Share_MB"}

#: Stages that come after the table; an earlier run may have left theirs, and when depends on the order of jobs.
LATER = re.compile("figure_.*|run_times|report")


def read_benchmarks(folder, datasets=()):
    """One row per benchmark table below `folder`: Dataset, Stage, Job, Seconds, CPU_Seconds, Memory_MB.

    The stage is the folder (or file) name after the dataset's, as the rules write `<benchmarks>/{dataset}/stage/...`.
    Figures and report, which come after, are left out.
    Values that Snakemake could not measure (`-`, `NA`) are NaN; a table of several repeats gives its mean; a table that
    cannot be read is skipped.
    """
    folder = Path(folder)
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        parts = path.relative_to(folder).with_suffix("").parts
        dataset = parts[0] if parts[0] in datasets and len(parts) > 1 else ""
        rest = parts[1:] if dataset else parts
        numbers = None if LATER.fullmatch(rest[0]) else _read(path)
        if numbers is not None:
            rows.append({"Dataset": dataset, "Stage": rest[0], "Job": "/".join(rest), **numbers})
    return pd.DataFrame(rows, columns=["Dataset", "Stage", "Job", *COLUMNS.values()])


def _read(path):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    if not rows or "s" not in rows[0]:
        return None
    return {name: _mean([row.get(column) for row in rows]) for column, name in COLUMNS.items()}


def _mean(texts):
    numbers = []
    for text in texts:
        try:
            numbers.append(float(text))
        except (TypeError, ValueError):
            continue
    return float(np.mean(numbers)) if numbers else np.nan


def per_stage(jobs):
    """One row per stage: Jobs, Seconds and CPU_Seconds (sums), Seconds_Median, Seconds_Maximum, Memory_MB (largest)."""
    grouped = jobs.groupby("Stage", sort=False)
    table = grouped.agg(
        Jobs=("Job", "size"),
        Seconds=("Seconds", "sum"),
        CPU_Seconds=("CPU_Seconds", "sum"),
        Seconds_Median=("Seconds", "median"),
        Seconds_Maximum=("Seconds", "max"),
        Memory_MB=("Memory_MB", "max"),
    )
    return table.sort_values("CPU_Seconds", ascending=False, kind="stable").reset_index()


def add_figure(gallery, jobs):
    """Add the figure of processor time and peak memory per stage."""
    if jobs.empty:
        gallery.note("Run times: nothing to show because no benchmark table was found.")
        return
    table = per_stage(jobs)
    stages = list(table["Stage"])
    total = table["CPU_Seconds"].sum()
    unit, divisor = ("hours", 3600) if total > 3 * 3600 else ("minutes", 60) if total > 180 else ("seconds", 1)
    with style.look():
        figure = style.new_figure(style.WIDTH, 0.9 + 0.26 * len(stages))
        left, right = figure.subplots(1, 2, sharey=True)
        lines = np.arange(len(stages))
        left.barh(lines - 0.2, table["CPU_Seconds"] / divisor, height=0.38, color=style.ACCENT, label="processor time")
        left.barh(
            lines + 0.2, table["Seconds"] / divisor, height=0.38, color="#a9cfe6", label="wall time, jobs added up"
        )
        left.set_yticks(lines, stages)
        left.set_ylim(len(stages) - 0.4, -0.6)
        left.set_xlabel(unit)
        left.legend(loc="lower right")
        left.grid(axis="x")
        for line, stage in enumerate(stages):
            memory = jobs.loc[jobs["Stage"] == stage, "Memory_MB"].dropna()
            right.plot(
                memory,
                np.full(len(memory), line),
                "o",
                color=style.WARNING,
                alpha=0.45,
                markersize=5,
                markeredgewidth=0,
            )
        right.set_xlabel("peak memory of each job (MB)")
        right.set_xlim(left=0)
        right.grid(axis="x")
        for axis in (left, right):
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0)
    unknown = int(jobs["Memory_MB"].isna().sum())
    gallery.add(
        "run_times",
        figure,
        jobs,
        "Time and memory per stage",
        f"Left: processor and wall time of all jobs of a stage, added up; right: peak resident memory, a dot per job. "
        f"From Snakemake's benchmark tables of {count(len(jobs), 'job')}, {duration(total)} of processor time in all"
        + (f"; {count(unknown, 'job')} too short for a memory reading" if unknown else "")
        + ". Figures and the report itself, which come after, are not in it.",
    )
