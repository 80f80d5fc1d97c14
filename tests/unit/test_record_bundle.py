"""What `provenance/` holds when a run has ended, and that a run is no worse where it cannot be written."""

import csv
import io
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import record_study
import yaml
from record_study import RESULTS, START, cellprofiler, events, job, sha256

from phenoloom.config.loading import complete
from phenoloom.record import bundle, ending, git, jobs
from phenoloom.record.events import read_run

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small checkout; the working folder is another one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return record_study.checkout(tmp_path / "checkout")


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_config_is_kept_as_resolved(root):
    config = record_study.config(coverage=0.5)
    bundle.write(RESULTS, config, {}, record_study.results(), root)
    kept = yaml.safe_load(Path(RESULTS, "provenance/config.yaml").read_text())
    assert kept == config == complete(kept) and kept["coverage"] == 0.5 and kept["seed"] == 1


def test_versions_name_what_ran_and_digest_what_is_pinned(root):
    bundle.write(RESULTS, record_study.config(), {}, record_study.results(), root)
    found = json.loads(Path(RESULTS, "provenance/versions.json").read_text())
    assert found["environments"] == {
        name: sha256(root / "workflow/envs" / name) for name in ("cellprofiler-py39.txt", "main.txt")
    }
    assert found["cellprofiler"] == "4.2.8.1"
    assert found["snakemake"] == found["installed"]["snakemake"] and found["installed"]["numpy"]


def test_code_has_a_fingerprint_for_each_rule_but_not_for_targets(root):
    bundle.write(RESULTS, record_study.config(), {"cells": "ab12", "all": None}, record_study.results(), root)
    assert json.loads(Path(RESULTS, "provenance/code.json").read_text()) == {"rules": {"cells": "ab12"}, "git": None}


def test_the_workflow_is_kept_as_it_is_now(root, tmp_path):
    folder = tmp_path / "code"
    bundle.copy_code(root, folder)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    expected = {"Snakefile", "LICENSE", "workflow/rules/a.smk", "resources/a.cppipe"}
    assert names == expected | {f"workflow/envs/{name}" for name in ("main.txt", "cellprofiler-py39.txt", "build.py")}
    before = (folder / "Snakefile").stat().st_mtime_ns
    shutil.rmtree(root / "resources")
    (root / "workflow/rules/a.smk").write_text("rule b:\n")
    bundle.copy_code(root, folder)
    assert not (folder / "resources").exists()
    assert (folder / "workflow/rules/a.smk").read_text() == "rule b:\n"
    assert (folder / "Snakefile").stat().st_mtime_ns == before


def test_a_study_that_did_nothing_new_rewrites_nothing(root):
    def times():
        bundle.write(RESULTS, config, {"cells": "ab"}, runs, root)
        return {path: path.stat().st_mtime_ns for path in Path(RESULTS, "provenance").rglob("*") if path.is_file()}

    config, runs = record_study.config(), record_study.results()
    first = times()
    assert times() == first and len(first) > 10


def git_in(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_state_of_git_names_the_commit_and_what_differs_from_it(root):
    assert git.state(root) is None
    git_in(root, "init", "-q", "-b", "main")
    assert git.state(root) is None
    git_in(root, "add", ".")
    git_in(root, "commit", "-q", "-m", "first")
    git_in(root, "tag", "v1.0")
    git_in(root, "remote", "add", "origin", "https://me:secret@example.org/lab/phenoloom.git")
    state = git.state(root)
    assert state["commit"] == git_in(root, "rev-parse", "HEAD") and state["branch"] == "main"
    assert (state["describe"], state["dirty"], state["changed"]) == ("v1.0", False, [])
    assert state["remote"] == "https://example.org/lab/phenoloom.git"
    (root / "Snakefile").write_text("changed\n")
    (root / "workflow/rules/neu é.smk").write_text("")
    git_in(root, "checkout", "-q", "--detach")
    state = git.state(root)
    assert (state["describe"], state["dirty"], state["branch"]) == ("v1.0-dirty", True, None)
    assert state["changed"] == [" M Snakefile", '?? "workflow/rules/neu é.smk"']


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_folder_that_merely_lies_in_a_repository_is_no_checkout(root):
    git_in(root.parent, "init", "-q")
    assert git.state(root) is None


def test_without_git_there_is_no_state_of_it(root, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git.state(root) is None


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://me:secret@example.org/lab/x.git", "https://example.org/lab/x.git"),
        ("https://token@example.org:8443/x?key=1#a", "https://example.org:8443/x"),
        ("ssh://git@example.org/lab/x.git", "ssh://example.org/lab/x.git"),
        ("git@example.org:lab/x.git", "example.org:lab/x.git"),
        ("/home/me/x", None),
        ("file:///home/me/x", None),
        ("../x", None),
        (None, None),
    ],
)
def test_addresses_lose_credentials_and_folders_of_the_machine(address, kept):
    assert git.without_credentials(address) == kept


