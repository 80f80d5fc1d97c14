"""Every study that ships resolves to jobs without any image; bad configs end in one sentence."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from phenoloom.config.loading import read_config
from phenoloom.ingest.preflight import preflight

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


@pytest.mark.parametrize("study", ["config.yaml", *(f"studies/{name}" for name in STUDIES)])
def test_preflight_estimates_the_jobs_of_a_dry_run(snakemake, tmp_path, monkeypatch, study):
    done = snakemake(tmp_path, "--dry-run", "--quiet", "rules", "--configfile", f"config/{study}")
    due = jobs(done.stdout + done.stderr)["total"]
    monkeypatch.chdir(tmp_path)
    _, estimate = preflight(read_config(f"config/{study}"))
    assert estimate.jobs == pytest.approx(due, rel=0.1)


def test_without_an_illumination_method_a_pipeline_that_asks_gets_flat_functions(snakemake, tmp_path, monkeypatch):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["study"] = "flat"
    config["datasets"]["plates1"]["illumination"] = {"method": "none"}
    (tmp_path / "flat.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = snakemake(tmp_path, "--dry-run", "--quiet", "rules", "--configfile", "flat.yaml")
    found = jobs(done.stdout + done.stderr)
    assert found["illumination_plates1"] == 8
    monkeypatch.chdir(tmp_path)
    findings, estimate = preflight(read_config("flat.yaml"))
    assert findings == []
    assert estimate.jobs == found["total"] - 1  # the target itself is no job


def test_a_script_job_needs_no_library_path_and_no_checkout_as_working_directory(snakemake, tmp_path):
    truth = tmp_path / "results/demo/plates1/truth.parquet"
    snakemake(tmp_path, "results/demo/plates1/truth.parquet")
    assert len(pq.read_table(truth)) == 8 * 24


def test_the_default_study_does_not_leak_into_another(snakemake, tmp_path):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    del config["evaluation"]
    config["study"] = "other"
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
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
