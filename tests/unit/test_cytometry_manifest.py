"""Listing of a sample's files: patterns, numbers of events, what is left aside, and when anything is read again."""

import json
import os

import numpy as np
import pytest
import tifffile

from event_sample import block
from phenoloom.config.loading import complete
from phenoloom.core.errors import InputError
from phenoloom.core.names import encode
from phenoloom.cytometry import manifest as module
from phenoloom.cytometry.manifest import described, list_sample, summarize
from phenoloom.cytometry.patterns import compile_pattern, metadata_fields
from phenoloom.cytometry.prepare import prepare
from phenoloom.ingest import facts

CROPS = block({"DNA": {}}, {"format": "crops", "pattern": "{Label}/{event}.tif"})
PAIRS = block(
    {"DNA": {"source": "w1"}, "ER": {"source": "w2"}}, {"format": "crops", "pattern": "{event}_{channel}.tif"}
)
SORTER = block({"DNA": {"source": "0"}}, {"format": "sorter", "pattern": "*_{event}.tif", "first_event": 1})
MONTAGE = block(
    {"DNA": {"source": "Ch1"}, "BF": {"source": "Ch2"}},
    {"format": "montage", "pattern": "{channel}_{montage}.tif", "grid": [2, 3]},
)


def listed(folder, block, known=None, **row):
    return list_sample("d", {"sample": "s", "batch": "1", "images": str(folder), **row}, block, known, threads=1)


def images(table):
    return [row for row in table.to_pylist() if row["kind"] == "image"]


@pytest.fixture
def folder(tmp_path, write_tiff):
    """Return a function that writes images by name below a folder, and gives the folder."""

    def write(*names, shape=(6, 9)):
        for seed, name in enumerate(names):
            write_tiff(tmp_path / "images" / name, shape, seed)
        return tmp_path / "images"

    return write


@pytest.mark.parametrize(
    ("pattern", "layout", "name", "fields"),
    [
        ("*_{event}.tif*", "sorter", "a/b_x_0012.tiff", None),
        ("*_{event}.tif*", "sorter", "a_b_0012.TIFF", {"event": "0012"}),
        ("{event}.png", "crops", "it's; a (cell) ü.png", {"event": "it's; a (cell) ü"}),
        ("{Label}/{event}_{channel}.tif", "crops", "G1/7_w2.tif", {"Label": "G1", "event": "7", "channel": "w2"}),
        ("[{event}].tif", "crops", "[7].tif", {"event": "7"}),
        ("*_{event}.tif", "sorter", "x_12345678901234567890.tif", None),
    ],
)
def test_patterns_say_what_names_hold(pattern, layout, name, fields):
    fit = compile_pattern(pattern, layout).fullmatch(name)
    assert (fit and fit.groupdict()) == fields


@pytest.mark.parametrize(
    ("pattern", "layout", "said"),
    [
        ("x.tif", "sorter", "lacks the field {event}"),
        ("{channel}.tif", "crops", "lacks the field {event}"),
        ("{event}_{event}.tif", "crops", "has the field {event} twice"),
        ("{event}_{channel}.tif", "sorter", "{channel}, which means nothing to the format sorter"),
        ("{event}_{channel:a|b}.tif", "crops", "braces that are no field"),
        ("{event.tif", "crops", "braces that are no field"),
        ("{event}_{}.tif", "crops", "the field {} is no name"),
        ("{event}_{1st}.tif", "crops", "the field {1st} is no name"),
        ("{event}_{Plate}.tif", "crops", "the field {Plate} is metadata that every event has"),
    ],
)
def test_a_pattern_that_cannot_work_is_one_sentence(pattern, layout, said):
    with pytest.raises(InputError) as caught:
        compile_pattern(pattern, layout)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_fields_that_become_metadata():
    assert metadata_fields("{Label}/{Donor}_{event}.tif", "crops") == ["Label", "Donor"]


def test_crops_are_numbered_by_their_place_with_numbers_in_order(folder):
    table, ledger, _ = listed(folder("G1/10.tif", "G1/9.tif", "G2/1.tif"), CROPS)
    assert [(row["name"], row["number"]) for row in images(table)] == [("G1/9", 0), ("G1/10", 1), ("G2/1", 2)]
    assert [json.loads(row["metadata"])["Metadata_Label"] for row in images(table)] == ["G1", "G1", "G2"]
    assert len(ledger) == 0 and table.schema.metadata == {b"events": b"3"}


def test_a_lost_image_keeps_its_place(folder):
    path = folder("G1/1.tif", "G1/2.tif", "G1/3.tif")
    (path / "G1/2.tif").write_bytes(b"")
    table, ledger, _ = listed(path, CROPS)
    assert [row["number"] for row in images(table)] == [0, 2]
    assert table.schema.metadata == {b"events": b"3"}
    (row,) = ledger.to_pylist()
    assert (row["unit"], row["count"], row["site"], row["severity"]) == ("event", 1, "1", "lost")
    assert "2.tif is empty" in row["reason"]


