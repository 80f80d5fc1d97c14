"""The plan of a run names the jobs that remain, before any of them runs, and learns from those that did."""

import json
import re
from pathlib import Path

import pytest
import yaml

from finished_study import command
from phenoloom.__main__ import main
from phenoloom.config.loading import read_config
from phenoloom.ingest.preflight import preflight

ROOT = Path(__file__).resolve().parents[2]
SIMULATE = {"batches": 1, "plates_per_batch": 2, "wells": 6, "width": 128, "height": 128, "channels": ["DNA", "ER"]}
SIMULATE |= {"mechanisms": ["nuclear size"], "inactive_compounds": 1, "negative_controls": 2, "positive_controls": 0}
STUDY = {
    "study": "small",
    "datasets": {
        "plates": {
            "simulate": {**SIMULATE, "concentrations": [1, 10]},
            "channels": {"DNA": {}, "ER": {}},
            "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
        }
    },
}


def linked(folder):
    """Links to what a checkout's root holds."""
    for name in ("config", "resources", "profiles", "workflow"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def plan(folder, *arguments):
    """(the plan as JSON, what was printed) of the small study, or of a config that the arguments begin with."""
    said = command(folder, "phenoloom", "plan", *arguments, "--json", "plan.json")
    return json.loads((folder / "plan.json").read_text()), said


def jobs(found):
    return {line["rule"]: line["jobs"] for line in found["lines"]}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Folder with a small simulated study, its plan before any run, and what was there after it."""
    folder = linked(tmp_path_factory.mktemp("small"))
    (folder / "small.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    found = plan(folder, "small.yaml", "--cores", "2")
    return folder, found, list(folder.glob("results/**/*"))


@pytest.fixture(scope="module")
def begun(small):
    """The folder after a run of one target."""
    folder, _, _ = small
    command(folder, "phenoloom", "run", "small.yaml", "ingest", "--cores", "2", "--quiet", "all")
    return folder


def test_before_any_run_every_job_is_listed_and_nothing_is_written(small, snakemake):
    folder, (found, said), written = small
    dry = snakemake(folder, "--dry-run", "--quiet", "rules", "--configfile", "small.yaml")
    due = int(re.search(r"^total\s+(\d+)", dry.stdout + dry.stderr, flags=re.M)[1])
    assert found["total"]["jobs"] == due - 1  # the target itself does nothing
    assert jobs(found)["simulate"] == jobs(found)["quality"] == 2
    assert found["total"]["cpu_hours"] > 0
    assert found["total"]["disk_mb"] > 0
    assert found["total"]["gpu_hours"] == 0
    assert found["wall_seconds"]["chain"] <= found["wall_seconds"]["placed"]
    assert "illumination" in said and "shipped" in said and "With 2 cores" in said
    assert written == []


def test_more_cores_take_no_longer_than_the_longest_chain(small):
    folder, (two, _), _ = small
    many, said = plan(folder, "small.yaml", "--cores", "200")
    assert many["wall_seconds"]["placed"] == pytest.approx(many["wall_seconds"]["chain"])
    assert many["wall_seconds"]["placed"] < two["wall_seconds"]["placed"]
    slow, _ = plan(folder, "small.yaml", "--cores", "200", "--start", "10")
    assert slow["wall_seconds"]["chain"] > many["wall_seconds"]["chain"] + 3 * 10


def test_after_a_partial_run_fewer_jobs_remain(small, begun):
    _, (before, _), _ = small
    after, _ = plan(begun, "small.yaml")
    assert not {"simulate", "index", "plate_index", "layout"} & set(jobs(after))
    assert jobs(after)["quality"] == 2
    assert after["total"]["jobs"] == before["total"]["jobs"] - sum(
        jobs(before)[rule] for rule in ("simulate", "simulation_truth", "index", "plate_index", "layout")
    )
    none, said = plan(begun, "small.yaml", "ingest")
    assert none["lines"] == [] and "nothing is left to do for ingest" in said


def test_of_a_run_from_scratch_what_ran_before_is_estimated_by_what_it_took(small, begun):
    _, (before, _), _ = small
    found, _ = plan(begun, "small.yaml", "--all")
    assert jobs(found) == jobs(before)
    sources = {line["rule"]: line["sources"] for line in found["lines"]}
    assert sources["simulate"] == ["measured here"]
    assert sources["quality"] == ["shipped"]
    written = sum(path.stat().st_size for path in begun.glob("results/small/plates/images/**/*.tif"))
    made = next(line for line in found["lines"] if line["rule"] == "simulate")
    assert made["disk_mb"] == pytest.approx(written / 1e6)


def test_after_a_run_estimate_and_measurement_stand_side_by_side(begun):
    found, said = plan(begun, "small.yaml", "--compare")
    assert {one["rule"]: one["jobs"] for one in found["rules"]}["index"] == 2
    assert said.splitlines()[0].split()[0] == "rule"
    simulated = next(one for one in found["rules"] if one["rule"] == "simulate")
    assert min(simulated["wall_seconds"]) > 0


def test_without_a_run_there_is_nothing_to_compare(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(linked(tmp_path))
    assert main(["plan", "config/config.yaml", "--compare"]) == 1
    assert "no run of demo left what its jobs took; run it first" in capsys.readouterr().err


def test_images_that_are_declared_and_not_there_yet_can_be_planned(tmp_path):
    found, _ = plan(linked(tmp_path), "config/studies/bbbc013.yaml")
    assert jobs(found)["index"] == jobs(found)["cellprofiler"] == 4
    assert any("config: 2 s a site" in line["sources"] for line in found["lines"])


def test_images_that_are_neither_indexed_nor_declared_cannot(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plates.tsv").write_text("plate\timages\tplatemap\nP1\timages\tmap.tsv\n")
    dataset = {"plates": "plates.tsv", "channels": {"DNA": {}}, "images": {"format": "imagexpress"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"study": "mine", "datasets": {"d": dataset}}))
    assert main(["plan", "mine.yaml"]) == 1
    said = capsys.readouterr().err
    assert "the images of dataset d are not indexed yet: run `make prepare STUDY=...`" in said
    assert len(said.splitlines()) == 1


def test_what_snakemake_objects_to_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(linked(tmp_path))
    assert main(["plan", "config/config.yaml", "no_such_target"]) == 1
    said = capsys.readouterr().err
    assert "the jobs cannot be listed; Snakemake says:" in said and "no_such_target" in said


@pytest.mark.parametrize("study", ["config.yaml", "studies/bbbc013.yaml", "studies/bbbc021.yaml"])
def test_preflight_and_plan_agree_before_anything_ran(tmp_path, monkeypatch, study):
    found, _ = plan(linked(tmp_path), f"config/{study}")
    monkeypatch.chdir(tmp_path)
    _, estimate = preflight(read_config(f"config/{study}"))
    assert estimate.jobs == found["total"]["jobs"]
    assert estimate.cpu_hours == pytest.approx(found["total"]["cpu_hours"], rel=0.1)
    assert estimate.written_gb * 1000 == pytest.approx(found["total"]["disk_mb"], rel=0.2)  # the rough one
