"""The events of a run: what Snakemake logs becomes one line each, and the lines become a run again, cut off or not."""

import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from phenoloom.record import events
from phenoloom.record.events import EventLog, folder_of_runs, new_path, read_run, read_runs


@pytest.fixture
def log(tmp_path):
    """An event log that writes to `run.jsonl`."""
    log = EventLog()
    log.start(tmp_path / "run.jsonl")
    yield log
    log._ended = True


def record(event=None, msg="", **extra):
    """A record as Snakemake's logger hands it on."""
    found = logging.makeLogRecord({"msg": msg, "levelno": logging.INFO, "thread": threading.get_ident(), **extra})
    found.event = event
    return found


def info(jobid, rule="cells", **more):
    """The record that a job starts."""
    given = {"wildcards": {"plate": "P1"}, "threads": 1, "resources": {"mem_mb": 100, "_cores": 1, "_nodes": 1}}
    given |= {"input": [], "output": [f"{jobid}.parquet"], "log": [f"{jobid}.log"], "benchmark": None, "reason": "new"}
    return record("job_info", jobid=jobid, rule_name=rule, **{**given, **more})


def error(jobid, rule="cells", **more):
    """The record that a job failed."""
    return record("job_error", jobid=jobid, rule_name=rule, rule_msg=None, log=[f"{jobid}.log"], aux={}, **more)


def finished(jobid):
    return record("job_finished", job_id=jobid)


def emit(log, *records):
    for one in records:
        log.emit(one)
    return read_run(log.path)


def test_a_run_is_read_as_it_was_written(log):
    run = emit(
        log,
        record(msg="SLURM run ID: abc-1"),
        record("run_info", stats={"total": 3}),
        info(1, benchmark="b.tsv", output=["a.parquet"], log=["a.log"]),
        record(msg="Job 1 has been submitted with SLURM jobid 77 (log: x/77.log)."),
        finished(1),
    )
    log.end("finished")
    run = read_run(log.path)
    assert (run.total, run.slurm_names, run.slurm_jobs) == (3, ["abc-1"], {"1": ["77"]})
    assert run.jobs["1"]["output"] == ["a.parquet"] and run.jobs["1"]["benchmark"] == "b.tsv"
    assert run.jobs["1"]["resources"] == {"mem_mb": 100}
    assert set(run.finished) == {"1"} and run.failed() == []
    assert (run.status, run.alive()) == ("finished", False)
    assert run.start["pid"] == os.getpid() and run.start["time"] <= run.finished["1"] <= run.ended


def test_events_before_the_start_are_kept_and_those_after_the_end_are_not(tmp_path):
    log = EventLog()
    log.emit(info(1))
    log.start(tmp_path / "run.jsonl")
    log.end("failed")
    log.emit(finished(1))
    log.close()
    run = read_run(log.path)
    assert set(run.jobs) == {"1"} and not run.finished and run.status == "failed"


def test_a_run_that_is_closed_without_an_end_was_stopped(log):
    log.close()
    assert read_run(log.path).status == "stopped"


def test_a_cut_off_last_line_is_left_out(log):
    emit(log, info(1), finished(1), info(2))
    whole = log.path.read_bytes()
    for size in range(whole.rindex(b"{"), len(whole) - 1):
        log.path.write_bytes(whole[:size])
        run = read_run(log.path)
        assert run.status is None and set(run.finished) == {"1"}
    log.path.write_bytes(whole[:-20] + b'\n{"event": "end", "status": "killed"}\n')
    assert read_run(log.path).status == "killed"


def test_an_empty_file_is_a_run_of_which_nothing_is_known(tmp_path):
    (tmp_path / "run.jsonl").write_text("")
    run = read_run(tmp_path / "run.jsonl")
    assert run.jobs == {} and run.alive() is None and run.failed() == []


def test_a_job_that_a_later_attempt_finished_is_no_failure(log):
    run = emit(log, info(1), error(1), info(1), finished(1))
    assert (run.failed(), run.state("1"), run.attempts["1"]) == ([], "finished", 2)


def test_a_job_whose_attempts_all_failed_is_one_failure(log):
    run = emit(log, info(1), error(1), info(1), error(1))
    assert run.failed() == ["1"] and len(run.errors["1"]) == 2


def test_a_job_that_is_tried_again_is_open(log):
    run = emit(log, info(1), error(1), info(1))
    assert (run.failed(), run.state("1")) == ([], "open")


