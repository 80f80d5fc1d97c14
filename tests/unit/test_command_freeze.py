"""`freeze`: the functions of a finished run are copied out of its results, and nothing that is there is overwritten."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from phenoloom.__main__ import main
from phenoloom.config.loading import read_config

CONFIG = {
    "study": "s",
    "datasets": {
        name: {
            "plates": "plates.tsv",
            "channels": {"DNA": {}, "ER": {}},
            "images": {"format": "phenix"},
            "illumination": {"method": method},
        }
        for name, method in (("screen", "median"), ("corrected", "none"))
    },
}
NAMES = [f"{plate}/{channel}.npy" for plate in ("p~201", "p2") for channel in ("DNA", "ER")]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Folder with a study of two indexed plates and their functions; `freeze` runs in it."""
    monkeypatch.chdir(tmp_path)
    write_config()
    for dataset in CONFIG["datasets"]:
        plate = {"batch": "b", "sites": [1], "width": 4, "height": 3, "dtype": "uint16"}
        summary = {name: {**plate, "plate": name} for name in ("p~201", "p2")}
        path = Path(f"results/s/{dataset}/index/summary.json")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(summary))
    for number, name in enumerate(NAMES, start=1):
        path = Path("results/s/screen/illumination") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((3, 4), number, np.float32))
    return tmp_path


def write_config(**of_screen):
    content = json.loads(json.dumps(CONFIG))
    content["datasets"]["screen"]["illumination"].update(of_screen)
    Path("s.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_functions_are_copied_and_the_printed_lines_declare_them(study, capsys):
    assert main(["freeze", "s.yaml", "kept"]) == 0
    said = capsys.readouterr().out
    for name in NAMES:
        assert Path("kept/screen", name).read_bytes() == Path("results/s/screen/illumination", name).read_bytes()
    declared = yaml.safe_load(said[said.index("datasets:") :])
    assert declared == {"datasets": {"screen": {"illumination": {"functions": "kept/screen/{plate}/{channel}.npy"}}}}
    write_config(**declared["datasets"]["screen"]["illumination"])
    assert read_config("s.yaml")["datasets"]["screen"]["illumination"]["functions"].startswith("kept/")
    assert main(["freeze", "s.yaml", "kept"]) == 1
    assert "declared already" in capsys.readouterr().err


def test_a_folder_elsewhere_is_named_in_full(study, capsys, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    assert main(["freeze", "s.yaml", str(other)]) == 0
    assert f'functions: "{other}/screen/{{plate}}/{{channel}}.npy"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("results/s/kept", "lies in results/s, which runs change"),
        ("results/s", "lies in results/s, which runs change"),
        ("a{b}", "has braces or quotes in it"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(study, capsys, folder, words):
    before = sorted(study.rglob("*"))
    assert main(["freeze", "s.yaml", folder]) == 1
    assert words in capsys.readouterr().err
    assert sorted(study.rglob("*")) == before


def test_missing_functions_are_said_and_nothing_is_copied(study, capsys):
    Path("results/s/screen/illumination", NAMES[2]).unlink()
    assert main(["freeze", "s.yaml", "kept"]) == 1
    assert "1 of 4 illumination functions of dataset screen are not there yet" in capsys.readouterr().err
    assert not Path("kept").exists()


def test_other_functions_are_not_overwritten(study, capsys):
    path = Path("kept/screen", NAMES[3])
    path.parent.mkdir(parents=True)
    np.save(path, np.ones((3, 4), np.float32))
    before = path.read_bytes()
    assert main(["freeze", "s.yaml", "kept"]) == 1
    assert f"{path} holds another function" in capsys.readouterr().err
    assert path.read_bytes() == before and not Path("kept/screen", NAMES[0]).exists()


def test_a_dataset_without_estimated_functions_is_refused(study, capsys):
    assert main(["freeze", "s.yaml", "kept", "--dataset", "corrected"]) == 1
    assert "no functions are estimated for a dataset corrected; they are for: screen" in capsys.readouterr().err
