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


# ---------------------------------------------------------------- single events


@pytest.fixture
def sorter():
    """Config of a dataset of single events that is right."""
    dataset = {
        "assay": "cytometry",
        "samples": "samples.tsv",
        "channels": {"DNA": {"source": "DNA-A"}, "ER": {"source": "5"}},
        "events": {"format": "sorter", "pattern": "*_{event}.tiff"},
        "features": {"classical": {}},
    }
    return {"study": "s", "datasets": {"d": dataset, "e": dict(dataset)}}


def test_events_have_their_defaults(sorter):
    block = complete(sorter)["datasets"]["d"]
    assert block["events"]["fcs"]["policy"] == "lenient" and block["events"]["join"]["check"] is True
    assert block["crops"]["background"]["method"] == "median" and block["crops"]["canvas"] == "largest"


CROPS = {"format": "crops", "pattern": "{event}.png"}
SORTED = {"format": "sorter", "pattern": "*_{event}.tiff"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("events", None, "missing key 'events'|not of type"),
        ("channels", None, "missing key 'channels'|not of type"),
        ("samples", None, "give either 'samples' .* or 'merge'"),
        ("plates", "plates.tsv", "plates is for the assay plate"),
        ("events", {"format": "sorter", "pattern": "x.tif"}, "lacks the field {event}"),
        ("events", {"format": "montage", "pattern": "{channel}.tif"}, "needs 'grid'"),
        ("events", {"format": "crops", "pattern": "{event}.png", "grid": [2, 2]}, "'grid' is for the format montage"),
        ("events", CROPS | {"pages": 3}, "'pages' is for the format sorter"),
        ("events", CROPS, "channels.DNA: source 'DNA-A' is no page"),
        ("events", CROPS | {"labels": {"Batch": "b"}}, "events.labels: 'Batch' is metadata that every event has"),
        (
            "events",
            {**CROPS, "pattern": "{L}/{event}.png", "labels": {"L": "x"}},
            "'L' is a field of events.pattern too",
        ),
        ("events", CROPS | {"gates": {"Phase": ["G1"]}}, "'gates' is for the format sorter"),
        ("events", {**SORTED, "gates": {"Event": ["G1"]}}, "events.gates: 'Event' is metadata that every event has"),
        ("events", {**SORTED, "gates": {"P": ["G1"]}, "labels": {"P": "x"}}, "'P' is one of events.labels too"),
        ("events", {**SORTED, "gates": {"P": []}}, "events.gates.P: \\[\\] (is too short|should be non-empty)"),
        ("events", CROPS | {"formt": "x"}, "unknown key 'formt'; did you mean 'format'"),
        ("channels", {"DNA": {"source": "05"}, "ER": {"source": "5"}}, "DNA, ER have the same source"),
        ("crops", {"centre_channel": "RNA"}, "crops.centre_channel: there is no channel 'RNA'; they are DNA, ER"),
        ("crops", {"background": {"method": "constant", "value": [1, 2, 3]}}, "3 values for 2 channels"),
        ("crops", {"bad": {"saturation": "tpye"}}, "'tpye' is neither type, none nor a number"),
        ("features", {"classical": {"mask_channel": "RNA"}}, "mask_channel: there is no channel 'RNA'"),
        ("features", {"classical": {"contrast": {"RNA": "both"}}}, "contrast: there is no channel 'RNA'"),
        ("merge", {"datasets": ["e", "d"]}, "give either 'samples'"),
    ],
)
def test_what_is_wrong_with_a_dataset_of_events_is_said_at_once(sorter, key, value, said):
    sorter["datasets"]["d"][key] = value
    with pytest.raises(InputError, match=said):
        complete(sorter)


@pytest.mark.parametrize(("profiles", "known"), [({}, "none"), ({"raw": [], "nca": []}, "raw, nca")])
def test_clusters_are_shown_of_a_cell_profile_that_there_is(sorter, profiles, known):
    steps = {name: [{"scale": {"method": "standard"}}] for name in profiles}
    given = {**sorter, "cell_profiles": steps, "report": {"cells": {"clusters_of": "mca"}}}
    with pytest.raises(InputError, match=f"clusters_of: there is no cell profile 'mca'; they are {known}$"):
        complete(given)
    if steps:
        given["report"]["cells"]["clusters_of"] = "nca"
        assert complete(given)["report"]["cells"]["clusters_of"] == "nca"


@pytest.mark.parametrize(
    ("merge", "said"),
    [
        ({"datasets": ["d", "x"]}, "'x' is no dataset with samples; they are d, e"),
        ({"datasets": ["d", "m"]}, "'m' is no dataset with samples"),
        ({"datasets": ["d", "e"], "roles": {"d": {"RNA": "R"}}}, "roles.d: there is no channel 'RNA'"),
        ({"datasets": ["d", "e"], "roles": {"d": {"DNA": "R", "ER": "R"}}}, "two channels have the same role"),
        ({"datasets": ["d", "e"], "roles": {"f": {}}}, "'f' is none of merge.datasets"),
    ],
)
def test_what_is_wrong_with_datasets_put_together_is_said_at_once(sorter, merge, said):
    sorter["datasets"]["m"] = {"assay": "cytometry", "merge": merge}
    with pytest.raises(InputError, match=said):
        complete(sorter)


def test_blocks_of_events_are_for_their_assay(small):
    small["datasets"]["d"]["samples"] = "samples.tsv"
    small["datasets"]["d"]["features"] = {"classical": {}}
    with pytest.raises(InputError) as caught:
        complete(small)
    assert "samples is for the assay cytometry" in str(caught.value)
    assert "features.classical is for the assay cytometry" in str(caught.value)
