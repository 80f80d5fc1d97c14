"""What a run on Slurm survives: each disturbance, the command that goes on, and tables as if nothing had happened.

Each test says whether the run goes on by itself, or after the same command was given again. What an earlier job
finished is never done again. The time that each took to recover is printed at the end of the tests.
"""

import re
import subprocess
import time
from datetime import datetime

import pytest
from slurm_study import TARGETS, numbers

pytestmark = pytest.mark.slow

NO_ROOM = re.compile(r"cannot be written \(No space left on device\); make room and give the same command again")
PACE = "PHENOLOOM_TEST_STEP_SECONDS"


def test_a_killed_head_the_same_command_cancels_its_jobs_and_goes_on(study, undisturbed, cluster):
    # Two at a time: the training goes on while the plates come one after the other.
    study.site(jobs=2, prioritize=[TARGETS[-1]])
    head = study.submit(*TARGETS, **{PACE: "5"})
    head.waits_for(lambda: head.finished("cellprofiler"), 600, "a job of cellprofiler has finished")
    orphan = head.running("train_stand_in")["id"]
    at = head.kill()
    first = head.run()
    second = study.submit(*TARGETS).finish()

    assert cluster.show_job(orphan)["JobState"] == "CANCELLED"
    ends = [_time(cluster.show_job(number)["EndTime"]) for number in numbers(first)]
    begins = [_time(cluster.show_job(number)["SubmitTime"]) for number in numbers(second)]
    assert max(ends) <= min(begins)
    assert study.starts()[0] == 0 < study.starts()[-1] < 40
    assert_as_if_undisturbed(study, undisturbed)
    study.measured("kill -9 of the head", at, "train_stand_in")


def test_a_killed_job_is_tried_again(study, undisturbed, cluster):
    head = study.submit(*TARGETS)
    victim = head.running("cellprofiler")["id"]
    at = time.time()
    cluster.kill_job(victim)
    run = head.finish()

    assert cluster.show_job(victim)["JobState"] in ("FAILED", "CANCELLED")
    assert_tried_again(run, victim)
    assert_as_if_undisturbed(study, undisturbed)
    study.measured("kill -9 of a job", at, "cellprofiler")


def test_jobs_of_a_failed_node_are_done_by_another(study, undisturbed, cluster):
    head = study.submit(*TARGETS)
    lost = head.running("cellprofiler")
    at = time.time()
    cluster.fail_node(lost["node"])
    try:
        run = head.finish()
    finally:
        cluster.start_node(lost["node"])
    after = cluster.show_job(lost["id"])

    assert (after["JobState"], after["Restarts"]) == ("COMPLETED", "1")
    assert after["BatchHost"] != lost["node"]
    assert run.failed() == []
    assert_as_if_undisturbed(study, undisturbed)
    study.measured(f"slurmd and jobs of node {lost['node']} killed", at, "cellprofiler")
    cluster.wait_for(lambda: cluster.states()[lost["node"]] == "idle", 60, "the node is back")


def test_a_job_cancelled_at_every_attempt_is_named_and_the_same_command_goes_on(study, undisturbed, cluster):
    head = study.submit(*TARGETS)
    cancelled, at = [], time.time()
    for _ in range(3):
        victim = head.running("cellprofiler_wildcards_screen_two")
        cancelled.append(victim["id"])
        at = time.time()
        subprocess.run(["scancel", victim["id"]], check=True)
    assert head.wait() != 0
    run = head.run()
    [failed] = run.failed()
    assert run.jobs[failed]["rule"] == "cellprofiler"
    assert run.slurm_jobs[failed] == cancelled
    assert "(3 attempts): it was cancelled" in head.said()
    assert "the same command" in head.said()

    study.submit(*TARGETS).finish()
    assert_as_if_undisturbed(study, undisturbed)
    study.measured("scancel of a job at all three attempts", at, "cellprofiler")


