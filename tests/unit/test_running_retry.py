"""What a retry takes from the ledgers of a study: images to look at, jobs to run again, and what to leave."""

import json
from pathlib import Path

import pytest
import tifffile

from phenoloom.config.loading import complete
from phenoloom.config.study import Study
from phenoloom.core.ledger import Ledger
from phenoloom.ingest.prepare import prepare
from phenoloom.running import retry

PIPELINE = {"pipeline": "p.cppipe", "seconds_per_site": 30, "minutes_per_job": 1}


def config(**more):
    dataset = {
        "plates": "plates.tsv",
        "channels": {"DNA": {}, "GFP": {}},
        "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
        **more,
    }
    return complete({"study": "s", "datasets": {"d": dataset}, "profiles": {"raw": [{"aggregate": {}}]}})


@pytest.fixture
def study(tmp_path, monkeypatch, write_tiff):
    """Return make(**keys of the dataset): a Study of two plates of four wells that were indexed, two sites a batch."""
    monkeypatch.chdir(tmp_path)
    lines = ["batch\tplate\timages\tplatemap\n"]
    for number, plate in enumerate(("p 1", "p2")):
        for well in ("A01", "A02", "B01", "B02"):
            for channel in ("DNA", "GFP"):
                write_tiff(tmp_path / f"images{number}/{well}_s1_{channel}.tif", seed=number)
        lines.append(f"b\t{plate}\timages{number}\tmap.tsv\n")
    (tmp_path / "plates.tsv").write_text("".join(lines))
    (tmp_path / "map.tsv").write_text("well\tperturbation\nA01\tx\n")

    def make(**more):
        plain = config(**more)
        prepare(plain, "results/s", threads=1, say=lambda text: None)
        plain["datasets"]["d"]["features"]["cellprofiler"] = PIPELINE
        return Study(plain, "results/s")

    return make


def write(path, stage, *rows):
    """Write a ledger of rows (reason, keywords)."""
    book = Ledger(stage, dataset="d", plate="p2")
    for reason, where in rows:
        book.add(reason, **where)
    book.write(path)