def test_the_exception_of_a_job_of_this_machine_goes_with_its_error(log):
    said = "CalledProcessError in file Snakefile, line 2:\nCommand 'x' died with <Signals.SIGKILL: 9>."
    run = emit(log, info(1), record("error", msg=said), error(1), info(2), error(2))
    assert run.errors["1"][0]["message"] == said
    assert run.errors["2"][0]["message"] == ""


def test_exceptions_of_several_threads_are_kept_apart(log):
    log.emit(record("error", msg="of one", thread=1))
    log.emit(record("error", msg="of two", thread=2))
    log.emit(error(1, thread=1))
    run = emit(log, error(2, thread=2))
    assert [run.errors[job][0]["message"] for job in "12"] == ["of one", "of two"]


def test_an_exception_that_is_no_job_s_is_not_the_next_job_s(log):
    run = emit(log, record("error", msg="of none"), finished(1), error(2))
    assert run.errors["2"][0]["message"] == ""


def test_a_job_without_its_output_is_a_failure_though_snakemake_names_no_job(log):
    said = (
        'MissingOutputException in rule cells in file "Snakefile", line 2:\nJob 5  completed successfully, but some '
        "output files are missing. Missing files after 5 seconds.\nx.parquet (missing locally)"
    )
    run = emit(log, info(5), record("error", msg=said))
    assert run.failed() == ["5"] and run.errors["5"][0]["rule"] == "cells"


def test_each_job_of_a_failed_group_failed_once(log):
    job = {"rule_name": "cells", "rule_msg": None, "log": ["a.log"], "aux": {"external_jobid": "9"}}
    group = [{**job, "jobid": 1}, {**job, "jobid": 2}]
    run = emit(
        log,
        info(1),
        info(2),
        record(msg="Job 0f-group has been submitted with SLURM jobid 9 (log: 9.log)."),
        record("group_error", groupid="g", aux_logs=["slurm_logs/9.log"], job_error_info=group),
        error(1),
        error(2),
        error(3),
    )
    assert {job: len(found) for job, found in run.errors.items()} == {"1": 1, "2": 1, "3": 1}
    assert run.errors["1"][0]["slurm"] == "9" and run.errors["1"][0]["logs"] == ["a.log", "slurm_logs/9.log"]


def test_a_record_that_cannot_be_read_does_not_end_the_run(log, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    run = emit(log, record("job_info"), info(2))
    assert set(run.jobs) == {"2"}


def test_a_full_disk_costs_events_and_not_the_run(log, capsys):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

    log._file = Full()
    log.emit(info(1))
    log.emit(info(2))
    log.end("finished")
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_a_run_is_alive_as_long_as_its_process(tmp_path):
    code = (
        "import sys, time\nfrom phenoloom.record.events import EventLog\n"
        "EventLog().start(sys.argv[1]); print('started', flush=True); time.sleep(60)"
    )
    library = os.path.dirname(os.path.dirname(os.path.dirname(events.__file__)))
    path = tmp_path / "run.jsonl"
    head = subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": library}
    )
    try:
        head.stdout.readline()
        assert read_run(path).alive() is True
        head.kill()
        os.waitid(os.P_PID, head.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet collected by its parent
        assert read_run(path).alive() is False
    finally:
        head.kill()
        head.wait()
    assert read_run(path).alive() is False


@pytest.mark.parametrize(
    ("change", "alive"),
    [({}, True), ({"created": 5.0}, False), ({"pid": 2**22 + 1}, False), ({"host": "elsewhere"}, None)],
    ids=["itself", "another process has its number", "no such process", "another host"],
)
def test_a_head_is_known_by_host_number_and_start(log, change, alive):
    start = {**json.loads(log.path.read_text().splitlines()[0]), **change}
    log.path.write_text(json.dumps(start) + "\n")
    assert read_run(log.path).alive() is alive


def test_runs_are_read_in_the_order_of_their_start(tmp_path):
    folder = folder_of_runs(tmp_path)
    folder.mkdir(parents=True)
    for name in ("20260102T000000Z-1", "20260101T000000Z-9"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"event": "jobs", "total": int(name[7])}) + "\n")
    assert [run.total for run in read_runs(tmp_path)] == [1, 2]
    assert new_path(tmp_path).parent == folder and read_runs(tmp_path / "none") == []
