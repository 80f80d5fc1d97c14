"""Memory that jobs ask for: enough for what they take, and more at each attempt."""

import csv
import re
from pathlib import Path

from phenoloom.record.events import read_runs

RULES = Path(__file__).resolve().parents[2] / "workflow" / "rules"
#: Of what a job asks for, Snakemake itself takes this much in an allocation of a cluster.
SNAKEMAKE_MB = int(re.search(r"^SNAKEMAKE_MB = (\d+)", (RULES / "common.smk").read_text(), flags=re.M)[1])


def test_jobs_take_less_than_they_ask_for(finished):
    measured, over = 0, []
    for run in read_runs(finished / "results" / "tiny"):
        for job in run.jobs.values():
            table = finished / (job.get("benchmark") or "none")
            if not table.is_file():
                continue
            with open(table, encoding="utf-8") as file:
                peaks = [row["max_rss"] for row in csv.DictReader(file, delimiter="\t")]
            peak = max((float(text) for text in peaks if text not in ("NA", "-")), default=0)
            measured += peak > 0
            if peak + SNAKEMAKE_MB > job["resources"]["mem_mb"]:
                over.append((job["rule"], peak, job["resources"]["mem_mb"]))
    assert measured > 10
    assert over == []


def test_each_attempt_asks_for_more():
    """Every rule's memory is a function of the attempt: by `memory`, or by name."""
    for path in sorted(RULES.glob("*.smk")):
        for stated in re.findall(r"^ +mem_mb=((?:.|\n)*?)\n {0,4}\w", path.read_text(encoding="utf-8"), flags=re.M):
            assert re.match(r"memory\(|lambda wildcards, attempt:.*", stated), f"{path.name}: {stated}"
            assert "memory(" in stated or "attempt\n" in stated or "* (" in stated, f"{path.name}: {stated}"
