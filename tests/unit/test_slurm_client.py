"""Slurm's commands as functions, with stand-ins that print what real versions print."""

import pytest

from fake_slurm import DOWN, JOB, FakeSlurm
from phenoloom.core.errors import InputError
from phenoloom.slurm import client


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", str(fake.folder))
    monkeypatch.setattr(client, "INTERVAL", 0.01)
    return fake


def test_what_is_missing_is_named(slurm):
    assert client.available()
    slurm.remove("scancel")
    slurm.remove("sinfo")
    assert client.missing() == ["scancel", "sinfo"]
    with pytest.raises(InputError, match=r"command scancel is not on the PATH.*login node"):
        client.cancel([1])


def test_jobs_of_a_run_are_those_with_its_name(slurm):
    slurm.answers("squeue", "56|PENDING|PartitionTimeLimit\n53|RUNNING|None\n57|COMPLETING|None\n")
    assert client.jobs_named(["b", "a"]) == {"56": "PENDING", "53": "RUNNING", "57": "COMPLETING"}
    assert slurm.calls("squeue") == ["--me -h -o %i|%T|%r --name=a,b"]
    assert client.jobs_named([]) == {}


def test_reasons_with_blanks_and_commas_stay_whole(slurm):
    long = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"
    slurm.answers("squeue", f"74|PENDING|{long}\n")
    assert client.queue_named(["a"]) == {"74": ("PENDING", long)}


def test_a_users_own_defaults_for_the_commands_do_not_count(slurm, monkeypatch):
    slurm.answers("squeue", "")
    (slurm.folder / "squeue").write_text('#!/bin/sh\necho "1|${SQUEUE_STATES:-RUNNING}|None"\n')
    monkeypatch.setenv("SQUEUE_STATES", "FAILED")
    assert client.jobs_named(["a"]) == {"1": "RUNNING"}


def test_a_controller_that_is_down_is_one_sentence(slurm):
    slurm.is_down()
    for ask in (lambda: client.jobs_named(["a"]), client.partitions, lambda: client.details(1), client.min_job_age):
        with pytest.raises(InputError, match=r"^Slurm does not answer \(Unable to contact slurm controller") as error:
            ask()
        assert "\n" not in str(error.value)
    slurm.answers("scancel", "", errors=f"scancel: error: Kill job error on job id 7: {DOWN.split(': ')[1]}", status=8)
    with pytest.raises(InputError, match=r"^Slurm does not answer \(Unable to contact"):
        client.cancel(["7"])