def test_training_that_meets_its_time_limit_goes_on_from_its_checkpoint(study, undisturbed, cluster):
    # One minute at the first attempt, two at the second: 100 s of work do not fit the first.
    head = study.submit(*TARGETS, **{PACE: "2.5"})
    first = head.running("train_stand_in")["id"]
    run = head.finish()

    limited = cluster.show_job(first)
    assert (limited["JobState"], limited["TimeLimit"]) == ("TIMEOUT", "00:01:00")
    second = cluster.show_job(assert_tried_again(run, first))
    assert (second["JobState"], second["TimeLimit"]) == ("COMPLETED", "00:02:00")
    assert study.starts()[0] == 0 < 15 < study.starts()[1]
    assert_as_if_undisturbed(study, undisturbed)
    study.measured("time limit during training", _time(limited["EndTime"]), "train_stand_in")


def test_a_full_disk_is_named_and_the_same_command_goes_on_when_there_is_room(study, disk, undisturbed, cluster):
    disk.leave_free(kilobytes=20)
    head = study.submit(*TARGETS)
    assert head.wait() != 0
    assert NO_ROOM.search(head.said()), head.said()[-6000:]

    disk.make_room()
    head = study.submit(*TARGETS)
    head.running("cellprofiler")
    disk.leave_free(kilobytes=100)
    assert head.wait() != 0
    assert "cellprofiler" in {head.run().jobs[job]["rule"] for job in head.run().failed()}
    assert NO_ROOM.search(head.said()), head.said()[-6000:]

    at = time.time()
    disk.make_room()
    study.submit(*TARGETS).finish()
    assert_as_if_undisturbed(study, undisturbed)
    study.measured("full disk, from when there was room", at, "cellprofiler")


def test_a_job_that_takes_more_memory_than_it_asked_for_is_tried_with_more(study, undisturbed, cluster):
    # Less than Snakemake and CellProfiler take together; the second attempt asks for enough.
    study.site(set_resources={"cellprofiler": {"mem_mb": "400 if attempt == 1 else 2000"}})
    head = study.submit(*TARGETS)
    run = head.finish()

    tried_twice = {job: tries for job, tries in run.slurm_jobs.items() if len(tries) > 1}
    assert {run.jobs[job]["rule"] for job in tried_twice} == {"cellprofiler"}
    for tries in tried_twice.values():
        killed, done = map(cluster.show_job, tries)
        assert killed["JobState"] in ("OUT_OF_MEMORY", "FAILED")
        assert (killed["MinMemoryNode"], done["MinMemoryNode"]) == ("400M", "2000M")
        assert done["JobState"] == "COMPLETED"
    assert_as_if_undisturbed(study, undisturbed)
    at = min(_time(cluster.show_job(tries[0])["EndTime"]) for tries in tried_twice.values())
    study.measured("memory kill", at, "cellprofiler")


def test_light_jobs_that_share_a_job_of_slurm_give_the_same_tables(study, undisturbed, cluster):
    study.site(groups=["aggregate=aggregate"], group_components=["aggregate=10"])
    head = study.submit(*TARGETS)
    run = head.finish()
    shared = [numbers for job, numbers in run.slurm_jobs.items() if run.jobs[job]["rule"] == "aggregate"]
    assert len(shared) == 2
    assert shared[0] == shared[1]
    assert_as_if_undisturbed(study, undisturbed)


def assert_tried_again(run, slurm):
    """Assert that the job with this number in Slurm was submitted twice and is finished; return the second number."""
    [(job, numbers)] = [(job, numbers) for job, numbers in run.slurm_jobs.items() if slurm in numbers]
    assert numbers[0] == slurm
    assert len(numbers) == 2
    assert job in run.finished
    return numbers[1]


def assert_as_if_undisturbed(study, undisturbed):
    """Assert that all tables have the bytes of a run that was never disturbed, and that nothing was done twice."""
    wanted, made = undisturbed.tables(), study.tables()
    assert sorted(made) == sorted(wanted)
    assert [name for name in wanted if made[name] != wanted[name]] == []
    assert study.done_twice() == []


def _time(text):
    """Seconds since 1970 of a time as Slurm prints it."""
    return datetime.fromisoformat(text).timestamp()
