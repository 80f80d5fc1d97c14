"""What failed in a run and why: Slurm's states and lines, signals and logs as they were seen, in words."""

import csv
import json
import os
import shutil
import socket
from pathlib import Path

import psutil
import pytest
import record_study

import finished_study
from phenoloom.__main__ import main
from phenoloom.core.errors import InputError
from phenoloom.record import failures as records
from phenoloom.record import reasons
from phenoloom.record.events import read_run
from phenoloom.record.failures import SHOWN, Failure, failures, message, write_failures
from phenoloom.record.reasons import KINDS, SIGNALS, SLURM_STATES, node, reason

RESOURCES = {"mem_mb": 400, "runtime": 5}

#: What is left in Slurm's log of a job, as seen with Slurm 22.05 (the first five) and as cgroups say it.
SLURM_LOGS = {
    "over memory": (
        "    resources: tmpdir=/tmp, mem_mb=400\n"
        "slurmstepd-cn1: error: StepId=66.0 exceeded memory limit (511700992 > 419430400), being killed\n"
        "slurmstepd-cn1: error: Exceeded job memory limit\n"
        "slurmstepd-cn1: error: *** STEP 66.0 ON cn1 CANCELLED AT 2026-11-21T02:58:37 ***\n"
        "srun: error: cn1: task 0: Killed\n"
    ),
    "over time": (
        "slurmstepd-cn1: error: *** JOB 63 ON cn1 CANCELLED AT 2026-11-21T02:59:47 DUE TO TIME LIMIT ***\n"
        "slurmstepd-cn1: error: *** STEP 63.0 ON cn1 CANCELLED AT 2026-11-21T02:59:47 DUE TO TIME LIMIT ***\n"
        "Command 'sleep 200' died with <Signals.SIGTERM: 15>.\n"
    ),
    "cancelled": (
        "slurmstepd-cn1: error: *** STEP 65.0 ON cn1 CANCELLED AT 2026-11-21T02:58:37 ***\n"
        "Command 'sleep 100' died with <Signals.SIGTERM: 15>.\n"
    ),
    "no output": (
        "Waiting at most 5 seconds for missing files:\nresults/x.parquet (missing locally)\n"
        'MissingOutputException in rule cells in file "/a/Snakefile", line 47:\n'
        "Job 0 completed successfully, but some output files are missing. Missing files after 5 seconds.\n"
        "results/x.parquet (missing locally, parent dir not present)\n"
        "srun: error: cn2: task 0: Exited with exit code 1\n"
    ),
    "node": "srun: error: Node failure on gn1\nsrun: Job step aborted: Waiting up to 4 seconds\n",
    "cgroup": (
        "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been OOM Killed.\n"
    ),
    "kernel": "Command 'set -euo pipefail; x' returned non-zero exit status 137.\n",
    "segfault": "Command 'set -euo pipefail; x' died with <Signals.SIGSEGV: 11>.\n",
    "plain": "Command 'set -euo pipefail; x' returned non-zero exit status 1.\nWorkflowError:\n",
}


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch):
    """Slurm is not asked, whatever this machine has."""
    monkeypatch.setattr(records.client, "available", lambda: False)


@pytest.fixture
def why(tmp_path):
    """Return why(said, log, slurm): the Reason of a job with these logs, the texts as written there."""

    def find(said="", log=None, slurm=None, **more):
        paths = []
        for name, text in (("rule.log", log), ("slurm.log", slurm)):
            if text is not None:
                (tmp_path / name).write_text(text)
            paths.append([tmp_path / name])
        return reason(said, RESOURCES, *paths, **more)

    return find


def failed(state):
    return f"SLURM-job '66' failed, SLURM status is: '{state}'. Detailed failure reason unavailable"


@pytest.mark.parametrize(
    ("name", "state", "kind", "words"),
    [
        ("over memory", "FAILED", "memory", "its 400 MB of memory (488 MB when Slurm ended it)"),
        ("over memory", "CANCELLED", "memory", "its 400 MB of memory"),
        ("over memory", "OUT_OF_MEMORY", "memory", "its 400 MB of memory"),
        ("cgroup", "FAILED", "memory", "its 400 MB of memory"),
        ("over time", "TIMEOUT", "time", "more than its 5 min"),
        ("over time", "FAILED", "time", "more than its 5 min"),
        ("cancelled", "CANCELLED", "cancelled", "it was cancelled"),
        ("node", "NODE_FAIL", "node", "its node failed"),
        ("no output", "FAILED", "no output", "did not write x.parquet"),
        ("kernel", "FAILED", "killed", "want of memory (it had asked for 400 MB)"),
        ("segfault", "FAILED", "crashed", "SIGSEGV"),
        ("plain", "FAILED", "error", "ValueError: of the job"),
    ],
)
def test_why_a_job_failed_on_slurm(why, name, state, kind, words):
    found = why(failed(state), "loading\nValueError: of the job\n", SLURM_LOGS[name])
    assert found.kind == kind and words in found.words