def test_a_sorters_events_are_those_of_the_fcs_file(folder):
    (folder("x_3.tif", "x_0001.tif", "x_12.tif").parent / "a.fcs").write_bytes(b"FCS")
    path = folder()
    table, _, _ = listed(path, SORTER, fcs=str(path.parent / "a.fcs"))
    assert [row["number"] for row in images(table)] == [0, 2, 11]
    assert [row["kind"] for row in table.to_pylist()][-1] == "fcs"


def test_montages_have_a_file_per_channel_and_a_number_per_cell(folder):
    path = folder("Ch1_1.tif", "Ch2_1.tif", "Ch1_2.tif", "ch01_3.tif", "Ch2_3.tif")
    table, ledger, _ = listed(path, MONTAGE)
    assert [(row["name"], row["number"], row["channel"]) for row in images(table)] == [
        ("1", 0, "BF"),
        ("1", 0, "DNA"),
        ("3", 12, "BF"),
        ("3", 12, "DNA"),
    ]
    (row,) = ledger.to_pylist()
    assert (row["unit"], row["count"]) == ("event", 6) and "the channel BF of its event is not" in row["reason"]
    assert summarize(table, {"sample": "s", "batch": "1"}) == {
        "sample": "s",
        "batch": "1",
        "images": 4,
        "events": 2,
        "height": 6,
        "width": 9,
    }
    cells = described(table, np.array([0, 5, 12, 14]), MONTAGE["events"])
    assert cells["Metadata_Image"].to_pylist() == ["1/0", "1/5", "3/0", "3/2"]


def test_files_of_an_event_are_used_together_or_not_at_all(folder):
    path = folder("a_w1.tif", "a_w2.tif", "b_w1.tif", "c_w1.tif", "c_w2.tif", "d_w1.tif", "d_w2.tif")
    (path / "c_w2.tif").write_bytes(b"II*\0junk")
    tifffile.imwrite(path / "d_w2.tif", np.zeros((5, 5), np.uint8))
    table, ledger, _ = listed(path, PAIRS)
    assert {row["name"] for row in images(table)} == {"a"}
    reasons = {row["site"]: row["reason"] for row in ledger.to_pylist()}
    assert "the channel ER of its event is not" in reasons["1"]
    assert "c_w2.tif" in reasons["2"]
    assert "differs in size from another channel" in reasons["3"]


def test_two_files_of_one_event_are_said_and_one_is_used(folder):
    table, ledger, _ = listed(folder("x_1.tif", "x_01.tif", "y_2.tif"), SORTER | {}, fcs=__file__)
    assert [row["path"].rsplit("/", 1)[1] for row in images(table)] == ["x_01.tif", "y_2.tif"]
    (row,) = ledger.to_pylist()
    assert row["severity"] == "flagged" and "are both event 1" in row["reason"]


def test_files_that_fit_no_name_are_counted(folder):
    path = folder("G1/1.tif")
    for name in ("notes; ü.txt", "G1/2.png", ".hidden.tif"):
        (path / name).write_bytes(b"x")
    (path / os.fsdecode(b"G1/\xff.tif")).write_bytes(b"x")
    table, ledger, _ = listed(path, CROPS)
    (row,) = ledger.to_pylist()
    assert len(images(table)) == 1
    assert (row["count"], row["severity"], row["unit"]) == (3, "flagged", "file")


@pytest.mark.parametrize("name", ["a b", "a;b", "it's", 'q"', "ü", "x,y", "(1)[2]{3}", "new\nline"])
def test_odd_names_of_files_are_names(folder, name):
    table, _, _ = listed(folder(f"{name}/{name}.tif"), CROPS)
    assert images(table)[0]["name"] == f"{name}/{name}"
    assert described(table, np.array([0]), CROPS["events"])["Metadata_Label"].to_pylist() == [name]


def test_nothing_usable_is_an_error_that_says_why(folder, tmp_path):
    with pytest.raises(InputError, match="nowhere is no folder; correct the column 'images' of sample s"):
        listed(tmp_path / "nowhere", CROPS)
    path = folder("1.png", "2.png")
    with pytest.raises(InputError, match="no image of sample s fits events.pattern .*such as .*1.png; mend"):
        listed(path, CROPS)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no usable image; the first reason: the folder is empty"):
        listed(tmp_path / "none", CROPS)
    odd = folder("Ch1_1.tif", "Ch2_1.tif", shape=(7, 9))
    with pytest.raises(InputError, match="9x7 pixels, which 2 rows and 3 columns of cells do not divide"):
        listed(odd, MONTAGE)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist; mend the column 'fcs'"), (b"", "is empty"), ("folder", "is no file")]
)
def test_an_fcs_file_that_is_not_there_is_an_error(folder, tmp_path, content, said):
    path = tmp_path / "a.fcs"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        listed(folder("x_1.tif"), SORTER, fcs=str(path))


