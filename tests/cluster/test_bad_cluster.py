"""What a cluster cannot do is said in one sentence, before anything is submitted or while it waits; nothing hangs."""

import signal
import subprocess

import pytest
import yaml
from slurm_study import Study, numbers

#: Seconds within which a run that cannot go must have ended.
PATIENCE = 120


@pytest.fixture
def fresh(cluster, plugin, tmp_path):
    """The small study before its first run."""
    return Study.make(tmp_path / "work", plugin)


def partitions(study, **named):
    """Write the file of partitions."""
    text = yaml.safe_dump({"partitions": named}, sort_keys=False)
    (study.folder / "profiles/test/partitions.yaml").write_text(text)


def refusal(study, **environment):
    """The one sentence with which a run ends that cannot go to the cluster."""
    head = study.submit("ingest", **environment)
    assert head.wait(PATIENCE) == 1
    errors = [line for line in head.said().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, head.said()
    assert "Traceback" not in head.said()
    assert head.run() is None
    return errors[0]


def test_a_partition_that_does_not_exist(fresh):
    partitions(fresh, cpu={}, cpux={})
    assert refusal(fresh) == (
        "error: profiles/test/partitions.yaml: this cluster has no partition `cpux`; did you mean `cpu`?"
    )


def test_a_gpu_where_there_is_none(fresh):
    partitions(fresh, cpu={"max_gpu": 1})
    assert refusal(fresh).endswith("partition cpu states max_gpu: 1, but has 0 GPUs per node")


def test_limits_beyond_the_partitions(fresh):
    partitions(fresh, cpu={"max_runtime": "2-00:00:00"})
    assert refusal(fresh).endswith("partition cpu states max_runtime: 2-00:00:00, but stops jobs after 240 minutes")


def test_a_misspelt_key(fresh):
    fresh.site(slurm_statuscommand="squeue")
    assert refusal(fresh).endswith("is no option of Snakemake; did you mean `slurm-status-command`?")


def test_a_controller_that_does_not_answer(fresh, tmp_path):
    configuration = tmp_path / "slurm.conf"
    configuration.write_text("ClusterName=gone\nSlurmctldHost=localhost\nSlurmctldPort=1\n")
    assert refusal(fresh, SLURM_CONF=str(configuration)).startswith("error: Slurm does not answer (Unable to contact")


def test_sacct_without_accounting_is_not_asked(fresh, cluster):
    """The profile asks for sacct, which would wait for ever; the run asks squeue."""
    fresh.site(slurm_status_command="sacct")
    head = fresh.submit("ingest")
    head.finish()


def test_a_job_that_can_never_start_is_said_with_the_reason(fresh, cluster):
    partitions(fresh, cpu={"max_mem_mb": 6000})
    limit = ["scontrol", "update", "PartitionName=cpu"]
    subprocess.run([*limit, "MaxTime=1"], check=True)
    try:
        head = fresh.submit("ingest")
        head.waits_for(
            lambda: "since they ask for more time than their partition gives" in head.said(), 180, "its word"
        )
        head.process.send_signal(signal.SIGINT)
        for child in cluster.psutil.Process(head.process.pid).children():
            child.send_signal(signal.SIGINT)
        head.wait(PATIENCE)
        assert head.said().count("(PartitionTimeLimit)") == 1
        cluster.wait_for(lambda: not cluster.jobs(), 60, "its jobs are cancelled")
    finally:
        subprocess.run([*limit, "MaxTime=240"], check=True)


@pytest.mark.slow
def test_a_job_that_slurm_forgot_ends_the_run(fresh, cluster):
    """A job under another name is to Snakemake one that is gone: it would wait for ever."""
    head = fresh.submit("ingest")
    number = head.waits_for(lambda: next(iter(numbers(head.run())), None) if head.run() else None, 120, "it submits")
    subprocess.run(["scontrol", "update", f"JobId={number}", "JobName=lost"], check=True)
    subprocess.run(["scancel", number], check=True)
    assert head.wait(300) != 0
    assert "1 Slurm job is gone without an end that Snakemake can see" in head.said()
    assert f"{number} (rule layout)" in head.said()
    fresh.submit("ingest").finish()
