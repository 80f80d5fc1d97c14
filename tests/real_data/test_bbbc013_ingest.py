"""BBBC013, a real plate: 96 wells, two channels, and the controls where the images say they are."""

import csv

import pytest

from phenoloom.core.images import read_image
from phenoloom.core.names import encode
from phenoloom.ingest import geometry
from phenoloom.ingest.index import index_plate
from phenoloom.ingest.layouts import read_layout
from phenoloom.ingest.preflight import preflight
from phenoloom.ingest.prepare import prepare

CHANNELS = {"GFP": {"source": "1"}, "DNA": {"source": "2"}}
IMAGES = {"format": "pattern", "pattern": "Channel{channel}-{any}-{row}-{column}.{any}"}
TABLE = "config/studies/bbbc013/plates.tsv"


@pytest.fixture
def study(shared_data, tmp_path):
    """Config of the plate as it lies here, with the shipped plate map."""
    folder = shared_data("bbbc013")
    row = geometry.plate_rows(TABLE)[0]
    table = tmp_path / "plates.tsv"
    table.write_text(f"batch\tplate\timages\tplatemap\n1\tBBBC013\t{folder}/images\t{row['platemap']}\n")
    block = {"plates": str(table), "channels": CHANNELS, "images": IMAGES}
    return {"study": "bbbc013", "datasets": {"plate": block}}


def test_every_image_is_indexed(study, shared_data):
    folder = shared_data("bbbc013") / "images"
    index = index_plate("plate", "1", "BBBC013", str(folder), CHANNELS, IMAGES)
    assert index.problems == []
    assert len(index.rows) == 192 and len(index.sites) == 96
    assert {(row["width"], row["height"], row["dtype"]) for row in index.rows} == {(640, 640, "uint8")}
    for row in index.rows:
        letter, column = row["well"][0], row["well"][1:]
        number = {"GFP": 1, "DNA": 2}[row["channel"]]
        assert row["path"].endswith(f"-{letter}-{column}.tif") and f"Channel{number}-" in row["path"]
    assert read_image(index.rows[0]).shape == (640, 640)


def test_preflight_finds_nothing_wrong_and_prepare_writes_batches(study, tmp_path):
    findings, estimate = preflight(study)
    assert findings == [] and (estimate.sites, estimate.images) == (96, 192)
    prepare(study, tmp_path / "results", 2, str)
    summary = geometry.read_summary(tmp_path / "results/plate/index/summary.json")
    assert sum(summary[encode("BBBC013")]["sites"]) == 96


def test_the_shipped_plate_map_agrees_with_the_file_of_the_assay(study, shared_data):
    layout = read_layout(study["datasets"]["plate"]).set_index("Metadata_Well")
    kinds = {"-1": "negative", "1": "positive", "0": ""}
    with open(shared_data("bbbc013") / "1049_Metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(layout) == 96
    for row in rows:
        well = layout.loc[row["Row"] + row["Column"]]
        assert well["Metadata_Control"] == kinds[row["SBS_Controls"]]
        assert well["Metadata_dose_level"] == row["SBS_Doses"]
    treated = layout[layout["Metadata_Control"] == ""]
    for _, wells in treated.groupby("Metadata_Perturbation"):
        by_level = wells.assign(level=wells["Metadata_dose_level"].astype(int)).groupby("level")
        doses = by_level["Metadata_Concentration"].unique()
        assert all(len(values) == 1 for values in doses) and (by_level.size() == 4).all()
        assert doses.map(lambda values: values[0]).is_monotonic_increasing
