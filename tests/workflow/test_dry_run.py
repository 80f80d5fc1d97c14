"""Every study that ships resolves to jobs without any image; bad configs end in one sentence."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted(path.name for path in (ROOT / "config/studies").glob("*.yaml"))


def jobs(output):
    """{rule: number of jobs} from the job table of a dry run."""
    return {rule: int(number) for rule, number in re.findall(r"^(\w+)\s+(\d+)\s*$", output, flags=re.M)}


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_resolves(snakemake, tmp_path, study):
    done = snakemake(tmp_path, "--dry-run", "--quiet", "rules", "--configfile", f"config/studies/{study}")
    assert jobs(done.stdout + done.stderr)["report"] == 1


def test_the_demo_resolves_to_all_stages(snakemake, tmp_path):
    done = snakemake(tmp_path, "--dry-run", "--quiet", "rules")
    found = jobs(done.stdout + done.stderr)
    assert found["simulate"] == found["cellprofiler"] == found["index"]
    assert found["cells"] == found["quality"] == 8
    assert {"illumination_plates1", "aggregate", "profile", "evaluate", "figure_umap", "report"} <= set(found)


def test_the_default_study_does_not_leak_into_another(snakemake, tmp_path):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    del config["evaluation"]
    config["study"] = "other"
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(tmp_path, "--dry-run", "--quiet", "rules", "--configfile", "other.yaml")
    assert "evaluate" not in jobs(done.stdout + done.stderr)


@pytest.mark.parametrize(
    "target", ["ingest", "features", "profiles", "evaluation", "figures", "report", "all", "preflight"]
)
def test_targets_by_name(snakemake, tmp_path, target):
    assert jobs(snakemake(tmp_path, target, "--dry-run", "--quiet", "rules").stdout)["total"] >= 1


def test_an_unknown_key_stops_the_run_with_the_nearest_one(snakemake, tmp_path):
    (tmp_path / "bad.yaml").write_text("study: bad\ndatasets: {d: {simulate: {}, chanels: {DNA: {}}}}\n")
    done = snakemake(tmp_path, "--dry-run", "--configfile", "bad.yaml", check=False)
    assert done.returncode != 0
    assert "unknown key 'chanels'; did you mean 'channels'" in done.stdout + done.stderr


def test_lint_is_clean(snakemake, tmp_path):
    done = snakemake(tmp_path, "--lint", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
