"""The command line on a study of images that nobody indexed yet."""

import pytest
import yaml

from phenoloom.__main__ import main
from phenoloom.config.loading import complete
from phenoloom.config.study import Study


@pytest.fixture
def mine(tmp_path, monkeypatch, write_tiff):
    """Path of a config, with two images of one well and a plate map of two wells, no geometry."""
    monkeypatch.chdir(tmp_path)
    for channel in ("w1", "w2"):
        write_tiff(tmp_path / f"images/A01_s1_{channel}.tif")
    (tmp_path / "plates.tsv").write_text("plate\timages\tplatemap\nP1\timages\tmap.tsv\n")
    (tmp_path / "map.tsv").write_text("well\tperturbation\tcontrol\nA01\tDMSO\tnegative\nA02\tx\t\n")
    dataset = {
        "plates": "plates.tsv",
        "channels": {"DNA": {"source": "w1"}, "GFP": {"source": "w2"}},
        "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
    }
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"study": "mine", "datasets": {"d": dataset}}))
    return config


def test_preflight_needs_no_index(mine, capsys):
    assert main(["run", str(mine), "preflight", "--cores", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 well of the plate map has no images: A02" in said
    assert "0 errors, 1 warning." in said
    assert (mine.parent / "results/mine/preflight.txt").read_text() in said


def test_preflight_says_by_its_status_that_there_are_errors(mine):
    (mine.parent / "map.tsv").unlink()
    assert main(["run", str(mine), "preflight"]) == 1


def test_a_config_with_errors_is_one_message(mine, capsys):
    mine.write_text("study: mine\ndatasets: {d: {plaets: x}}\n")
    assert main(["run", str(mine), "all"]) == 1
    assert "unknown key 'plaets'; did you mean 'plates'" in capsys.readouterr().err


def test_plates_of_other_datasets_in_one_table_do_not_count(tmp_path):
    table = tmp_path / "plates.tsv"
    table.write_text("dataset\tplate\timages\na\tP1\tx\nb\tP2\tx\n")
    block = {
        "plates": str(table),
        "channels": {"DNA": {}},
        "images": {"format": "imagexpress"},
        "geometry": {"wells": 6},
    }
    study = Study(complete({"study": "s", "datasets": {"a": block, "b": block}}), "results/s")
    assert [study.plates(name) for name in ("a", "b")] == [["P1"], ["P2"]]
