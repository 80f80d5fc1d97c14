"""The config of a study: unknown keys name the nearest known one, defaults are filled in, the reference is current."""

from pathlib import Path

import pytest
import yaml

from phenoloom.config.loading import complete, read_config
from phenoloom.config.reference import reference
from phenoloom.core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted(ROOT.glob("config/studies/*.yaml"))


@pytest.fixture
def small():
    return {"study": "s", "datasets": {"d": {"simulate": {}, "channels": {"DNA": {}}}}}


@pytest.mark.parametrize(
    "path", [ROOT / "config/config.yaml", ROOT / "config/template.yaml", *STUDIES], ids=lambda p: p.stem
)
def test_every_study_that_ships_is_valid(path):
    assert read_config(path)["datasets"]


def test_a_missing_block_has_all_its_defaults(small):
    full = complete(small)
    dataset = full["datasets"]["d"]
    assert full["seed"] == 1
    assert dataset["illumination"]["method"] == "median"
    assert dataset["channels"]["DNA"] == {"source": None, "kind": "fluorescence"}
    assert complete(full) == full


def test_the_order_of_keys_does_not_matter(small):
    small["evaluation"] = {"nsc": {"metric": "nsc", "level": "wells", "distance": "cosine"}}
    turned = {key: small[key] for key in reversed(small)}
    turned["evaluation"] = {"nsc": dict(reversed(small["evaluation"]["nsc"].items()))}
    assert str(complete(turned)) == str(complete(small))


@pytest.mark.parametrize(
    ("path", "key", "hint"),
    [
        ((), "dataset", "datasets"),
        (("datasets", "d"), "ilumination", "illumination"),
        (("datasets", "d", "channels", "DNA"), "sauce", "source"),
        ((), "evalution", "evaluation"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(small, path, key, hint):
    block = small
    for part in path:
        block = block[part]
    block[key] = {}
    with pytest.raises(InputError, match=f"unknown key '{key}'; did you mean '{hint}'"):
        complete(small)


def test_everything_wrong_is_said_at_once(small):
    small["seed"] = "one"
    small["datasets"]["d"]["ilumination"] = {}
    small["datasets"]["d"]["plates"] = "plates.tsv"
    with pytest.raises(InputError) as caught:
        complete(small, "study.yaml")
    text = str(caught.value)
    assert "study.yaml" in text and "seed" in text and "ilumination" in text


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "study: s\n  datasets: {\n", "study: a\nstudy: b\n", "\x00"])
def test_broken_yaml_is_one_sentence_that_names_the_file(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="study.yaml"):
        read_config(path)


def test_a_step_of_a_chain_is_checked_too(small):
    small["profiles"] = {"p": [{"agregate": {}}]}
    with pytest.raises(InputError, match="agregate"):
        complete(small)


def test_steps_that_cannot_work_on_cells_are_said_before_anything_runs(small):
    small["datasets"]["d"]["features"] = {"cellprofiler": {"pipeline": "a.cppipe"}}
    small["profiles"] = {"p": [{"normalize": {"method": "spherize"}}, {"aggregate": {}}], "q": [{"normalize": {}}]}
    with pytest.raises(InputError) as caught:
        complete(small)
    assert "profiles.p: spherize works on wells" in str(caught.value)
    assert "profiles.q: the units are cells" in str(caught.value)


def test_names_that_reach_paths_are_safe(small):
    small["datasets"]["a/../b"] = small["datasets"].pop("d")
    with pytest.raises(InputError, match="a/../b"):
        complete(small)


def test_the_reference_has_not_drifted():
    assert (ROOT / "config/README.md").read_text() == reference(), "run `make docs`"


def test_every_key_is_described():
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    bare = [row.split("|")[1].strip() for row in rows if row.rstrip().endswith("|  |")]
    assert bare == []


def test_yaml_of_all_studies_names_its_results_by_itself():
    names = [yaml.safe_load(path.read_text())["study"] for path in STUDIES]
    assert len(set(names)) == len(names)
