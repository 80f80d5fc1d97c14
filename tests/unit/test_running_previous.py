"""What an earlier run left behind: alive it keeps others off, dead it is cleared away, other studies are left alone."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from phenoloom.core.errors import InputError
from phenoloom.record.events import EventLog, folder_of_runs, read_runs
from phenoloom.running import previous
from phenoloom.running.previous import MARK, settle


@pytest.fixture
def left(tmp_path, monkeypatch):
    """Write the event file of an earlier run of the study `s`; its head is the process `pid`, by default a dead one."""
    monkeypatch.chdir(tmp_path)

    def write(pid=None, **more):
        log = EventLog()
        path = folder_of_runs("results/s") / "20260101T000000Z-1.jsonl"
        log.start(path)
        log._ended = True
        start = json.loads(path.read_text().splitlines()[0])
        start.update(pid=pid or 2**22 + 1, created=psutil.Process(pid).create_time() if pid else 0.0, **more)
        path.write_text(json.dumps(start) + "\n")
        return path

    return write


@pytest.fixture
def slurm(monkeypatch):
    """A Slurm with one job, 7, of the run `abc`; the list of what it is asked to cancel."""
    asked = []
    monkeypatch.setattr(previous.client, "available", lambda: True)
    monkeypatch.setattr(previous.client, "jobs_named", lambda names: {"7": "RUNNING"} if names == ["abc"] else {})
    monkeypatch.setattr(previous.client, "cancel", lambda numbers: asked.append(list(numbers)))
    monkeypatch.setattr(previous.client, "wait_until_gone", lambda numbers, seconds: set())
    return asked


def test_nothing_was_left(tmp_path):
    settle(tmp_path / "results/s")


def test_a_living_run_keeps_others_off(left):
    left(os.getpid())
    with pytest.raises(InputError, match=f"being run since .* by process {os.getpid()} on .*Ctrl-C"):
        settle("results/s")


def test_a_dead_run_is_cleared_away_once(left):
    left()
    said = []
    settle("results/s", said.append)
    settle("results/s", said.append)
    assert len(said) == 1 and "was killed: it left nothing behind" in said[0]
    assert [run.status for run in read_runs("results/s")] == ["killed"]


def test_a_run_on_another_host_is_known_to_live_by_its_file(left):
    path = left(host="elsewhere")
    with pytest.raises(InputError, match="on elsewhere"):
        settle("results/s")
    silent = time.time() - previous.SILENT_SECONDS - 60
    os.utime(path, (silent, silent))
    settle("results/s", lambda text: None)
    assert read_runs("results/s")[0].status == "killed"


def test_locks_of_the_study_go_and_those_of_others_stay(left, tmp_path):
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("results/s/a.parquet\nresults/s/b.parquet\n")
    (locks / "1.output.lock").write_text("results/s2/a.parquet\n")
    left()
    said = []
    settle("results/s", said.append)
    assert [path.name for path in locks.iterdir()] == ["1.output.lock"]
    assert "its locks removed" in said[0]


def test_processes_that_outlived_their_head_are_stopped(left):
    path = left()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    orphan = subprocess.Popen(sleep, env={**os.environ, MARK: path.stem})
    other = subprocess.Popen(sleep, env={**os.environ, MARK: "another-run"})
    try:
        said = []
        settle("results/s", said.append)
        assert not psutil.pid_exists(orphan.pid) and other.poll() is None
        assert "1 process stopped" in said[0]
    finally:
        orphan.kill()
        other.kill()


def test_a_dead_process_that_nobody_takes_off_the_list_is_no_orphan(left):
    path = left()
    program = f"""
import os, subprocess, sys, time
subprocess.Popen(["sleep", "60"], env={{**os.environ, "{MARK}": "{path.stem}"}})
print("started", flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert parent.stdout.readline() == b"started\n"
        [child] = psutil.Process(parent.pid).children()
        settle("results/s", print)
        assert child.status() == psutil.STATUS_ZOMBIE
    finally:
        parent.kill()
        parent.communicate()


def test_processes_of_slurm_jobs_are_left_to_slurm(left, slurm):
    path = left()
    with open(path, "a") as file:
        file.write(json.dumps({"event": "slurm_run", "name": "abc"}) + "\n")
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: path.stem, "SLURM_JOB_ID": "7"})
    try:
        said = []
        settle("results/s", said.append)
        assert process.poll() is None
        assert slurm == [["7"]] and "was killed: 1 Slurm job cancelled." in said[0]
    finally:
        process.kill()
        process.wait()


def test_slurm_jobs_of_a_dead_run_are_cancelled(left, slurm):
    path = left()
    with open(path, "a") as file:
        file.write(json.dumps({"event": "slurm_run", "name": "abc"}) + "\n")
    said = []
    settle("results/s", said.append)
    assert slurm == [["7"]] and "1 Slurm job cancelled" in said[0]


def test_slurm_jobs_that_cannot_be_reached_stop_the_next_run(left, monkeypatch):
    path = left()
    with open(path, "a") as file:
        file.write(json.dumps({"event": "slurm_run", "name": "abc"}) + "\n")
    monkeypatch.setattr(previous.client, "available", lambda: False)
    with pytest.raises(InputError, match="login node"):
        settle("results/s")
    assert read_runs("results/s")[0].status is None