@pytest.mark.parametrize("state", SLURM_STATES)
def test_every_state_of_slurm_has_words_without_logs(why, state):
    found = why(failed(state))
    assert found.kind == SLURM_STATES[state][0] and "{" not in found.words


def test_a_state_of_slurm_outweighs_lines_of_an_earlier_start(why):
    assert why(failed("TIMEOUT"), slurm=SLURM_LOGS["node"] + "more\n").kind == "time"


def test_a_command_that_speaks_of_memory_is_not_taken_for_slurm(why):
    log = "    shell:\n        grep 'out of memory' CANCELLED AT oom_kill\n"
    assert why(failed("FAILED"), slurm=log).kind == "unknown"


def test_what_slurm_refuses_is_said_in_its_words(why):
    said = (
        "SLURM sbatch failed. The error message was 'sbatch: error: Memory specification can not be satisfied\n"
        "sbatch: error: Batch job submission failed: Requested node configuration is not available'.\n"
        "    sbatch call:\n        sbatch --parsable"
    )
    words = "Memory specification can not be satisfied; Requested node configuration is not available"
    assert why(said) == reasons.Reason("refused", f"Slurm did not take it: {words}")
    assert why("Job submission failed with exception: x").kind == "refused"


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_a_job_of_this_machine(why, name):
    by_name = why(f"Command 'x' died with <Signals.{name}: 1>.", "loading\n")
    by_status = why(f"Command 'x' returned non-zero exit status {128 + getattr(reasons.signal, name)}.", "loading\n")
    assert by_name == by_status and by_name.kind == SIGNALS[name][0]


@pytest.mark.parametrize(
    ("log", "kind", "words"),
    [
        ("a\nerror: plate P1 has no images; mend it\ndone in 3 s\n", "error", "error: plate P1 has no images; mend it"),
        ("Traceback\nValueError: first\nx.y.KeyError: 'last {brace}'\n", "error", "x.y.KeyError: 'last {brace}'"),
        ("Traceback\nMemoryError\n", "memory", "MemoryError"),
        ("numpy._ArrayMemoryError: Unable to allocate 9 GiB\n", "memory", "Unable to allocate 9 GiB"),
        ("loading\nthe last line\n\n", "unknown", "its log ends with: the last line"),
        ("\n", "unknown", "exit status 3"),
        (None, "unknown", "exit status 3"),
    ],
)
def test_otherwise_the_job_s_log_says_why(why, log, kind, words):
    found = why("Command 'x' returned non-zero exit status 3.", log)
    assert found.kind == kind and words in found.words