def test_a_matrix_that_the_config_names_counts_as_an_input(folder, tmp_path):
    matrix = tmp_path / "spill.csv"
    matrix.write_text("a,b\n1,0\n0,1\n")
    events = {"format": "sorter", "pattern": "*_{event}.tif", "fcs": {"compensate": str(matrix)}}
    given = block({"DNA": {"source": "0"}}, events)
    before = listed(folder("x_1.tif"), given, fcs=__file__)[0]
    matrix.write_text("a,b\n1,0.1\n0,1\n")
    assert listed(folder("x_1.tif"), given, fcs=__file__)[0] != before
    matrix.unlink()
    with pytest.raises(InputError, match="spill.csv does not exist; mend the option events.fcs.compensate"):
        listed(folder("x_1.tif"), given, fcs=__file__)


def test_a_column_and_a_field_of_one_name_are_refused(folder):
    with pytest.raises(InputError, match="Label is a column of the table of samples and a field of events.pattern"):
        listed(folder("G1/1.tif"), CROPS, Label="S")


def test_known_files_are_not_read_again_and_changed_ones_are(folder, monkeypatch):
    path = folder("G1/1.tif", "G1/2.tif")
    table, _, known = listed(path, CROPS)
    read = []
    monkeypatch.setattr(facts, "read_header", lambda path, page=0: read.append(path) or (9, 6, "uint16", 1))
    assert listed(path, CROPS, known)[0] == table and read == []
    tifffile.imwrite(path / "G1/2.tif", np.ones((6, 9), np.uint16))
    assert listed(path, CROPS, known)[0] != table and [one[-5:] for one in read] == ["2.tif"]


def test_chunks_make_no_difference(folder, monkeypatch):
    path = folder(*(f"{name}_w{channel}.tif" for name in range(7) for channel in (1, 2)))
    whole = listed(path, PAIRS)
    monkeypatch.setattr(module, "CHUNK", 2)
    parts = listed(path, PAIRS)
    assert [one.combine_chunks() for one in parts] == [one.combine_chunks() for one in whole]


def study(samples):
    dataset = {"assay": "cytometry", "samples": str(samples), "channels": {"DNA": {}}, "features": {"classical": {}}}
    dataset["events"] = {"format": "crops", "pattern": "{Label}/{event}.tif"}
    return complete({"study": "s", "datasets": {"d": dataset}})


def test_preparing_again_rewrites_only_what_differs(folder, tmp_path):
    path = folder("G1/1.tif", "G1/2.tif")
    name = "a; b/ü"
    (tmp_path / "samples.tsv").write_text(f'sample\timages\n"{name}"\t{path}\n', encoding="utf-8")
    files = [tmp_path / "results/d/manifests" / one for one in (f"{encode(name)}.parquet", "summary.json")]
    said = []
    for _ in range(2):
        prepare(study(tmp_path / "samples.tsv"), tmp_path / "results", 1, said.append)
        times = [one.stat().st_mtime_ns for one in files]
    assert said == [f"d/{name}: 2 images", f"d/{name}: 2 images, unchanged"]
    (path / "G1/2.tif").write_bytes(b"")
    prepare(study(tmp_path / "samples.tsv"), tmp_path / "results", 1, said.append)
    assert all(one.stat().st_mtime_ns > before for one, before in zip(files, times, strict=True))
    (tmp_path / "results/d/manifests/.memory" / files[0].name).write_bytes(b"damaged")
    prepare(study(tmp_path / "samples.tsv"), tmp_path / "results", 1, said.append)
    assert said[-1] == f"d/{name}: 1 image, 1 event lost, unchanged"


def test_samples_that_cannot_be_listed_are_said_together_after_the_others(folder, tmp_path):
    path = folder("G1/1.tif")
    (tmp_path / "samples.tsv").write_text(f"sample\timages\na\tnowhere\nb\t{path}\nc\tneither\n")
    with pytest.raises(InputError) as caught:
        prepare(study(tmp_path / "samples.tsv"), tmp_path / "results", 1, lambda text: None)
    assert "2 samples cannot be used" in str(caught.value)
    assert "nowhere" in str(caught.value) and "neither" in str(caught.value)
    assert (tmp_path / "results/d/manifests/b.parquet").is_file()
    assert not (tmp_path / "results/d/manifests/summary.json").exists()
