"""What this machine gives to jobs."""

import os

import pytest

from phenoloom.running import machine


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """Two GPUs, as nvidia-smi lists them."""
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\nprintf 'GPU 0: NVIDIA A100 (UUID: x)\\nGPU 1: NVIDIA A100 (UUID: y)\\n'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_memory_is_less_than_the_machine_has(monkeypatch, tmp_path):
    whole = machine.memory_mb()
    (tmp_path / "limit").write_text("1000000000\n")
    monkeypatch.setattr(machine, "CGROUP_LIMITS", (tmp_path / "limit", tmp_path / "absent"))
    assert machine.memory_mb() == 900 < whole
    (tmp_path / "limit").write_text("max\n")
    assert machine.memory_mb() == whole


@pytest.mark.parametrize(("visible", "found"), [(None, 2), ("0", 1), ("", 0), ("-1", 0), ("0,1,2", 2)])
def test_gpus_are_counted_as_far_as_they_are_visible(nvidia, monkeypatch, visible, found):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpus() == found


def test_no_nvidia_smi_no_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpus() == 0