def test_a_job_may_leave_nothing(why):
    assert why().words == "it left no message"
    assert why("Command 'x' returned non-zero exit status 200.").kind == "unknown"


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        ({"JobState": "OUT_OF_MEMORY", "ExitCode": "0:125"}, "memory"),
        ({"JobState": "FAILED", "ExitCode": "0:9"}, "killed"),
        ({"JobState": "FAILED", "ExitCode": "1:0"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_slurm_is_asked_when_nothing_else_tells(why, known, kind):
    asked = []

    def ask():
        asked.append(1)
        return known

    assert why(failed("FAILED"), ask=ask).kind == kind
    assert why(failed("TIMEOUT"), ask=ask).kind == "time"
    assert why(failed("FAILED"), "ValueError: x\n", ask=ask).kind == "error"
    assert len(asked) == 1


def test_slurm_is_asked_about_some_jobs_and_no_more_when_it_is_silent(tmp_path, monkeypatch):
    asked = []

    def details(number):
        asked.append(number)
        if number == "73":
            raise InputError("Slurm does not answer")
        return {"JobState": "OUT_OF_MEMORY"}

    monkeypatch.setattr(records.client, "available", lambda: True)
    monkeypatch.setattr(records.client, "details", details)
    run = read_run(events(tmp_path, jobs=5, text=""))
    assert [failure.kind for failure in failures(run)] == ["memory", "memory", "unknown", "unknown", "unknown"]
    assert asked == ["71", "72", "73"]
    monkeypatch.setattr(records, "ASKED", 1)
    assert [failure.kind for failure in failures(run)] == ["memory"] + ["unknown"] * 4


@pytest.mark.parametrize(
    ("log", "name"),
    [("  Host: n7.cluster\n", "n7.cluster"), ("  Host: vm\n" + SLURM_LOGS["cancelled"], "cn1"), ("", ""), (None, "")],
)
def test_the_node_is_in_slurm_s_log(tmp_path, log, name):
    if log is not None:
        (tmp_path / "1.log").write_text(log)
    assert node([tmp_path / "1.log"]) == name


def events(folder, jobs=1, text="error: too few cells\n", **last):
    """Event file of a run in which so many jobs failed, with `text` in the log of each."""
    lines = [{"event": "jobs", "total": jobs + 5}]
    for number in range(1, jobs + 1):
        where = {"dataset": "screen", "plate": "P~201", "batch": f"{number:04d}"}
        job = {"event": "job", "jobid": number, "rule": "cellprofiler", "wildcards": where, "resources": RESOURCES}
        log = folder / "results" / f"{number}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(text)
        job |= {"log": [str(log)], "output": ["a.h5", "b.jsonl"]}
        submitted = {"event": "submitted", "jobid": str(number), "slurm": str(70 + number)}
        slurm_log = f"{folder}/.snakemake/slurm_logs/rule_cellprofiler/{70 + number}.log"
        error = {"event": "error", "jobid": number, "rule": "cellprofiler", "message": "", "slurm": str(70 + number)}
        error |= {"logs": [str(log), slurm_log], **last}
        lines += [job, submitted, error]
    path = folder / "run.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_failed_job_is_a_row_with_what_one_needs_to_find_it(tmp_path):
    found = failures(read_run(events(tmp_path)))
    write_failures(tmp_path / "failures.tsv", found)
    with open(tmp_path / "failures.tsv", newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (row["rule"], row["dataset"], row["plate"], row["batch"]) == ("cellprofiler", "screen", "P 1", "0001")
    assert (row["kind"], row["reason"], row["attempts"]) == ("error", "error: too few cells", "1")
    assert row["log"] == str(tmp_path / "results/1.log") and row["slurm"] == "71"
    assert row["slurm_log"].endswith("rule_cellprofiler/71.log") and row["outputs"] == "a.h5 b.jsonl"


def test_no_failure_leaves_the_header(tmp_path):
    write_failures(tmp_path / "failures.tsv", [])
    assert (tmp_path / "failures.tsv").read_text().split("\t")[0] == "rule"
    assert len((tmp_path / "failures.tsv").read_text().splitlines()) == 1


def test_the_message_names_the_job_its_log_and_how_to_go_on(tmp_path):
    run = read_run(events(tmp_path, message=failed("TIMEOUT")))
    text = message(run, failures(run), "failures.tsv", "make run STUDY=x")
    assert text.startswith("1 job failed, 5 not started because of it:\n  cellprofiler screen P 1 0001: it needed more")
    assert str(tmp_path / "results/1.log") in text and "failures.tsv" in text and KINDS["time"] in text
    assert KINDS["memory"] not in text and text.endswith("continue with\n  make run STUDY=x")


def test_many_failures_are_counted_by_reason(tmp_path):
    run = read_run(events(tmp_path, jobs=2000))
    found = failures(run)
    found[5].reason = "another reason"
    text = message(run, found, "failures.tsv", "again")
    assert "cellprofiler, 1,999 jobs: error: too few cells" in text
    assert "cellprofiler, 1 job: another reason" in text
    assert len(text.splitlines()) < 12


def test_many_reasons_are_not_all_named(tmp_path):
    run = read_run(events(tmp_path, jobs=SHOWN + 3))
    found = failures(run)
    for number, failure in enumerate(found):
        failure.reason = f"reason {number}"
    assert "... and 3 other reasons" in message(run, found, "failures.tsv", "again")


def test_a_job_of_which_only_the_error_is_known_is_still_named(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps({"event": "error", "jobid": 3, "rule": "cells", "message": "", "logs": []}) + "\n")
    (found,) = failures(read_run(path))
    assert isinstance(found, Failure) and (found.rule, found.log, found.slurm) == ("cells", "", "")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Path of the config of a study whose last run failed in one of its jobs."""
    monkeypatch.chdir(tmp_path)
    finished_study.write_config(tmp_path, finished_study.config())
    record_study.events("20260101T000000Z-1", [record_study.cellprofiler(1)], "finished")
    jobs = [record_study.cellprofiler(number) for number in (1, 2, 3)]
    record_study.events("20260102T000000Z-2", jobs, "failed", failed=[2])
    return finished_study.CONFIG


def test_failures_can_be_asked_for_at_any_time(study, capsys):
    assert main(["failures", study]) == 1
    said = capsys.readouterr()
    assert "failed: 2 of 3 jobs finished, 1 failed" in said.out
    assert "cellprofiler screen P 1 0002" in said.err and said.err.rstrip().endswith("/secret/snakemake")
    assert "0002" in Path("results/tiny/provenance/failures.tsv").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "was killed: 3 of 3"),
        ({"pid": os.getpid(), "created": psutil.Process().create_time()}, "is going on: 3 of 3"),
        ({"host": "far"}, "is going on, or was killed, on far: 3 of 3"),
    ],
    ids=["dead", "alive", "elsewhere"],
)
def test_a_run_without_an_end_is_alive_or_dead(study, capsys, change, words):
    jobs = [record_study.cellprofiler(number) for number in (1, 2, 3)]
    path = record_study.events("20260103T000000Z-3", jobs, None)
    start, *rest = path.read_text().splitlines()
    start = {**json.loads(start), "host": socket.gethostname(), "again": "make run STUDY=x", **change}
    path.write_text("\n".join([json.dumps(start), *rest]))
    assert main(["failures", study]) == 0
    assert words in capsys.readouterr().out


def test_a_study_that_never_ran_has_no_failures_to_ask_for(study, capsys):
    shutil.rmtree("results")
    assert main(["failures", study]) == 1
    assert "no run of results/tiny is on record" in capsys.readouterr().err