def test_a_command_that_hangs_is_stopped_with_all_that_it_started(slurm, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT", 0.5)
    slurm.answers("squeue", "1|RUNNING|None", seconds=30)
    with pytest.raises(InputError, match=r"does not answer: squeue gave nothing for 0.5 s"):
        client.jobs_named(["a"])


def test_a_host_without_configuration_is_no_login_node(slurm):
    said = (
        "squeue: error: fetch_config: DNS SRV lookup failed\nsqueue: fatal: Could not establish a configuration source"
    )
    slurm.answers("squeue", "", errors=said, status=1)
    with pytest.raises(InputError, match=r"no cluster's configuration \(slurm.conf\)"):
        client.jobs_named(["a"])


def test_other_errors_are_told_in_slurms_words(slurm):
    slurm.answers("squeue", "", errors="squeue: error: Invalid user: nobody", status=1)
    with pytest.raises(InputError, match=r"^Slurm's command squeue failed: Invalid user: nobody$"):
        client.jobs_named(["a"])


def test_cancelling_many_takes_several_calls_and_passes_over_ended_jobs(slurm, monkeypatch):
    monkeypatch.setattr(client, "CHUNK", 2)
    ended = "scancel: error: Kill job error on job id 3: Invalid job id specified"
    slurm.answers("scancel", "", errors=ended, status=1, when="3*")
    client.cancel(["1", "2", "3"])
    assert slurm.calls("scancel") == ["1 2", "3"]
    denied = "scancel: error: Kill job error on job id 1: Access/permission denied"
    slurm.answers("scancel", "", errors=denied, status=1)
    with pytest.raises(InputError, match=r"^Slurm's command scancel failed: Access/permission denied$"):
        client.cancel(["1"])


def test_waiting_ends_when_the_jobs_are_gone_and_tells_which_are_not(slurm):
    slurm.answers("squeue", "8|COMPLETING|None\n9|RUNNING|None")
    assert client.wait_until_gone(["7"], 100) == set()
    assert client.wait_until_gone(["7", "8"], 0.05) == {"8"}


def test_details_of_a_job_that_slurm_remembers(slurm):
    slurm.answers("scontrol", JOB)
    found = client.details(61)
    assert found["JobState"] == "FAILED" and found["Reason"] == "NonZeroExitCode" and found["ExitCode"] == "1:0"
    assert found["WorkDir"] == "/data/my study"
    assert found["TRES"] == "cpu=1,mem=400M,node=1,billing=1"
    assert found["Power"] == "" and found["TresPerNode"] == "gres:gpu:1"


def test_details_of_a_forgotten_job_come_from_the_accounts(slurm):
    slurm.answers("scontrol", "", errors="slurm_load_jobs error: Invalid job id specified", status=1)
    assert client.details(61) == {}  # no sacct here
    slurm.answers(
        "sacct",
        "61|9c62d3c8|CANCELLED by 0|None|0:0|cpu|cn1|2026-11-21T02:57:08|2026-11-21T02:57:09|2026-11-21T02:58:09|\n"
        "61.batch|batch|CANCELLED||0:15||cn1|2026-11-21T02:57:09|2026-11-21T02:57:09|2026-11-21T02:58:10|12.50M\n"
        "61.0|snakemake|CANCELLED||0:15||cn1|2026-11-21T02:57:09|2026-11-21T02:57:09|2026-11-21T02:58:10|251.25M\n",
    )
    found = client.details(61)
    assert found["JobState"] == "CANCELLED" and found["NodeList"] == "cn1" and found["MaxRSS"] == "251.25M"
    slurm.answers("sacct", "", errors="Slurm accounting storage is disabled", status=1)
    assert client.details(61) == {}


def test_partitions_with_their_limits(slurm):
    slurm.partitions(
        {
            "cpu": ["4000|4|(null)|idle|2", "8000+|16+|(null)|mixed-|1", "9000|64|(null)|down*|1"],
            "gpu": ["4000|4|gpu:a100:4(S:0-1),nvme:1|allocated|1", "4000|4|gpu:2|idle*|3", "4000|4|gpu|idle~|1"],
            "shut": [],
        },
        cpu={"default": "YES", "time": "UNLIMITED", "cpus": "32", "memory": "6000"},
        gpu={"time": "2-12:00:00", "accounts": "lab,guests", "more": "MaxCPUsPerSocket=UNLIMITED "},
        shut={"state": "INACTIVE", "time": "30:00"},
    )
    found = client.partitions()
    assert found["cpu"] == {
        "max_minutes": None,
        "memory_mb": 6000,
        "cpus": 32,
        "gpus": 0,
        "gpu_models": set(),
        "state": "UP",
        "default": True,
        "accounts": None,
        "nodes": 3,
    }
    assert found["gpu"]["max_minutes"] == 3600
    assert (found["gpu"]["gpus"], found["gpu"]["gpu_models"], found["gpu"]["nodes"]) == (4, {"a100"}, 2)
    assert found["gpu"]["accounts"] == {"lab", "guests"}
    assert (found["shut"]["state"], found["shut"]["max_minutes"], found["shut"]["nodes"]) == ("INACTIVE", 30, 0)


@pytest.mark.parametrize(
    "text, minutes",
    [("1-00:00:00", 1440), ("01:30:00", 90), ("30:00", 30), ("7-12", 10800), ("90", 90), ("UNLIMITED", None)],
)
def test_times_as_slurm_writes_them(text, minutes):
    assert client.minutes(text) == minutes


@pytest.mark.parametrize("accounting", ["accounting_storage/none", "(null)"])
def test_a_cluster_without_accounts(slurm, accounting):
    slurm.config(accounting)
    slurm.answers("sacct", "", errors="Slurm accounting storage is disabled", status=1)
    assert not client.accounting()
    assert slurm.calls("sacct") == []


def test_a_cluster_with_accounts_keeps_them_when_sacct_answers(slurm, monkeypatch):
    slurm.config("accounting_storage/slurmdbd", age=120)
    assert client.min_job_age() == 120
    assert not client.accounting()  # the command is not there
    slurm.answers("sacct", "")
    assert client.accounting()
    monkeypatch.setattr(client, "TIMEOUT", 0.5)
    slurm.answers("sacct", "", seconds=30)
    assert not client.accounting()


def test_what_a_user_may_charge(slurm):
    assert client.associations() is None
    slurm.answers("sacctmgr", "lab|normal,long\nguests|normal\n")
    assert client.associations() == [("lab", {"normal", "long"}), ("guests", {"normal"})]
    slurm.answers("sacctmgr", "", errors="You are not running a supported accounting_storage plugin", status=1)
    assert client.associations() is None


def test_states_of_ended_jobs_as_either_command_tells_them(slurm):
    slurm.answers("squeue", "5|COMPLETED|None\n6|RUNNING|None", when="*--states=all*")
    assert client.states_named(["a"]) == {"5": "COMPLETED", "6": "RUNNING"}
    slurm.answers("sacct", "5|CANCELLED by 0\n6|RUNNING\n")
    assert client.states_named(["a"], "sacct") == {"5": "CANCELLED by 0", "6": "RUNNING"}
