"""A study of networks on simulated plates, from images to the report: what it makes, and what reruns after a change."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from test_reruns import jobs

import finished_study
from phenoloom.core.names import encode
from phenoloom.core.tables import feature_columns

CONFIG = "learned.yaml"
RESULTS = "results/learned"
HELD_OUT = {"B1 P2"}


def model(kind="dino", **more):
    """Block of a small network; one plate of two is held out."""
    return {
        "kind": kind,
        "dataset": "plates",
        "tensor": "fields",
        "normalize": "plate",
        "split": {"hold_out": "Plate", "groups": sorted(HELD_OUT)},
        "network": {"dim": 16, "depth": 1, "heads": 2, "patch": 8},
        "views": {"global_size": 32, "n_local": 1, "local_size": 16},
        "head": {"hidden": 16, "bottleneck": 8, "out": 16, "layers": 2},
        "train": {"epochs": 2, "batch": 8, "warmup_epochs": 0, "memory_mb": 1500},
        **more,
    }


def config():
    """Config of the study, as a dict that tests may change."""
    return {
        "study": "learned",
        "datasets": {
            "plates": {
                "simulate": {"batches": 1, "plates_per_batch": 2, "wells": 24, "width": 128, "height": 128, "cells": 4}
                | {"channels": ["DNA", "ER", "BF1"], "out_of_focus_sites": 0, "saturated_sites": 0},
                "channels": {"DNA": {}, "ER": {}, "BF1": {"kind": "brightfield"}},
                "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
                "tensors": {"fields": {"items": "fields", "size": [64, 64], "channels": ["DNA", "ER"]}},
            }
        },
        "models": {
            "pixels": model(network={"architecture": "pixels"}, train={"epochs": 0}),
            "dino": model(per_channel=True, snapshots=[1], embed={"l2": True}),
            "ws": model("ws_dino", label="Treatment"),
        },
        "profiles": {
            "tvn": [{"tvn": {"epsilon": 0.1, "minimum_samples": 2}}, {"aggregate": {"operation": "mean"}}],
            "plain": [{"aggregate": {"operation": "mean"}}],
        },
        "profiles_of": {"tvn": ["ws"]},
        "evaluation": {
            "replicates": {"metric": "mean_average_precision", "positives": "Treatment", "permutations": 5}
            | {"bootstrap": 20, "against": ["pixels/plain"]},
        },
    }


def write_config(folder, content):
    (folder / CONFIG).write_text(yaml.safe_dump(content, sort_keys=False))


def due(folder):
    """Jobs that a dry run lists: {(rule, wildcards)}."""
    return jobs(finished_study.command(folder, "snakemake", "--dry-run", "all", "--configfile", CONFIG))


def rules_due(folder):
    return {rule for rule, _ in due(folder)} - {"all"}


def read(folder, path):
    return pd.read_parquet(folder / RESULTS / path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study after a whole run, in a checkout of its own."""
    folder = tmp_path_factory.mktemp("learned") / "work"
    finished_study.checkout(folder)
    write_config(folder, config())
    finished_study.command(folder, "phenoloom", "run", CONFIG, "all", "--cores", "2")
    return folder


@pytest.fixture
def changed(study, tmp_path):
    """A copy of the finished study, to be changed."""
    shutil.copytree(study, tmp_path / "work", symlinks=True)
    return tmp_path / "work"


def test_every_field_is_embedded_and_says_on_which_side_it_was(study):
    for plate in ("B1P1", *HELD_OUT):
        table = read(study, f"plates/representations/dino/sites/{encode(plate)}.parquet")
        split = read(study, "plates/models/dino/split.parquet")
        assert len(table) == (split["unit"] == encode(plate)).sum() == 24
        assert set(table["Metadata_Split"]) == {"test" if plate in HELD_OUT else "train"}
        vectors = table[feature_columns(table)].to_numpy()
        assert vectors.shape[1] == 32  # two channels, a network each
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_networks_stand_beside_each_other_in_the_tables(study):
    scores = read(study, "evaluation.parquet")
    found = set(zip(scores["representation"], scores["profile"], strict=True))
    plain = {(name, "plain") for name in ("pixels", "dino", "dino-epoch0001", "ws")}
    assert found == plain | {("ws", "tvn")}
    assert scores["value"].notna().all()
    compared = read(study, "comparison.parquet")
    assert set(compared["representation"]) == {"dino", "dino-epoch0001", "ws"}


def test_its_own_label_is_asked_of_a_network_on_held_out_wells_only(study):
    treated = {}
    for name in ("ws", "dino"):
        details = read(study, f"evaluation/replicates/plates/{name}/plain.parquet")
        treated[name] = details.loc[details["Metadata_MoA"] != "", "n_profiles"].max()
    assert treated == {"ws": 1, "dino": 2}


def test_scores_over_training_are_summed_up(study):
    table = read(study, "over_training.parquet")
    assert set(table["model"]) == {"dino"} and set(table["epochs"]) == {"1, 2"}


def test_the_report_shows_models_trainings_and_attention(study):
    text = (study / RESULTS / "report.html").read_text()
    assert 'id="s-models"' in text and "ws_dino by Treatment" in text
    assert {path.name for path in (study / RESULTS / "figures/plates/attention").iterdir()} == {"pixels", "dino", "ws"}
    with np.load(study / RESULTS / "plates/models/ws/all/attention.npz", allow_pickle=False) as arrays:
        assert arrays["attention"].shape[1:] == (2, 64, 64)
    card = json.loads((study / RESULTS / "plates/models/ws/all/card.json").read_text())
    assert card["data"]["trained_on"] == 24 and card["training"]["steps"] == 6


def test_nothing_reruns_without_a_change(study):
    assert rules_due(study) == set()


def test_how_items_are_embedded_does_not_train_again(changed):
    content = config()
    content["models"]["ws"]["embed"] = {"l2": True}
    write_config(changed, content)
    found = due(changed)
    assert not {rule for rule, _ in found if rule.startswith(("train", "tensor", "split"))}
    assert {"embed", "aggregate", "profile", "evaluate", "report"} <= {rule for rule, _ in found}
    assert {dict(wildcards)["representation"] for rule, wildcards in found if rule == "embed"} == {"ws"}


def test_a_hyperparameter_trains_its_model_only(changed):
    content = config()
    content["models"]["ws"]["train"]["learning_rate"] = 1e-3
    write_config(changed, content)
    assert {rule for rule in rules_due(changed) if rule.startswith(("train", "tensor", "split"))} == {"train_ws"}


def test_an_edit_in_one_kind_of_model_trains_that_kind_only(changed):
    path = changed / "workflow/lib/phenoloom/models/ws_dino.py"
    path.write_text(path.read_text() + "\n\nEXTRA = 1\n")
    assert {rule for rule in rules_due(changed) if rule.startswith("train")} == {"train_ws"}