def failed(batch, *sites, plate="p2", severity="lost"):
    """Write CellProfiler's ledger of a batch."""
    rows = [
        {"dataset": "d", "plate": plate, "well": well, "site": "1", "unit": "site", "severity": severity, "reason": why}
        for well, why in sites
    ]
    path = Path(f"results/s/d/cellprofiler/{plate}/{batch}.ledger.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_study_that_never_ran_has_nothing_to_retry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = retry.plan(Study(config(), "results/s"))
    assert (found.jobs, dict(found.places), retry.words(found)) == ([], {}, [])


def test_images_that_the_index_lost_are_looked_at_anew_and_force_nothing(study, tmp_path):
    (tmp_path / "images1/B02_s1_GFP.tif").write_bytes(b"")
    (tmp_path / "images1/ZZ1_s1_GFP.tif").write_bytes(b"")
    found = retry.plan(study())
    assert found.places == {("d", "p2"): {("B02", 1)}}
    assert found.unindexed == {"d": 2}
    assert found.jobs == []
    assert retry.words(found) == ["looked at again: 2 sites or images that the index of d lacks"]


def test_batches_with_lost_sites_run_again(study):
    indexed = study()
    failed("0001", ("A01", "hung for more than 1800 s"), plate="p~201")
    failed("0002", ("B01", "odd"), severity="flagged")
    found = retry.plan(indexed)
    assert [(job.plate, job.batch) for job in found.jobs] == [("p~201", "0001")]
    assert found.outputs(indexed) == ["results/s/d/cellprofiler/p~201/0001.h5"]
    assert found.places == {("d", "p~201"): {("A01", 1)}}
    assert retry.words(found) == [
        "run again, with what follows: 1 job of cellprofiler",
        "  d p 1 0001: hung for more than 1800 s (1)",
    ]


def test_batches_and_plates_that_are_no_more_are_left_alone(study):
    indexed = study()
    batches = indexed.batches("d", "p2")
    failed("0099", ("A01", "hung"))
    failed(batches[0], ("A01", "hung"))
    assert len(retry.plan(indexed).jobs) == 1
    found = retry.plan(indexed)
    without = study(exclude_plates=["p2"])
    assert found.outputs(without) == []
    assert retry.plan(without).jobs == []


@pytest.mark.parametrize("stage", ["quality", "illumination"])
def test_a_stage_that_could_not_read_images_runs_again_once_they_can_be_read(study, tmp_path, stage):
    path = f"results/s/d/{stage}/p2.ledger.parquet"
    place = {"well": "A02", "site": 1, "channel": "GFP"}
    write(path, stage, ("images1/A02_s1_GFP.tif cannot be decoded", place))
    found = retry.plan(study())
    assert [(job.stage, job.plate) for job in found.jobs] == [(stage, "p2")]
    assert found.places == {("d", "p2"): {("A02", 1)}}
    due = {"quality": "quality/p2.parquet", "illumination": "illumination/p2/DNA.npy"}
    assert found.outputs(study()) == [f"results/s/d/{due[stage]}"]


def test_a_stage_whose_images_still_cannot_be_read_is_left_and_said_so(study, tmp_path):
    indexed = study()
    image = tmp_path / "images1/A02_s1_GFP.tif"
    tifffile.imwrite(image, tifffile.imread(image), compression="zlib")
    with open(image, "r+b") as file:
        file.seek(300)
        file.write(b"\xff" * 200)
    write(
        "results/s/d/quality/p2.ledger.parquet",
        "quality",
        ("it is damaged", {"well": "A02", "site": 1, "channel": "GFP"}),
    )
    found = retry.plan(indexed)
    assert found.jobs == []
    assert retry.words(found) == [
        "nothing to run again by itself, for it follows from the images, the maps and the config:",
        "  quality: it is damaged (1 image)",
    ]


def test_frozen_functions_are_not_made_again(study):
    place = {"well": "A02", "site": 1, "channel": "GFP"}
    write("results/s/d/illumination/p2.ledger.parquet", "illumination", ("not read", place))
    indexed = study()
    assert [job.stage for job in retry.plan(indexed).jobs] == ["illumination"]
    indexed.config["datasets"]["d"]["illumination"]["functions"] = "f/{plate}/{channel}.npy"
    assert retry.plan(indexed).jobs == []


def test_what_follows_from_data_and_config_is_left(study):
    indexed = study()
    flagged = [("site left out: DNA:out_of_focus", {"unit": "site", "well": "A01", "site": 1})]
    write("results/s/d/quality/p2.ledger.parquet", "quality", *flagged)
    rows = [(f"well {well} of plate p2 has no cells", {"unit": "well", "well": well}) for well in ("A01", "B02")]
    rows += [("features of no value", {"unit": "feature", "count": 7}), ("odd", {"severity": "flagged"})]
    write("results/s/d/profiles/cellprofiler/raw/ledger.parquet", "profile", *rows)
    found = retry.plan(indexed)
    assert found.jobs == [] and not found.places
    assert retry.words(found)[1:] == [
        "  quality: site left out: DNA:out_of_focus (1 site)",
        "  profile: features of no value (7 features)",
        "  profile: well A01 of plate p2 has no cells (2 wells)",
    ]


def test_losses_are_summed_by_unit_and_features_are_none(tmp_path):
    path = tmp_path / "ledger.parquet"
    assert retry.losses(path) == ""
    rows = [("a", {"unit": "site", "count": 2}), ("b", {"unit": "well"}), ("c", {"unit": "feature", "count": 9})]
    write(path, "x", *rows, ("d", {"unit": "site"}), ("e", {"unit": "site", "severity": "flagged"}))
    assert retry.losses(path) == "1 well, 3 sites"


def test_a_table_that_entered_with_unreadable_folders_enters_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = {"folders": "out/*", "metadata": {"Plate": "Metadata_Plate", "Well": "Metadata_Well"}}
    plain = config()
    plain["datasets"]["d"] = {**plain["datasets"]["d"], "plates": None, "representations": {"old": block}}
    write(
        "results/s/d/representations/old/cells/all.ledger.parquet",
        "enter",
        ("out/7/Image.csv is empty", {"unit": "site"}),
        ("rows that repeat an earlier row", {"unit": "row"}),
    )
    indexed = Study(plain, "results/s")
    found = retry.plan(indexed)
    assert found.outputs(indexed) == ["results/s/d/representations/old/cells/all.parquet"]
    assert "  enter: rows that repeat an earlier row (1 row)" in retry.words(found)


def test_images_that_a_rule_made_are_indexed_again_by_their_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = {"simulate": {"batches": 1, "plates_per_batch": 1}, "channels": {"DNA": {}}}
    indexed = Study(complete({"study": "s", "datasets": {"d": block}}), "results/s")
    plate = indexed.plates("d")[0]
    write(
        f"results/s/d/index/{plate}/0001.ledger.parquet",
        "index",
        ("x.tif cannot be read", {"well": "A01", "site": 1, "channel": "DNA"}),
        ("site left out: no usable image of DNA", {"unit": "site", "well": "A01", "site": 1}),
    )
    assert retry.plan(indexed).outputs(indexed) == [f"results/s/d/index/{plate}/0001.parquet"]
