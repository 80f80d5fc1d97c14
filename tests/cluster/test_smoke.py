"""A small study through the Slurm profile: jobs ask for what their rules state, and the tables equal a local run's."""

import re
import time

import pytest
from slurm_study import MEASURED, TARGETS, Study


@pytest.fixture(scope="module")
def submitted(undisturbed, plugin, cluster, tmp_path_factory):
    """The head of a whole run on Slurm, from images to the evaluation, with a job that asks for a GPU."""
    study = Study.make(tmp_path_factory.mktemp("slurm") / "work", plugin)
    started = time.monotonic()
    head = study.submit(*TARGETS)
    run = head.finish()
    MEASURED.append(f"smoke: {len(run.jobs)} jobs on Slurm in {time.monotonic() - started:.0f} s")
    return head


@pytest.fixture(scope="module")
def jobs(submitted, cluster):
    """(event of the job, what Slurm knows of it) of each job that was submitted."""
    run = submitted.run()
    return [(run.jobs[number], cluster.show_job(ids[-1])) for number, ids in run.slurm_jobs.items()]


def test_the_tables_are_those_of_a_run_without_slurm(submitted, undisturbed):
    here, there = undisturbed.tables(), submitted.study.tables()
    assert sorted(there) == sorted(here)
    assert {"evaluation.parquet", "training/stand_in.parquet"} < set(here)
    assert [name for name in here if here[name] != there[name]] == []


def test_each_job_asks_for_what_its_rule_states(jobs):
    for job, slurm in jobs:
        stated = job["resources"]
        asked = f"{slurm['Partition']} {slurm['MinMemoryNode']} {slurm['TimeLimit']} {_gpus(slurm)}"
        MEASURED.append(f"  {slurm['JobId']} {job['rule']}: {asked}, {slurm['BatchHost']}, ran {slurm['RunTime']}")
        assert _megabytes(slurm["MinMemoryNode"]) == stated["mem_mb"]
        assert _minutes(slurm["TimeLimit"]) == stated["runtime"]
        assert slurm["Partition"] == ("gpu" if stated.get("gpu") else "cpu")


def test_the_job_that_needs_a_gpu_gets_one(jobs, submitted):
    on_gpu = [(job["rule"], slurm["BatchHost"]) for job, slurm in jobs if _gpus(slurm)]
    assert on_gpu == [("train_stand_in", "gn1")]
    log = (submitted.study.folder / "results/tiny/logs/training/stand_in.log").read_text()
    assert "on node gn1 with GPU 0" in log


def test_the_events_hold_the_number_of_every_job(jobs, submitted):
    run = submitted.run()
    assert run.status == "finished"
    assert set(run.slurm_jobs) == set(run.finished) - {number for number in run.finished if _is_local(run, number)}
    assert [slurm["JobState"] for _, slurm in jobs] == ["COMPLETED"] * len(jobs)
    assert {slurm["JobName"] for _, slurm in jobs} == set(run.slurm_names)


def _is_local(run, number):
    """Rules without anything to run, such as targets, are done by the head."""
    return number not in run.jobs or not run.jobs[number]["output"]


def _gpus(slurm):
    """What a job asked for in GPUs, such as `gres:gpu:1`; empty for none."""
    return next((value for key, value in slurm.items() if key.startswith("TresPer") and "gpu" in value), "")


def _megabytes(text):
    number, unit = re.fullmatch(r"([\d.]+)([MG])", text).groups()
    return float(number) * {"M": 1, "G": 1024}[unit]


def _minutes(text):
    hours, minutes, _ = text.split(":")
    return int(hours) * 60 + int(minutes)
