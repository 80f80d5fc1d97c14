"""What cannot go to a cluster is said before anything is submitted."""

import resource
import signal
from pathlib import Path

import pytest
import yaml

from fake_slurm import FakeSlurm
from phenoloom.core.errors import InputError
from phenoloom.slurm import checks, profile

LIMITS = ["max_runtime", "max_mem_mb", "max_threads", "max_cpus_per_task", "max_gpu", "available_gpu_models"]
OPTIONS = profile.Options(
    ["executor", "jobs", "cores", "retries", "default-resources", "set-resources", "latency-wait", "slurm-qos"]
    + ["slurm-partition-config", "slurm-status-command", "slurm-init-seconds-before-status-checks"],
    ["local", "dryrun", "slurm", "slurm-jobstep"],
    LIMITS,
)
SQUEUE = ["--slurm-status-command", "squeue"]
NODES = {"cpu": ["4000|4|(null)|idle|2"], "gpu": ["4000|4|gpu:a100:2|idle|1"]}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster with the partitions cpu (default) and gpu, without accounting, and an environment with the plugin."""
    fake = FakeSlurm(tmp_path / "slurm")
    fake.partitions(NODES, cpu={"default": "YES"})
    fake.config()
    monkeypatch.setenv("PATH", str(fake.folder))
    for name in ("SLURM_CONF", "SLURM_JOB_ID", "SNAKEMAKE_SLURM_PARTITIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(profile, "options", lambda: OPTIONS)
    return fake


class Site:
    """A profile on disk, and what checking it says."""

    def __init__(self, folder):
        self.folder = folder / "site"
        self.results = folder / "results"
        self.folder.mkdir()
        self.values = {
            "executor": "slurm",
            "slurm-partition-config": str(self.folder / "partitions.yaml"),
            "slurm-status-command": "squeue",
            "slurm-init-seconds-before-status-checks": 10,
        }
        self.partitions = {"cpu": {"max_runtime": 1440, "max_mem_mb": 4000, "max_threads": 4}}
        self.notes = []

    def check(self, gpu_rules=(), arguments=()):
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.values, sort_keys=False))
        partitions = yaml.safe_dump({"partitions": self.partitions}, sort_keys=False)
        (self.folder / "partitions.yaml").write_text(partitions)
        return checks.check(self.folder, self.results, gpu_rules, arguments, self.notes.append)

    def error(self, **more):
        with pytest.raises(InputError) as error:
            self.check(**more)
        return str(error.value)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_a_profile_that_fits_asks_for_nothing_more(slurm, site):
    assert site.check() == SQUEUE
    assert site.notes == []
    assert not site.results.exists()


def test_commands_that_are_missing_are_named(slurm, site):
    slurm.remove("sbatch")
    slurm.remove("squeue")
    assert "commands sbatch, squeue are not on the PATH" in site.error()


def test_a_controller_that_is_down_ends_the_checks_at_once(slurm, site):
    slurm.is_down()
    assert site.error().startswith("Slurm does not answer")
    assert len(slurm.calls("scontrol")) == 1


def test_misspelt_keys_are_named_with_the_nearest(slurm, site):
    site.values["slurm-statuscommand"] = "squeue"
    site.values["default-resource"] = {"mem_mb": 5}
    said = site.error()
    assert said.startswith("2 things must be mended:")
    assert "`slurm-statuscommand` is no option of Snakemake; did you mean `slurm-status-command`?" in said
    assert "did you mean `default-resources`?" in said


def test_a_misspelt_executor_is_found_without_a_cluster(site, monkeypatch, tmp_path):
    monkeypatch.setattr(profile, "options", lambda: OPTIONS)
    monkeypatch.setenv("PATH", str(tmp_path))
    site.values["executor"] = "slrum"
    assert "no executor `slrum`; did you mean `slurm`?" in site.error()
    site.values = {"exekutor": "slurm"}
    assert "did you mean `executor`?" in site.error()
    site.values = {"executor": "local", "jobs": 3}
    assert site.check() == []


def test_an_environment_without_the_plugin_is_told_how_to_get_it(slurm, site, monkeypatch):
    monkeypatch.setattr(profile, "options", lambda: profile.Options(["executor"], ["local"], None))
    assert "plugin for it (snakemake-executor-plugin-slurm) is not in this environment" in site.error()


@pytest.mark.parametrize(
    "text, said",
    [
        ("executor: [slurm", "is not YAML"),
        ("- slurm", "must hold lines `option: value`"),
        ("executor: slurm\nslurm-init-seconds-before-status-checks: soon\n", "must be a whole number, and is 'soon'"),
    ],
)
def test_a_profile_that_cannot_be_read(slurm, tmp_path, text, said):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        checks.check(path, tmp_path / "results")


def test_a_profile_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no profile"):
        checks.check(tmp_path / "nowhere", tmp_path)
    with pytest.raises(InputError, match=r"holds no config\.yaml"):
        checks.check(tmp_path, tmp_path)


def test_a_partition_that_does_not_exist(slurm, site):
    site.partitions["gpus"] = {"max_gpu": 1}
    said = site.error()
    assert said == f"{site.folder}/partitions.yaml: this cluster has no partition `gpus`; did you mean `gpu`?"
    site.partitions = {"batch": {}}
    assert site.error().endswith("no partition `batch`; there are cpu, gpu")
    site.partitions = {}
    site.values["default-resources"] = {"slurm_partition": "'batch'"}
    assert "config.yaml: this cluster has no partition `batch`" in site.error()


@pytest.mark.parametrize(
    "stated, said",
    [
        ({"max_mem_mb": 4001}, "states max_mem_mb: 4001, but has 4000 MB of memory per node"),
        ({"max_threads": 5}, "states max_threads: 5, but has 4 CPUs per node"),
        ({"max_gpu": 1}, "states max_gpu: 1, but has 0 GPUs per node"),
        ({"max_runtime": "1-00:01:00"}, "states max_runtime: 1-00:01:00, but stops jobs after 1440 minutes"),
        ({"max_runtime": "2d"}, "states max_runtime: 2d, but stops jobs after 1440 minutes"),
        ({"max_runtime": "soon"}, "must be minutes or a time such as 2-00:00:00, not 'soon'"),
        ({"max_mem_mb": "4G"}, "max_mem_mb of partition cpu must be a number, and is '4G'"),
        ({"max_memory_mb": 4}, "partition cpu has no limit `max_memory_mb`; did you mean `max_mem_mb`?"),
    ],
)
def test_limits_that_the_cluster_does_not_have(slurm, site, stated, said):
    site.partitions["cpu"] = stated
    assert said in site.error()


def test_a_partition_that_takes_no_jobs(slurm, site):
    slurm.partitions(NODES, cpu={"default": "YES", "state": "INACTIVE"})
    assert "partition cpu takes no jobs now (its state is INACTIVE)" in site.error()
    slurm.partitions({**NODES, "cpu": ["4000|4|(null)|drained|2"]}, cpu={"default": "YES"})
    assert site.check() == SQUEUE
    assert "partition cpu starts no jobs now" in site.notes[0]


def test_partitions_of_other_clusters_are_left_to_them(slurm, site):
    site.partitions["far"] = {"cluster": "other", "max_mem_mb": 10**9}
    assert site.check() == SQUEUE


def test_a_cluster_without_default_partition_must_be_told_one(slurm, site):
    slurm.partitions(NODES)
    del site.values["slurm-partition-config"]
    assert "names no partition and this cluster has no default one" in site.error()


@pytest.mark.parametrize("content", ["partitions: [cpu]", "cpu: {}", "partitions: {cpu: 3}", "a: ["])
def test_a_file_of_partitions_that_is_none(slurm, site, content):
    path = site.folder / "other.yaml"
    path.write_text(content)
    site.values["slurm-partition-config"] = "other.yaml"  # in the profile's folder
    assert str(path) in site.error()


def test_a_file_of_partitions_that_is_not_there(slurm, site):
    site.values["slurm-partition-config"] = "elsewhere.yaml"
    assert site.error() == "the file of partitions elsewhere.yaml cannot be read: No such file or directory"


def test_rules_that_want_a_gpu_where_there_is_none(slurm, site):
    assert "no partition in the file has one; add one of gpu with its max_gpu" in site.error(gpu_rules=["embed"])
    site.partitions["gpu"] = {"max_gpu": 2}
    assert site.check(gpu_rules=["embed"]) == SQUEUE
    slurm.partitions({"cpu": NODES["cpu"]}, cpu={"default": "YES"})
    del site.partitions["gpu"]
    assert "this cluster has none at all; where a rule can do without" in site.error(gpu_rules=["embed"])
    del site.values["slurm-partition-config"]
    assert "no partition of theirs has one" in site.error(gpu_rules=["embed"])
    site.values["set-resources"] = {"embed": {"gpu": 0}}
    assert site.check(gpu_rules=["embed"]) == SQUEUE
    assert "a GPU is wanted by train_dino and no partition" in site.error(gpu_rules=["embed", "train_dino"])


def test_a_gpu_model_belongs_to_the_rules_that_use_one(slurm, site):
    site.values["default-resources"] = {"gpu_model": "'a100'"}
    assert "makes every job ask for a GPU" in site.error()
    site.values["default-resources"] = {}
    site.values["set-resources"] = {"train": {"gpu_model": "h100"}}
    assert "rule train asks for the GPU model h100, and this cluster has a100" in site.error()
    site.values["set-resources"] = {"train": {"gpu_model": "a100"}}
    assert site.check() == SQUEUE


def test_an_account_or_quality_that_the_user_may_not_use(slurm, site):
    site.values |= {"default-resources": {"slurm_account": "'labb'"}, "slurm-qos": "urgent"}
    assert site.check() == SQUEUE  # the cluster does not tell
    slurm.answers("sacctmgr", "lab|normal,long\nguests|normal")
    said = site.error()
    assert "cannot charge the account `labb`; did you mean `lab`?" in said
    assert "may not ask for the QOS `urgent`; there are long, normal" in said
    site.values |= {"default-resources": {"slurm_account": "lab"}, "slurm-qos": "long"}
    assert site.check() == SQUEUE
    slurm.partitions(NODES, cpu={"default": "YES", "accounts": "guests"})
    assert "partition cpu takes no jobs of the account lab; there is guests" in site.error()


def test_arguments_go_before_the_profile(slurm, site):
    assert site.check(arguments=["all", "--executor", "local", "-n"]) == []
    slurm.answers("sacctmgr", "lab|normal")
    arguments = ["--default-resources", "mem_mb=5", "slurm_account=other", "--slurm-qos=normal"]
    assert "cannot charge the account `other`" in site.error(arguments=arguments)
    site.values["slurm-qos"] = "long"
    assert site.check(arguments=["--slurm-qos", "normal", "all"]) == SQUEUE


@pytest.mark.parametrize(
    "wanted, age, accounting, sacct, expected",
    [
        ("squeue", 300, False, True, "squeue"),
        ("squeue", 300, True, True, "squeue"),
        (None, 300, True, True, "squeue"),
        ("sacct", 300, True, True, "sacct"),
        ("sacct", 300, False, True, "squeue"),
        ("squeue", 120, True, True, "sacct"),
        ("sacct", 10, True, True, "sacct"),
        ("squeue", 60, False, True, "squeue --slurm-init-seconds-before-status-checks 20"),
        ("squeue", 60, False, False, "squeue"),
    ],
)
def test_how_the_state_of_jobs_is_asked_for(wanted, age, accounting, sacct, expected):
    found = checks.status_arguments(wanted, 40, age, accounting, sacct, lambda note: None)
    assert " ".join(found) == f"--slurm-status-command {expected}"


def test_a_cluster_on_which_nobody_could_see_how_jobs_end():
    with pytest.raises(InputError, match="keeps no accounts of ended jobs and its MinJobAge is 2 s"):
        checks.status_arguments("squeue", 40, 2, False, True)


def test_disabled_accounting_makes_the_run_ask_squeue(slurm, site):
    slurm.answers("sacct", "", errors="Slurm accounting storage is disabled", status=1)
    site.values["slurm-status-command"] = "sacct"
    assert site.check() == ["--slurm-status-command", "squeue"]
    slurm.config(age=20)
    assert site.check() == ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "6"]
    assert "Slurm forgets jobs 20 s after their end" in site.notes[0]


def test_a_folder_that_takes_no_files(slurm, site):
    site.results.parent.joinpath("results").write_text("a file where the folder should be")
    assert site.error() == (
        f"nothing can be written in {site.results} (Not a directory): make it writable, or run in a folder of yours"
    )


def test_a_quota_that_is_used_up(slurm, site):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        said = site.error()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert said == f"{site.results} cannot be written (File too large); make room and give the same command again"


def test_notices_on_where_the_run_is_started(slurm, site, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    assert site.check() == SQUEUE and site.notes == []
    monkeypatch.setenv("SLURM_CONF", "/opt/other/slurm.conf")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    slurm.answers("scontrol", "JobId=77 JobState=RUNNING EndTime=2026-11-21T03:57:08", when="'show job'*")
    assert site.check() == SQUEUE
    assert site.notes[0].startswith("SLURM_CONF=/opt/other/slurm.conf does not reach the jobs")
    assert "itself in job 77: it stops when that job ends at 2026-11-21 03:57:08" in site.notes[1]


def test_snakemake_itself_lists_its_options():
    found = profile.options()
    assert {"executor", "jobs", "set-resources", "keep-going", "workflow-profile"} <= set(found.names)
    assert "local" in found.executors


def test_slow_plugins_are_no_hang(monkeypatch):
    monkeypatch.setattr(profile, "TIMEOUT", 0.01)
    with pytest.raises(InputError, match="did not load within"):
        profile.options()


def test_every_key_of_the_profile_that_ships_is_known():
    """Those of the plugin are checked where it is installed, by tests/cluster."""
    shipped = profile.read(Path(__file__).resolve().parents[2] / "profiles" / "slurm")
    known = profile.options().names
    assert [key for key in shipped.values if key not in known and not key.startswith("slurm-")] == []