def measured(stem, seconds="3.5", memory="100.0", written=None):
    path = record_study.write(f"benchmarks/{stem}.tsv", f"{HEADER}{seconds}\t0:00:03\t{memory}\t1\t1\t1\t0\t0\t9\t2\n")
    if written:
        os.utime(path, (written, written))


def test_benchmark_tables_are_joined_with_rule_and_wildcards(root):
    measured("screen/cellprofiler/P~201/0001")
    measured("report", memory="-")
    measured("screen/dataset_summary")
    measured("ledger")
    record_study.write("benchmarks/broken.tsv", "no table\n")
    record_study.write("benchmarks/empty.tsv", "")
    record_study.write("benchmarks/screen/.cells.tsv.partial.tsv", HEADER)
    bundle.write(RESULTS, record_study.config(), {}, record_study.results(), root)
    found = {row["rule"]: row for row in rows(f"{RESULTS}/provenance/benchmarks.tsv")}
    assert list(found) == ["ledger", "report", "cellprofiler", "dataset_summary"]
    one = found["cellprofiler"]
    assert (one["dataset"], one["plate"], one["batch"]) == ("screen", "P 1", "0001")
    assert (one["s"], one["max_rss"], one["table"]) == (
        "3.5",
        "100.0",
        f"{RESULTS}/benchmarks/screen/cellprofiler/P~201/0001.tsv",
    )
    assert found["report"]["max_rss"] == ""


def test_without_benchmarks_there_is_a_header(root):
    bundle.write(RESULTS, record_study.config(), {}, record_study.results(), root)
    assert Path(RESULTS, "provenance/benchmarks.tsv").read_text().startswith("rule\tdataset\tplate")


def test_jobs_of_all_runs_have_a_row_each(root):
    bundle.write(RESULTS, record_study.config(), {}, record_study.results(), root)
    found = rows(f"{RESULTS}/provenance/jobs.tsv")
    assert [(row["run"][-1], row["job"], row["rule"], row["state"]) for row in found] == [
        ("1", "1", "cellprofiler", "finished"),
        ("1", "2", "cellprofiler", "failed"),
        ("1", "3", "report", "finished"),
        ("2", "1", "cellprofiler", "finished"),
        ("2", "2", "report", "finished"),
    ]
    one = found[1]
    assert (one["plate"], one["batch"], one["channel"]) == ("P 1", "0002", "")
    assert (one["threads"], one["mem_mb"], one["runtime"], one["gpu"]) == ("2", "400", "30", "")
    assert one["submitted"] == one["started"] == jobs.utc(START + 1) == "2026-05-28T20:26:41Z"
    assert one["finished"] == "2026-05-28T20:26:51Z" and one["slurm"] == ""
    assert one["log"] == f"{RESULTS}/logs/screen/cellprofiler/P~201/0002.log"


def row_of(run, *names):
    (found,) = jobs.rows_of_jobs([run], jobs.read_benchmarks(f"{RESULTS}/benchmarks"))
    return [found[name] for name in names]


def slurm_run(extra=(), **more):
    """A run in which one job was submitted to Slurm at START + 1 and finished at START + 11."""
    told = [{"event": "slurm_run", "name": "abc"}, {"event": "submitted", "jobid": "1", "slurm": "70"}, *extra]
    return read_run(events("20260101T000000Z-1", [cellprofiler(1, **more)], "finished", extra=told))


