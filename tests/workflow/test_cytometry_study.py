"""A study of a simulated sorter, from its files to the evaluation: what it finds, and what reruns after a change."""

import os
import shutil

import pandas as pd
import pytest
import tifffile
import yaml
from test_reruns import jobs

import finished_study
from phenoloom.core.names import encode
from phenoloom.simulate.sorter import CLASSES, DEFECTS, write_run

CONFIG = "sorter.yaml"
RESULTS = "results/sorter"
BATCHES = {"one": "1", "two ü": "2"}
EVENTS = 120
BAD = dict.fromkeys(DEFECTS, 1)


def config():
    """Config of the study, as a dict that tests may change."""
    chain = [
        {"split": {"hold_out": "Batch", "groups": ["2"]}},
        {"select": {"correlation": 0.95}},
        {"scale": {"method": "standard"}},
        {"pca": {"n": 20}},
        {"metric": {"method": "nca", "n": 4, "max_iter": 30}},
    ]
    return {
        "study": "sorter",
        "datasets": {
            "cells": {
                "assay": "cytometry",
                "samples": "samples.tsv",
                "channels": {
                    "DNA": {"source": "DNA-A"},
                    "Bodies": {"source": "Bodies"},
                    "FSC": {"source": "FSC-A", "kind": "brightfield"},
                },
                "events": {"format": "sorter", "pattern": "*_{event}.tiff", "labels": {"Label": "Class"}},
                "crops": {"bad": {"saturation": 1.0, "cut_off": 0.1}},
                "features": {"classical": {"groups": ["intensity", "shape", "moments", "granularity"], "scales": 4}},
            }
        },
        "cell_profiles": {"nca": chain, "shuffled": [{"permute": {"column": "Label"}}, *chain]},
        "evaluation": {
            "held_out": {"metric": "held_out_accuracy", "level": "cells", "permutations": 50, "bootstrap": 50},
            "clusters": {
                "metric": "clusters",
                "level": "cells",
                "resolutions": [0.5],
                "seeds": 2,
                "of": ["classical/nca"],
            },
        },
    }


def write_config(folder, content):
    (folder / CONFIG).write_text(yaml.safe_dump(content, sort_keys=False))


def run(folder, *more):
    """Run the study up to its evaluation; return what is printed."""
    return finished_study.command(folder, "phenoloom", "run", CONFIG, "evaluation", "--cores", "1", *more)


def due(folder):
    """Jobs that a dry run lists after the files were listed again: {(rule, wildcards)}."""
    finished_study.command(folder, "phenoloom", "prepare", CONFIG, "--threads", "1")
    return jobs(finished_study.command(folder, "snakemake", "--dry-run", "evaluation", "--configfile", CONFIG))


def read(folder, path):
    return pd.read_parquet(folder / RESULTS / path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study after a whole run, in a checkout of its own, and what the run printed."""
    folder = tmp_path_factory.mktemp("sorter") / "work"
    finished_study.checkout(folder)
    lines = ["sample\tbatch\timages\tfcs\tevents"]
    for number, (sample, batch) in enumerate(BATCHES.items()):
        name = f"run{batch}"
        write_run(folder / name, name, EVENTS, seed=7 + number, batch=batch, defects=BAD)
        lines.append("\t".join([sample, batch, f"{name}/images", f"{name}/{name}.fcs", f"{name}/{name}_classes.csv"]))
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_config(folder, config())
    return folder, run(folder)


@pytest.fixture
def changed(study, tmp_path):
    """A copy of the finished study, to be changed."""
    shutil.copytree(study[0], tmp_path / "work", symlinks=True)
    return tmp_path / "work"


def test_every_event_is_kept_or_in_the_ledger(study):
    folder, _ = study
    for sample in BATCHES:
        name = encode(sample)
        events = read(folder, f"cells/events/{name}.parquet")
        ledgers = [read(folder, f"cells/{stage}/{name}.ledger.parquet") for stage in ("manifests", "events")]
        rows = pd.concat(ledgers)
        lost = rows[rows["severity"] == "lost"]
        assert (rows["plate"] == sample).all() and (lost["unit"] == "event").all()
        assert len(events) + lost["count"].sum() == EVENTS - BAD["missing"], sample
        assert len(lost) == sum(BAD.values()) - BAD["missing"], sample
        without = rows[rows["reason"].str.contains("without a usable image")]
        assert len(events) + without["count"].sum() == EVENTS, sample


def test_labels_belong_to_their_events(study):
    folder, _ = study
    for sample, batch in BATCHES.items():
        truth = pd.read_csv(folder / f"run{batch}" / f"run{batch}_classes.csv").set_index("Event")["Class"]
        events = read(folder, f"cells/events/{encode(sample)}.parquet").set_index("Metadata_Event")
        assert events["Metadata_Label"].tolist() == truth[events.index].tolist()
        assert set(events["Metadata_Batch"]) == {batch} and set(events["Metadata_Sample"]) == {sample}


def test_classes_are_recovered_on_the_batch_held_out_and_shuffled_labels_are_not(study):
    scores = read(study[0], "evaluation.parquet")
    accuracy = scores[scores["label"] == "balanced accuracy"].set_index("profile")["value"]
    assert accuracy["nca"] > 0.8
    assert abs(accuracy["shuffled"] - 1 / len(CLASSES)) < 0.15
    purity = scores[scores["label"].str.startswith("purity, 4 clusters")]
    assert purity["value"].item() > 0.8 > 0.5 > purity["null"].item()
    cells = read(study[0], "cells/cell_profiles/classical/nca/cells.parquet")
    assert set(cells.groupby("Metadata_Split", observed=True)["Metadata_Batch"].unique().map(tuple)) == {("1",), ("2",)}


def test_a_second_run_and_touched_files_rerun_nothing(changed):
    for path in [*(changed / "run1" / "images").iterdir(), changed / "run2" / "run2.fcs", changed / "samples.tsv"]:
        os.utime(path)
    assert due(changed) == set()


def test_another_image_reruns_its_sample_and_what_follows(changed):
    path = sorted((changed / "run2" / "images").iterdir())[0]
    tifffile.imwrite(path, tifffile.imread(path)[:, ::-1], photometric="minisblack", metadata=None)
    found = due(changed)
    assert {rule for rule, _ in found} >= {"events", "crop_features", "cell_profile", "evaluate", "evaluation_table"}
    assert {dict(wildcards).get("sample") for _, wildcards in found} == {encode("two ü"), None}


def test_an_option_of_a_metric_reruns_its_own_chain(changed):
    content = config()
    content["cell_profiles"]["nca"] = [*content["cell_profiles"]["nca"][:-1], {"metric": {"method": "nca", "n": 3}}]
    write_config(changed, content)
    found = due(changed)
    assert {rule for rule, _ in found} == {"cell_profile", "evaluate", "evaluation_table", "evaluation"}
    assert {dict(wildcards).get("profile") for _, wildcards in found} == {"nca", None}
