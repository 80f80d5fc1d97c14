"""Averages, deviations and their fusion with covariances in a study, from a table of single cells to the report."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from test_reruns import jobs

import finished_study

pytestmark = pytest.mark.slow

CONFIG = "fusion.yaml"
RESULTS = "results/fusion"
PROFILES = f"{RESULTS}/d/profiles/cells"
HOSTILE = "P 2; <b>'µ"


def cells():
    """Cells of two plates whose compounds differ in correlations and in no mean or deviation; one well has one cell."""
    rng, parts = np.random.default_rng(0), []
    mixing = rng.normal(size=(4, 8, 8))
    mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)
    for plate in ("P1", HOSTILE):
        for number in range(16):
            values = rng.normal(size=(150, 8)) @ mixing[number % 4]
            frame = pd.DataFrame(values, columns=[f"Cells_{letter}" for letter in "abcdefgh"])
            frame = frame.assign(Cells_Location_X=rng.normal(size=150) * 1e6)
            keys = {"Metadata_Plate": plate, "Metadata_Well": f"{'AB'[number // 8]}{number % 8 + 1:02d}"}
            keys |= {"Metadata_Perturbation": "DMSO" if number % 4 == 0 else f"c{number % 4}"}
            parts.append(frame.assign(**keys, Metadata_MoA="" if number % 4 == 0 else f"m{number % 2}"))
    parts.append(parts[0].head(1).assign(Metadata_Well="C01"))
    return pd.concat(parts, ignore_index=True)


def config():
    scaled = {"normalize": {"method": "mean_absolute_deviation", "samples": "all"}}
    quick = {"permutations": 3, "bootstrap": 20}
    return {
        "study": "fusion",
        "datasets": {
            "d": {
                "representations": {
                    "cells": {"table": "cells.parquet", "level": "cells", "controls": {"negative": ["DMSO"]}},
                }
            }
        },
        "profiles": {
            "average": [{"aggregate": {"operation": "mean"}}, scaled],
            "mean_sd": [
                {"aggregate": {"operation": "mean", "dispersion": "std"}},
                scaled,
                {"feature_select": {"operations": ["blocklist"], "blocklist": ["*_Location_*"]}},
            ],
            "fusion": [
                {"normalize": {"method": "standardize", "samples": "all"}},
                {"aggregate": {"operation": "mean", "covariances": 50, "blocklist": ["*_Location_*"]}},
                scaled,
                {"fuse": {}},
            ],
        },
        "evaluation": {
            "replicates": {"metric": "mean_average_precision", "against": ["cells/average"], **quick},
            "on_one_plate": {"metric": "mean_average_precision", "samples": "Metadata_Plate == 'P1'", **quick},
            "activity": {"metric": "activity", "null_size": 100, **quick},
            "nsc": {"metric": "nsc", "permutations": 5},
            "doses": {"metric": "dose_response", "of": ["cells/average"], "permutations": 5},
        },
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The study after a whole run."""
    folder = tmp_path_factory.mktemp("fusion") / "work"
    finished_study.checkout(folder)
    cells().to_parquet(folder / "cells.parquet")
    (folder / CONFIG).write_text(yaml.safe_dump(config(), sort_keys=False))
    finished_study.command(folder, "phenoloom", "run", CONFIG, "all", "--cores", "2")
    return folder


def due(folder, content):
    """Rules of the jobs that a dry run of a changed config lists."""
    (folder / CONFIG).write_text(yaml.safe_dump(content, sort_keys=False))
    found = jobs(finished_study.command(folder, "snakemake", "--dry-run", "all", "--configfile", CONFIG))
    (folder / CONFIG).write_text(yaml.safe_dump(config(), sort_keys=False))
    return {rule for rule, _ in found} - {"all"}


def test_each_chain_has_its_columns(folder):
    columns = {name: pq.read_schema(folder / PROFILES / name / "wells.parquet").names for name in config()["profiles"]}
    assert "Cells_a" in columns["average"] and not any(name.endswith("__Std") for name in columns["average"])
    assert {"Cells_a", "Cells_a__Std"} <= set(columns["mean_sd"]) and "Cells_Location_X__Std" not in columns["mean_sd"]
    assert [name for name in columns["fusion"] if not name.startswith("Metadata_")] == [
        f"Similarity_{number + 1:05d}" for number in range(32)
    ]
    ledger = pd.read_parquet(folder / RESULTS / "ledger.parquet")
    assert ledger["reason"].str.contains("well C01 of plate P1 has 1 cells").any()


def test_the_fusion_retrieves_what_the_average_does_not(folder):
    table = pd.read_parquet(folder / RESULTS / "comparison.parquet")
    table = table[(table["evaluation"] == "replicates") & (table["label"] == "mean average precision")]
    difference = table.set_index("profile")["difference"]
    assert difference["fusion"] > 0.2 and abs(difference["mean_sd"]) < 0.2
    scores = pd.read_parquet(folder / RESULTS / "evaluation.parquet")
    found = scores[scores["profile"] == "fusion"].groupby("evaluation")["value"].first()
    assert set(found.index) == {"replicates", "on_one_plate", "activity", "nsc"} and found["on_one_plate"] > 0.6


def test_the_report_shows_the_fusion(folder):
    text = (folder / RESULTS / "report.html").read_text()
    assert "of the similarities between 32 wells" in text and "cells/fusion" in text


def test_a_seed_is_of_what_is_drawn_only(folder):
    assert due(folder, config()) == set()
    changed = config() | {"seed": 5}
    changed["profiles"] = {name: steps for name, steps in changed["profiles"].items() if name != "fusion"}
    assert "aggregate" not in due(folder, changed)
    assert {"aggregate", "profile"} <= due(folder, config() | {"seed": 5})
