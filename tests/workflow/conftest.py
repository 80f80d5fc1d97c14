"""Run the real Snakefile in a scratch folder, so that tests leave the checkout alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import finished_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def snakemake():
    """Return run(folder, *arguments): Snakemake on this checkout with `folder` as working directory.

    The folder gets links to what a checkout's root holds, so that relative paths of the studies resolve.
    """

    def run(folder, *arguments, check=True, timeout=1800):
        for name in ("config", "resources", "profiles", "workflow"):
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
        command += map(str, arguments)
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The tiny study after a whole run, in a checkout of its own. To be copied before anything in it is changed."""
    folder = tmp_path_factory.mktemp("finished") / "work"
    folder.mkdir()
    finished_study.make(folder)
    finished_study.command(folder, "phenoloom", "run", finished_study.CONFIG, "all", "--cores", "2")
    return folder
