"""A Slurm on this machine and the small study, as fixtures."""

import shutil
import subprocess
from pathlib import Path

import one_host
import pytest
from slurm_study import HERE, MEASURED, ROOT, TARGETS, Disk, Study

import finished_study


def pytest_collection_modifyitems(items):
    """All tests here need Slurm, CellProfiler and minutes: `make test-slurm` and `make test-full` run them."""
    for item in items:
        if HERE in Path(item.path).parents:
            for mark in (pytest.mark.cluster, *finished_study.needs_cellprofiler):
                item.add_marker(mark)


def pytest_terminal_summary(terminalreporter):
    """Print what the tests measured; times are never asserted."""
    for line in MEASURED:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def cluster():
    """The module one_host with its cluster up; skips with the reason where there can be none."""
    try:
        one_host.up()
    except one_host.Unavailable as reason:
        pytest.skip(str(reason))
    yield one_host
    one_host.down()
    assert not [name for name in one_host.FILES if (one_host.ETC / name).exists()]


@pytest.fixture(scope="session")
def plugin():
    """Folder of the packages of Snakemake's Slurm plugin."""
    build = ["sh", str(ROOT / "workflow/envs/build.sh"), "slurm"]
    done = subprocess.run(build, capture_output=True, text=True, check=True)
    return Path(done.stdout.split("\n")[-2]) / "lib/python3.11/site-packages"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The study after a whole run on this machine, without Slurm: what all runs on Slurm must equal."""
    study = Study.make(tmp_path_factory.mktemp("undisturbed") / "work")
    study.here(*TARGETS)
    return study


@pytest.fixture(scope="session")
def illuminated(tmp_path_factory):
    """The study up to its illumination functions, made on this machine. To be copied before it goes on."""
    study = Study.make(tmp_path_factory.mktemp("illuminated") / "work")
    study.here(*(f"results/tiny/screen/illumination/{plate}.ledger.parquet" for plate in finished_study.PLATES))
    return study


@pytest.fixture
def study(illuminated, plugin, tmp_path):
    """A copy of `illuminated`: CellProfiler, training and all after them are still to be done."""
    shutil.copytree(illuminated.folder, tmp_path / "work", symlinks=True)
    return Study(tmp_path / "work", plugin)


@pytest.fixture
def disk(study):
    """The Disk on which the results of `study` lie."""
    disk = Disk(study.folder / "results")
    try:
        disk.mount()
    except RuntimeError as reason:
        pytest.skip(f"no disk can be mounted for the test: {reason}")
    yield disk
    disk.unmount()
