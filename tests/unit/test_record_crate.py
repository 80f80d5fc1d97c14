"""The study as an RO-Crate: what it lists, what it says of the runs, and that other tools take it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import record_study
from record_study import RESULTS, START, cellprofiler, events, sha256
from rocrate.rocrate import ROCrate

from phenoloom.record import bundle, contents, crate
from phenoloom.record.events import read_runs

ROOT = Path(__file__).resolve().parents[2]

#: What roc-validator recommends and nobody here can know: persons, licences, addresses; and a README beside the crate.
UNKNOWN = {
    "process-run-crate-0.5_3.2",  # address of the workflow, known with a remote repository only
    "process-run-crate-0.5_5.1",  # the same
    "process-run-crate-0.5_8.6",  # who ran it
    "ro-crate-1.1_22.2",  # author
    "ro-crate-1.1_22.3",  # publisher
    "workflow-ro-crate-1.0_6.1",  # README
    "workflow-ro-crate-1.0_6.2",  # README
    "workflow-ro-crate-1.0_8.1",  # Bioschemas, which wants a creator
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return write(last, **config): write the study's results, record and crate; gives {@id: entity} of the crate."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    root = record_study.checkout(tmp_path / "checkout")

    def write(last="finished", runs=None, **more):
        config = record_study.config(**more)
        runs = runs or record_study.results(last)
        crate.write(RESULTS, config, runs, *bundle.write(RESULTS, config, {}, runs, root))
        return entities()

    return write


def entities():
    graph = json.loads(Path(RESULTS, crate.NAME).read_text())["@graph"]
    return {entity["@id"]: entity for entity in graph}


def ids(value):
    return {one["@id"] for one in (value if isinstance(value, list) else [value])}


def test_final_files_are_listed_with_size_and_digest(study):
    found = study()
    table = "screen/profiles/cellprofiler/default/wells.parquet"
    for path, kind in (
        ("report.html", "text/html"),
        ("evaluation.csv", "text/csv"),
        ("ledger.parquet", "application/vnd.apache.parquet"),
        (table, "application/vnd.apache.parquet"),
        ("evaluation/replicates/screen/cellprofiler/default.parquet", "application/vnd.apache.parquet"),
        ("provenance/config.yaml", "application/yaml"),
        ("provenance/jobs.tsv", "text/tab-separated-values"),
    ):
        assert found[path]["@type"] == "File" and found[path]["encodingFormat"] == kind
        assert found[path]["contentSize"] == str(Path(RESULTS, path).stat().st_size)
        assert found[path]["sha256"] == sha256(f"{RESULTS}/{path}")
        assert found[path]["description"] and {"@id": path} in found["./"]["hasPart"]


def test_single_cells_are_listed_profile_by_profile_and_as_anndata(study):
    paths = {
        "screen/anndata/classical.h5ad": "application/x-hdf5",
        "screen/cell_profiles/classical/nca/cells.parquet": "application/vnd.apache.parquet",
        "screen/cell_profiles/classical/nca/model.npz": "application/zip",
    }
    for path in (*paths, "screen/manifests/s.parquet", "screen/events/s.parquet", "screen/stacks/s.npy"):
        record_study.write(path, path)
    found = study()
    for path, kind in paths.items():
        assert found[path]["encodingFormat"] == kind and found[path]["sha256"] == sha256(f"{RESULTS}/{path}")
        assert "ingle cells" in found[path]["description"] and {"@id": path} in found["./"]["hasPart"]
    for folder in ("screen/manifests/", "screen/events/", "screen/stacks/"):
        assert found[folder]["@type"] == "Dataset" and found[folder]["description"]
    assert "screen/stacks/s.npy" not in found
    assert "screen/manifests/" in ids(found["#20260102T000000Z-2"]["object"])


def test_a_figure_has_its_title(study):
    assert study()["figures/screen/umap/cellprofiler/default/umap.svg"]["name"] == "Map of wells"


def test_large_folders_are_listed_as_such(study):
    found = study()
    for path in ("screen/cellprofiler/", "screen/index/", "figures/", "logs/", "provenance/runs/", "provenance/code/"):
        assert found[path]["@type"] == "Dataset" and "sha256" not in found[path]
    assert not [path for path in found if path.endswith((".h5", ".log", ".png", ".jsonl")) or "/wells/" in path]
    assert "screen/images/" not in found


def test_only_what_is_there_is_listed(study):
    found = study()
    assert "evaluation.parquet" not in found
    data = [one for one in found.values() if {"File", "Dataset"} & set(listed(one["@type"]))]
    assert len(data) > 15
    for entity in data:
        assert Path(RESULTS, entity["@id"]).exists(), entity


def listed(value):
    return value if isinstance(value, list) else [value]


def test_more_files_than_one_wants_to_read_are_a_folder(study, monkeypatch):
    monkeypatch.setattr(contents, "MOST", 5)
    for number in range(7):
        record_study.write(f"figures/screen/plate_heatmaps/cells_{number}.svg", "x")
    found = study()
    assert not [path for path in found if path.endswith(".svg")]
    assert "8 files" in found["figures/"]["description"]
    assert found["report.html"]


def test_nothing_of_the_machine_is_in_it(study, tmp_path):
    study()
    text = Path(RESULTS, crate.NAME).read_text()
    assert "secret" not in text and str(tmp_path) not in text and str(ROOT) not in text
    assert not [path for path in entities() if path.startswith("/") or path.startswith("file:")]


def test_the_workflow_is_the_main_entity_with_its_language_and_software(study):
    found = study()
    workflow = found[found["./"]["mainEntity"]["@id"]]
    assert set(workflow["@type"]) == {"File", "SoftwareSourceCode", "ComputationalWorkflow"}
    language = found[workflow["programmingLanguage"]["@id"]]
    assert (language["name"], language["@type"]) == ("Snakemake", "ComputerLanguage") and language["version"]
    software = {found[one]["name"]: found[one]["softwareVersion"] for one in ids(workflow["softwareRequirements"])}
    assert software["CellProfiler"] == "4.2.8.1" and set(software) == {"Python", "Snakemake", "CellProfiler"}


def test_each_run_is_an_action_with_its_times_and_what_it_made(study):
    found = study()
    first, second = found["#20260101T000000Z-1"], found["#20260102T000000Z-2"]
    assert ids(found["./"]["mentions"]) == {first["@id"], second["@id"]}
    for action in (first, second):
        assert action["@type"] == "CreateAction" and action["instrument"] == found["./"]["mainEntity"]
        assert "agent" not in action
    assert (first["startTime"], first["endTime"]) == ("2026-05-28T20:26:40+00:00", "2026-05-28T20:28:20+00:00")
    assert first["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert "2 jobs finished, 1 job failed" in first["error"]
    assert second["actionStatus"] == "http://schema.org/CompletedActionStatus" and "error" not in second
    # The second run wrote the report anew and one of the two batches.
    assert ids(first["result"]) == {"screen/cellprofiler/"}
    assert ids(second["result"]) == {"report.html", "screen/cellprofiler/"}


def test_results_that_an_earlier_run_made_stay_its_own(study):
    record_study.results()
    events("20260102T000000Z-2", [cellprofiler(1, "0009")], "finished", start=START + 1000)
    found = study(runs=read_runs(RESULTS))
    assert "report.html" in ids(found["#20260101T000000Z-1"]["result"])
    assert ids(found["#20260102T000000Z-2"]["result"]) == {"screen/cellprofiler/"}


def test_the_config_and_the_index_are_what_the_last_run_took_in(study):
    found = study()
    assert ids(found["#20260102T000000Z-2"]["object"]) == {"provenance/config.yaml", "screen/index/"}
    assert "object" not in found["#20260101T000000Z-1"]


@pytest.mark.parametrize("last", ["failed", "stopped"])
def test_a_run_that_did_not_finish_says_so(study, last):
    action = study(last)["#20260102T000000Z-2"]
    assert action["actionStatus"] == "http://schema.org/FailedActionStatus" and last in action["error"]


def test_runs_that_made_nothing_that_is_left_are_not_listed(study):
    record_study.results()
    events("20260101T120000Z-3", [], "stopped", start=START + 500)
    assert "#20260101T120000Z-3" not in study(runs=read_runs(RESULTS))


def test_the_title_is_the_study_s_own(study):
    assert study()["./"]["name"] == "Study tiny"
    assert study(report={"title": "Screen of 2026"})["./"]["name"] == "Screen of 2026"


def test_files_that_did_not_change_are_not_read_again(study, monkeypatch):
    study()
    read = []
    monkeypatch.setattr(crate, "digest", lambda path: read.append(Path(path).name) or "new")
    runs = read_runs(RESULTS)
    assert study(runs=runs)["report.html"]["sha256"] == sha256(f"{RESULTS}/report.html") and read == []
    record_study.write("report.html", "another report")
    assert study(runs=runs)["report.html"]["sha256"] == "new" and read == ["report.html"]
    os.utime(f"{RESULTS}/ledger.parquet", (START, START))
    study(runs=runs)
    assert read == ["report.html", "ledger.parquet"]


@pytest.mark.parametrize("text", ["", "{", '{"@graph": [{"sha256": "x"}]}', "[]"])
def test_an_earlier_crate_that_cannot_be_read_is_written_anew(study, text):
    record_study.write(crate.NAME, text)
    assert study()["report.html"]["sha256"] == sha256(f"{RESULTS}/report.html")


def test_the_same_study_gives_the_same_crate(study):
    study()
    before = Path(RESULTS, crate.NAME).stat().st_mtime_ns
    study(runs=read_runs(RESULTS))
    assert Path(RESULTS, crate.NAME).stat().st_mtime_ns == before


def test_ro_crate_s_own_library_reads_it(study):
    study()
    read = ROCrate(RESULTS)
    assert read.mainEntity.id == "provenance/code/Snakefile"
    assert read.dereference("#20260102T000000Z-2")["instrument"] is read.mainEntity
    assert {entity.id for entity in read.data_entities} >= {"report.html", "screen/cellprofiler/"}


@pytest.fixture(scope="module")
def validate():
    """Return validate(severity): what roc-validator finds wrong with the crate of the working folder's study."""
    built = subprocess.run(
        [sys.executable, ROOT / "workflow/envs/build.py", "validate"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        pytest.skip(f"the environment of roc-validator cannot be built: {built.stderr[-300:]}")
    python = Path(built.stdout.strip().splitlines()[-1], "bin/python")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(severity="REQUIRED"):
        command = [python, ROOT / "tests/validate_crate.py", RESULTS, severity]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.parametrize("last", ["finished", "failed"])
def test_roc_validator_finds_nothing_wrong(study, validate, last):
    record_study.write("screen/anndata/classical.h5ad", "cells")
    record_study.write("screen/cell_profiles/classical/nca/model.npz", "arrays")
    study(last)
    assert validate() == []


def test_roc_validator_recommends_only_what_is_unknown(study, validate):
    study()
    assert {problem["check"] for problem in validate("RECOMMENDED")} <= UNKNOWN


@pytest.mark.parametrize(
    ("entity", "key"), [("./", "license"), ("#20260102T000000Z-2", "instrument"), ("ro-crate-metadata.json", "about")]
)
def test_roc_validator_finds_what_is_missing(study, validate, entity, key):
    study()
    path = Path(RESULTS, crate.NAME)
    text = json.loads(path.read_text())
    for one in text["@graph"]:
        if one["@id"] == entity:
            del one[key]
    path.write_text(json.dumps(text))
    assert validate()
