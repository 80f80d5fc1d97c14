"""A sample from manifest to events table and stack: row k is one event in both, and every event is accounted for."""

import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile

import event_sample
from event_sample import block
from phenoloom.core.errors import InputError
from phenoloom.crops import sample as module
from phenoloom.cytometry.fcs import read_fcs
from phenoloom.simulate.sorter import DEFECTS, PAGES, write_run

EVENTS = 60
BAD = dict.fromkeys(DEFECTS, 2)
CHANNELS = {"DNA": {"source": "DNA-A"}, "FSC": {"source": "FSC"}}
LAYOUT = {"format": "sorter", "pattern": "*_{event}.tiff"}
CROPS = {"bad": {"saturation": 1.0, "cut_off": 0.1}}
SORTER = block(CHANNELS, LAYOUT | {"labels": {"Label": "Class"}}, crops=CROPS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sorter") / "a run; it's ü"
    truth = write_run(folder, "s", EVENTS, seed=3, defects=BAD)
    return folder, truth


def files(folder):
    return {"images": folder / "images", "fcs": folder / "s.fcs", "events": folder / "s_classes.csv"}


@pytest.fixture(scope="module")
def built(run, tmp_path_factory):
    return event_sample.build(tmp_path_factory.mktemp("built"), SORTER, Dose="3 µM", **files(run[0]))


def test_a_sorters_events_are_all_kept_or_listed(built, run):
    truth = run[1]
    good = truth[truth["Defect"] == ""]
    assert built.events["Metadata_Event"].tolist() == good["Event"].tolist()
    assert len(built.events) + built.lost() == EVENTS - BAD["missing"]
    assert len(built.events) + built.flagged("without a usable image") == EVENTS
    lost = built.ledger[built.ledger["severity"] == "lost"]
    bad = truth[~truth["Defect"].isin(["", "missing"])]
    assert sorted(map(int, lost["site"])) == bad["Event"].tolist()


def test_row_k_is_event_k_in_all_that_is_written(built, run):
    folder, truth = run
    assert len(built.stack) == len(built.events) == len(built.frames)
    assert built.events["Metadata_Event"].equals(built.frames["Metadata_Event"])
    assert built.events["Metadata_Label"].tolist() == truth["Class"][built.events["Metadata_Event"]].tolist()
    fcs, raw = read_fcs(folder / "s.fcs")
    area = raw[:, fcs.names.index("DNA-A")][built.events["Metadata_Event"]]
    np.testing.assert_array_equal(built.events["DNA-A"], area)
    light = built.stack.sum(axis=(2, 3), dtype=float)
    assert np.corrcoef(light[:, 0], area)[0, 1] > 0.99
    row = 7
    image = tifffile.imread(folder / truth["Image"][built.events["Metadata_Event"][row]])
    np.testing.assert_allclose(
        light[row, 1], (image[PAGES.index("FSC")] - built.frames["Background_FSC"][row]).sum(dtype=float), rtol=1e-3
    )


def test_metadata_of_the_sample_stand_in_every_row(built):
    events = built.events
    assert set(events["Metadata_Dose"]) == {"3 µM"} and set(events["Metadata_Sample"]) == {"one"}
    assert events["Metadata_Plate"].equals(events["Metadata_Sample"])
    assert events["Metadata_Image"].tolist() == events["Metadata_Event"].astype(str).tolist()
    assert pq.read_schema(built.paths["events"]).field("DNA-A").type == "float"


def test_the_same_sample_gives_the_same_bytes_in_chunks_of_any_size(built, run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_AT", 30)
    monkeypatch.setattr("phenoloom.cytometry.images.CHUNK", 7)
    monkeypatch.setattr("phenoloom.cytometry.fcs.CHUNK_BYTES", 5000)
    again = event_sample.build(tmp_path, SORTER, Dose="3 µM", **files(run[0]))
    assert again.paths["stack"].read_bytes() == built.paths["stack"].read_bytes()
    pd.testing.assert_frame_equal(again.events, built.events)


def test_a_sorters_pages_must_be_as_many_as_most_have_or_as_the_study_says(run, tmp_path):
    every = block(CHANNELS, LAYOUT | {"pages": 7})
    with pytest.raises(InputError, match="no image of the first .* has the 9 pages of events.pages"):
        event_sample.build(tmp_path, block(CHANNELS, LAYOUT | {"pages": 9}), **files(run[0]))
    with pytest.raises(InputError):  # two events are too few to find pages by
        event_sample.build(tmp_path, every, **files(run[0]))


def linked(folder, to, rename):
    """A folder of links to the images of a run, under other numbers."""
    to.mkdir()
    for path in sorted((folder / "images").iterdir()):
        number = rename(int(path.stem[-8:]))
        if number is not None:
            (to / f"s_{number:08d}.tiff").symlink_to(path)
    return to


def test_images_of_the_events_before_are_refused(run, tmp_path):
    images = linked(run[0], tmp_path / "images", lambda number: number + 1)
    with pytest.raises(InputError, match="s.fcs.*moved by -1 event"):
        event_sample.build(tmp_path, SORTER, **files(run[0]) | {"images": images})
    right = block(CHANNELS, LAYOUT | {"first_event": 1}, crops=CROPS)
    assert len(event_sample.build(tmp_path, right, **files(run[0]) | {"images": images}).events) > 40


def test_images_beyond_the_fcs_file_are_listed_and_alone_an_error(run, tmp_path):
    images = linked(run[0], tmp_path / "images", lambda number: number)
    os.link(images.parent / "images" / os.readlink(images / "s_00000001.tiff"), images / "s_00000999.tiff")
    found = event_sample.build(tmp_path, SORTER, **files(run[0]) | {"images": images})
    assert len(found.events) + found.lost() == EVENTS - BAD["missing"] + 1
    far = linked(run[0], tmp_path / "far", lambda number: number + 1000)
    with pytest.raises(InputError, match="no image is of an event of .*s.fcs.*mend events.first_event"):
        event_sample.build(tmp_path, SORTER, **files(run[0]) | {"images": far})


def test_labels_that_are_asked_for_need_a_table(run, tmp_path):
    given = files(run[0])
    del given["events"]
    with pytest.raises(InputError, match="events.labels needs a table of events"):
        event_sample.build(tmp_path, SORTER, **given)


# ---------------------------------------------------------------- crops and montages

NAMES = [f"G{number % 2}/cell {number}" for number in range(12)]


def cell(seed, shape=(20, 20)):
    image = np.random.default_rng(seed).normal(100, 2, shape)
    image[6:13, 6:13] += 300
    return image.astype(np.uint16)


@pytest.fixture
def crops(tmp_path):
    """Folder of twelve crops in two folders, and their names in the order of the events."""
    for number, name in enumerate(NAMES):
        path = tmp_path / "images" / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, cell(number))
    return tmp_path / "images", sorted(NAMES, key=lambda name: (name[:2], int(name.split()[1])))


def of_crops(**events):
    return block({"DNA": {}}, {"format": "crops", "pattern": "{Group}/{event}.tif", **events})


def test_labels_in_order_stay_with_their_crops_when_one_is_lost(crops, tmp_path):
    images, order = crops
    (images / f"{order[2]}.tif").write_bytes(b"")
    tifffile.imwrite(images / f"{order[5]}.tif", np.full((20, 20), np.nan, np.float32))
    (tmp_path / "labels.csv").write_text("class\n" + "".join(f"is {name}\n" for name in order))
    found = event_sample.build(
        tmp_path, of_crops(labels={"Label": "class"}), images=images, events=tmp_path / "labels.csv"
    )
    assert found.events["Metadata_Label"].tolist() == [f"is {name}" for name in found.events["Metadata_Image"]]
    assert found.events["Metadata_Event"].tolist() == [n for n in range(12) if n not in (2, 5)]
    assert found.events["Metadata_Group"].tolist() == [name[:2] for name in found.events["Metadata_Image"]]
    assert len(found.events) + found.lost() == 12


def test_labels_by_name_may_lack_some(crops, tmp_path):
    images, order = crops
    (tmp_path / "labels.csv").write_text(f"event;class\n{order[4]};a\n{order[1]};b\nno such;c\n")
    found = event_sample.build(
        tmp_path, of_crops(labels={"Label": "class"}), images=images, events=tmp_path / "labels.csv"
    )
    labels = found.events.set_index("Metadata_Image")["Metadata_Label"].dropna().to_dict()
    assert labels == {order[4]: "a", order[1]: "b"}
    assert found.flagged("events without a row") == 10 and found.flagged("rows of no usable event") == 1


def test_a_sample_without_any_good_event_says_why(crops, tmp_path):
    images, _ = crops
    for path in images.rglob("*.tif"):
        tifffile.imwrite(path, np.zeros((20, 20), np.uint16))
    with pytest.raises(InputError, match="none of 12 events .*the first reason: empty: no channel rises"):
        event_sample.build(tmp_path, of_crops(), images=images)


@pytest.mark.parametrize("damage", ["", "unreadable channel", "missing channel"])
def test_cells_of_montages_are_all_kept_or_listed(tmp_path, damage):
    filler = cell(99)
    for montage in range(3):
        tiles = [filler if number == 3 else cell(10 * montage + number) for number in range(4)]
        for channel in ("Ch1", "Ch2"):
            path = tmp_path / "images" / f"{channel}_{montage}.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])]))
    if damage == "unreadable channel":
        path.write_bytes(path.read_bytes()[:400])
    if damage == "missing channel":
        path.unlink()
    events = {"format": "montage", "pattern": "{channel}_{montage}.tif", "grid": [2, 2]}
    given = block({"DNA": {"source": "Ch1"}, "BF": {"source": "Ch2"}}, events)
    found = event_sample.build(tmp_path, given, images=tmp_path / "images")
    montages = 2 if damage else 3
    # two fillers are a repeat and its first, three are none
    assert len(found.events) == (7 if damage else 9)
    assert len(found.events) + found.lost() + found.lost("tile") == 12
    assert found.lost("tile") == (0 if damage else 3)
    assert found.events["Metadata_Image"][4 if damage else 3] == "1/0"
    assert found.events["Metadata_Event"].max() == 4 * montages - (2 if not damage else 2)


def test_pages_of_crops_are_channels(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        with tifffile.TiffWriter(tmp_path / "images" / f"{number}.tif") as file:
            for page in range(3):
                file.write(cell(10 * number + page), photometric="minisblack", metadata=None)
    given = block({"A": {"source": "2"}, "B": {"source": "0"}}, {"format": "crops", "pattern": "{event}.tif"})
    found = event_sample.build(tmp_path, given, images=tmp_path / "images")
    expected = cell(12).astype(float) - found.frames["Background_A"][1]
    np.testing.assert_allclose(found.stack[1, 0], expected, atol=1e-3)
