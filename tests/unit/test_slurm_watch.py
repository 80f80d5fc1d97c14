"""While jobs wait in Slurm's queue, their user is told of what never comes, once."""

import threading

import pytest

from fake_slurm import DOWN, FakeSlurm
from phenoloom.record.events import Run
from phenoloom.slurm import client, watch

DOWN_NODES = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", str(fake.folder))
    return fake


class Watched:
    """A run with some Slurm jobs, and what its Watch says."""

    def __init__(self, numbers, **more):
        self.run, self.said = Run(None, slurm_names=["9c62"]), []
        for number in numbers:
            self.take("job", number, rule="embed")
            self.take("submitted", number, slurm=number)
        self.watch = watch.Watch(lambda: self.run, self.said.append, **more)

    def take(self, event, job, **more):
        """Add an event of the job that was first submitted with this number."""
        self.run.take({"event": event, "jobid": f"job{job}", **more})

    def look(self, now):
        """What is said at this second; with whether the run will never end."""
        before = len(self.said)
        never = self.watch.look(now)
        return self.said[before:], never


@pytest.mark.parametrize("reason", ["Priority", "Resources", "None", "Dependency", "BeginTime", "JobArrayTaskLimit"])
def test_usual_reasons_need_no_words(reason):
    assert watch.explain(reason) is None


@pytest.mark.parametrize(
    "reason, never, said",
    [
        ("PartitionTimeLimit", True, "more time than their partition"),
        ("PartitionConfig", True, "their partition has no node"),
        ("BadConstraints", True, "no node has"),
        ("AssocMaxWallDurationPerJobLimit", True, "more than a job of this account or QOS may"),
        ("QOSMaxCpuPerJobLimit", True, "more than a job of this account or QOS may"),
        ("InvalidQOS", True, "does not take this QOS"),
        ("JobHeldAdmin", True, "held"),
        ("launch failed requeued held", True, "could not be started"),
        ("ReqNodeNotAvail, UnavailableNodes:cn[1-2]", False, "down, drained or reserved"),
        ("ReqNodeNotAvail, Reserved for maintenance", False, "maintenance"),
        (DOWN_NODES, False, "down, drained or reserved"),
        ("PartitionDown", False, "out of use"),
        ("AssocGrpCpuLimit", False, "all that it may have at once"),
        ("QOSGrpGRES", False, "all that it may have at once"),
        ("QOSMaxJobsPerUserLimit", False, "as many jobs or CPUs as you may have"),
        ("AssocMaxJobsLimit", False, "as many jobs or CPUs as you may have"),
        ("MaxCpuPerAccount", False, "all that it may have at once"),
        ("AssocGrpCPURunMinutesLimit", False, "used up its budget of time"),
        ("AssocMaxCpuPerNode", True, "more than a job of this account or QOS may"),
    ],
)
def test_reasons_out_of_the_usual_are_explained(reason, never, said):
    found = watch.explain(reason)
    assert found[0] is never
    assert said in found[1]


def test_one_sentence_for_each_reason(slurm):
    slurm.answers(
        "squeue",
        "\n".join(
            ["9|PENDING|PartitionTimeLimit", "10|PENDING|PartitionTimeLimit", "11|PENDING|Priority", "12|RUNNING|None"]
            + [f"{number}|PENDING|{DOWN_NODES}" for number in range(13, 18)]
        ),
    )
    first, second = sorted(watch.waiting(["9c62"]))
    assert first.startswith("2 Slurm jobs wait, since they ask for more time than their partition gives")
    assert "(PartitionTimeLimit): 9, 10; state its max_runtime" in first
    assert "5 Slurm jobs wait" in second and ": 13, 14, 15 and 2 others; `sinfo -R`" in second


def test_what_never_starts_is_said_at_once_and_once(slurm):
    watched = Watched(["9"])
    slurm.answers("squeue", "9|PENDING|PartitionTimeLimit")
    said, never = watched.look(0)
    assert len(said) == 1 and "1 Slurm job waits" in said[0] and "9 (rule embed)" in said[0]
    assert not never
    assert watched.look(45)[0] == [] and watched.look(90)[0] == []


def test_what_may_start_later_is_said_when_it_lasts(slurm):
    watched = Watched(["9"])
    slurm.answers("squeue", "9|PENDING|AssocGrpCpuLimit")
    assert watched.look(0)[0] == []
    assert "all that it may have at once" in watched.look(45)[0][0]
    assert watched.look(90)[0] == []