@pytest.mark.parametrize(
    ("written", "seconds", "started"),
    [
        (START + 9, "3.0", START + 6),
        (START + 9, "900", START + 1),  # clocks differ: not before it was submitted
        (START + 500, "3.0", None),  # of a later run
        (START - 500, "3.0", None),  # of an earlier one
        (START + 9, "NA", None),
    ],
)
def test_a_job_on_slurm_started_when_its_benchmark_says(root, written, seconds, started):
    measured("screen/cellprofiler/P~201/0001", seconds, written=written)
    assert row_of(slurm_run(), "started", "slurm") == [jobs.utc(started), "70"]


def test_a_job_on_slurm_without_a_benchmark_started_at_an_unknown_time(root):
    assert row_of(slurm_run(benchmark=None), "submitted", "started") == [jobs.utc(START + 1), ""]


def test_attempts_and_numbers_at_slurm_are_those_of_all_attempts(root):
    again = [{**cellprofiler(1), "time": START + 20}, {"event": "submitted", "jobid": "1", "slurm": "71"}]
    run = slurm_run(again)
    assert row_of(run, "attempts", "slurm", "submitted") == [2, "70 71", jobs.utc(START + 20)]


@pytest.mark.parametrize("status", ["stopped", "killed", None])
def test_a_job_that_was_left_is_neither_finished_nor_failed(root, status):
    run = read_run(events("20260101T000000Z-1", [], status, extra=[{**cellprofiler(1), "time": START}]))
    run.start["host"] = socket.gethostname()  # where its process is long gone
    assert row_of(run, "state", "finished") == ["stopped", ""]


def test_targets_by_name_are_no_jobs(root):
    run = read_run(events("20260101T000000Z-1", [job(1, "all", "all", [], log=[], benchmark=None)], "finished"))
    assert jobs.rows_of_jobs([run], {}) == []


def test_wildcards_that_the_workflow_does_not_know_are_columns_too():
    text = jobs.table([{"rule": "a", "fold": "1"}, {"rule": "b"}], ("rule", "s")).decode()
    assert list(csv.reader(io.StringIO(text), delimiter="\t")) == [["rule", "s", "fold"], ["a", "", "1"], ["b", "", ""]]


def finish(codes=None):
    events_file = record_study.folder_of_runs(RESULTS) / "20260102T000000Z-2.jsonl"
    ending.finish(RESULTS, events_file, record_study.config(), codes or {})


def test_the_end_of_a_run_leaves_everything(root, capsys):
    record_study.results()
    finish({"cells": "ab"})
    names = {path.name for path in Path(RESULTS, "provenance").iterdir()}
    assert names == {
        *("config.yaml", "versions.json", "code.json", "code", "runs"),
        *("benchmarks.tsv", "jobs.tsv", "failures.tsv"),
    }
    assert Path(RESULTS, "ro-crate-metadata.json").is_file()
    assert Path(RESULTS, "provenance/code/Snakefile").read_text() == (bundle.ROOT / "Snakefile").read_text()
    assert capsys.readouterr().err == ""


def test_the_end_of_a_failed_run_says_what_failed(root, capsys):
    record_study.results()
    path = events("20260102T000000Z-2", [cellprofiler(1)], "failed", failed=[1])
    ending.finish(RESULTS, path, record_study.config(), {})
    said = capsys.readouterr().err
    assert "1 job failed" in said and "warning" not in said
    assert [row["plate"] for row in rows(f"{RESULTS}/provenance/failures.tsv")] == ["P 1"]
    assert Path(RESULTS, "ro-crate-metadata.json").is_file()


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyError("x"), ModuleNotFoundError("No module named 'rocrate'")]
)
def test_a_record_that_cannot_be_written_is_one_warning(root, monkeypatch, capsys, error):
    def fail(*arguments):
        raise error

    record_study.results()
    monkeypatch.setattr(bundle, "write", fail)
    finish()
    said = capsys.readouterr().err
    assert said.startswith("warning: the study's provenance could not be written (") and len(said.splitlines()) == 1
    assert Path(RESULTS, "provenance/failures.tsv").is_file()


def test_a_run_that_ended_before_it_started_leaves_nothing(root):
    ending.finish(RESULTS, None, record_study.config(), {})
    assert not Path(RESULTS).exists()
