"""The record that a whole run leaves: complete, about this run, and readable by another tool."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import finished_study
from phenoloom.config.loading import complete

ROOT = Path(__file__).resolve().parents[2]

pytestmark = finished_study.needs_cellprofiler


@pytest.fixture
def results(finished):
    return finished / "results/tiny"


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_job_is_there_with_what_was_measured_of_it(results):
    jobs, measured = rows(results / "provenance/jobs.tsv"), rows(results / "provenance/benchmarks.tsv")
    assert {job["state"] for job in jobs} == {"finished"} and {job["attempts"] for job in jobs} == {"1"}
    assert all(job["submitted"] <= job["started"] <= job["finished"] for job in jobs)
    names = ("rule", "dataset", "plate", "batch", "representation", "profile", "evaluation")
    done, timed = ([[row[name] for name in names] for row in table] for table in (jobs, measured))
    assert sorted(done) == sorted(timed)
    assert {"cellprofiler", "cells", "report"} < {job["rule"] for job in jobs}
    assert {job["plate"] for job in jobs} - {""} == set(finished_study.PLATES)


def test_config_and_fingerprints_are_those_of_the_run(results):
    assert yaml.safe_load((results / "provenance/config.yaml").read_text()) == complete(finished_study.config())
    rules = json.loads((results / "provenance/code.json").read_text())["rules"]
    assert {job["rule"] for job in rows(results / "provenance/jobs.tsv")} <= set(rules)
    kept, made_by = results / "provenance/code", results.parents[1]
    assert (kept / "workflow/rules/report.smk").read_bytes() == (made_by / "workflow/rules/report.smk").read_bytes()


def test_roc_validator_takes_the_crate(results):
    build = [sys.executable, ROOT / "workflow/envs/build.py", "validate"]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the environment of roc-validator cannot be built: {built.stderr[-300:]}")
    python = Path(built.stdout.strip().splitlines()[-1], "bin/python")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, ROOT / "tests/validate_crate.py", results], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert str(results.parents[1]) not in (results / "ro-crate-metadata.json").read_text()