def test_a_job_that_is_gone_is_named_with_the_command_that_continues(slurm):
    watched = Watched(["9", "10"], again="make run STUDY='mine.yaml'")
    slurm.answers("squeue", "10|RUNNING|None")
    assert watched.look(0)[0] == [] and watched.look(watch.GIVEN_UP - 1)[0] == []
    said, never = watched.look(watch.GIVEN_UP)
    assert "1 Slurm job is gone" in said[0] and "9 (rule embed)" in said[0]
    assert "stop the run with Ctrl-C when the other jobs are done" in said[0]
    assert said[0].endswith("and make run STUDY='mine.yaml' continues it")
    assert not never
    assert watched.look(watch.GIVEN_UP + 45)[0] == []


def test_a_run_that_waits_for_nothing_else_never_ends(slurm):
    watched = Watched(["9", "10"])
    watched.take("finished", 10)
    assert watched.look(0) == ([], False)
    assert watched.look(watch.GIVEN_UP)[1]
    watched.take("job", "here", rule="report")
    assert not watched.look(watch.GIVEN_UP + 45)[1]


def test_a_job_that_comes_back_was_not_gone(slurm):
    watched = Watched(["9"])
    watched.look(0)
    slurm.answers("squeue", "9|PENDING|BeginTime")
    watched.look(60)
    slurm.answers("squeue", "")
    assert watched.look(watch.GIVEN_UP + 10)[0] == []


def test_an_end_that_snakemake_will_see_is_left_to_it(slurm):
    watched = Watched(["9"])
    slurm.answers("squeue", "9|COMPLETED|None", when="*--states=all*")
    watched.look(0)
    assert watched.look(watch.GIVEN_UP + 60)[0] == []
    assert len(watched.look(watch.OVERDUE)[0]) == 1


@pytest.mark.parametrize("state, gone", [("CANCELLED by 0", True), ("PREEMPTED", True), ("RUNNING", False)])
def test_what_sacct_says_as_snakemake_reads_it(slurm, state, gone):
    watched = Watched(["9"], status_command="sacct")
    slurm.answers("sacct", f"9|{state}")
    watched.look(0)
    assert bool(watched.look(watch.GIVEN_UP)[0]) == gone


def test_failed_and_repeated_jobs_are_not_gone(slurm):
    watched = Watched(["9", "10", "11"])
    for number in ("9", "10", "11"):
        watched.take("error", number, slurm=number)
    watched.take("job", "10", rule="embed")
    watched.take("job", "11", rule="embed")
    watched.take("submitted", "10", slurm="12")
    assert watch.open_jobs(watched.run) == {"12"}
    assert watch.elsewhere(watched.run)  # the second attempt of 11 is being submitted
    watched.take("submitted", "11", slurm="13")
    assert watch.open_jobs(watched.run) == {"12", "13"}
    assert not watch.elsewhere(watched.run)


def test_groups_are_left_out(slurm):
    watched = Watched([])
    watched.take("submitted", "group", slurm="9")
    assert watch.open_jobs(watched.run) == set()


def test_a_cluster_that_stops_answering_is_said_once_and_again_after_it_came_back(slurm):
    watched = Watched(["9"])
    slurm.answers("squeue", "", errors=DOWN, status=1)
    assert watched.look(0)[0] == []
    assert "Slurm does not answer" in watched.look(45)[0][0]
    assert watched.look(90)[0] == []
    slurm.answers("squeue", "9|RUNNING|None")
    assert watched.look(135)[0] == []
    slurm.answers("squeue", "", errors=DOWN, status=1)
    assert watched.look(180)[0] == [] and len(watched.look(225)[0]) == 1


def test_a_run_without_slurm_asks_nothing(slurm):
    watched = Watched([])
    watched.run.slurm_names = []
    assert watched.look(0) == ([], False)
    assert slurm.calls("squeue") == []
    assert watch.Watch(lambda: None, print).look() is False


def test_the_thread_speaks_while_the_block_lasts_and_ends_a_hopeless_run(slurm, monkeypatch):
    monkeypatch.setattr(watch, "GIVEN_UP", 0)
    watched, ended = Watched(["9"]), threading.Event()
    with watch.watching(lambda: watched.run, watched.said.append, hopeless=ended.set, interval=0.01):
        assert ended.wait(30)
    assert len(watched.said) == 1 and "the run will be stopped when the other jobs are done" in watched.said[0]


def test_many_names_are_asked_in_pieces(slurm, monkeypatch):
    monkeypatch.setattr(client, "CHUNK", 1)
    slurm.answers("squeue", "9|PENDING|BadConstraints", when="*name=a")
    assert len(watch.waiting(["a", "b"])) == 1
    assert len(slurm.calls("squeue")) == 2
