"""Profiles: what decides about reruns is the same on one machine and on a cluster."""

from pathlib import Path

import pytest
import yaml

PROFILES = Path(__file__).resolve().parents[2] / "profiles"
SHARED = ("rerun-triggers", "max-checksum-file-size", "rerun-incomplete", "keep-going", "show-failed-logs")


def profile(name):
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text())


@pytest.mark.parametrize("key", SHARED)
def test_the_cluster_reruns_what_one_machine_reruns(key):
    assert profile("slurm")[key] == profile("default")[key]


def test_comments_rerun_nothing_and_contents_decide():
    assert "code" not in profile("default")["rerun-triggers"]
    assert profile("default")["max-checksum-file-size"] > 1e11


def test_attempts_are_the_profile_s_and_arrays_are_off():
    slurm = profile("slurm")
    assert slurm["retries"] >= 1
    assert "slurm-array-jobs" not in slurm


def test_no_rule_retries_inside_its_allocation():
    for path in (PROFILES.parent / "workflow/rules").glob("*.smk"):
        assert "retries:" not in path.read_text(), path
