"""The job that trains: from stored images and a split on disk to the files of a model, also after it was stopped."""

import importlib.util
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from snakemake.iocontainers import InputFiles, OutputFiles, Params, ResourceList, Wildcards
from training_model import block, split_of

from phenoloom.core.ledger import read_ledgers
from phenoloom.core.tables import write_table
from phenoloom.networks import weights
from phenoloom.tensors.store import Items, TensorWriter

SCRIPT = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "train.py"


@pytest.fixture
def main():
    spec = importlib.util.spec_from_file_location("train_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def job_of(folder, **params):
    """What Snakemake gives the script: two plates of 10 images with three channels, of which the model sees two."""
    rng = np.random.default_rng(0)
    stored = folder / "tensors"
    for plate in ("p1", "p2"):
        with TensorWriter(stored / f"{plate}.npy", ["DNA", "ER", "AGP"], (20, 24)) as writer:
            writer.append(
                rng.normal(100, 9, size=(10, 3, 20, 24)).astype(np.float32),
                pd.DataFrame({"Metadata_Plate": [plate] * 10, "Metadata_Well": ["A01"] * 10}),
            )
    split = split_of([f"drug{number % 2}" for number in range(20)])
    write_table(folder / "split.parquet", split.assign(unit=["p1"] * 10 + ["p2"] * 10, row=[*range(10)] * 2))
    made = folder / "model"
    names = {"weights": "model.safetensors", "card": "card.json", "log": "training.csv", "ledger": "ledger.parquet"}
    tensors, rows = (
        [str(stored / f"{plate}{ending}") for plate in ("p1", "p2")] for ending in (".npy", ".items.parquet")
    )
    given = {"block": block(kind="ws_dino"), "channels": ["ER", "DNA"], "part": "all", "seed": 3, "code": "c0de"}
    inputs = InputFiles([*tensors, *rows, str(folder / "split.parquet")])
    for name, start, end in (("tensors", 0, 2), ("rows", 2, 4), ("split", 4, None), ("weights", 5, 5)):
        inputs._set_name(name, start, end=end)
    return SimpleNamespace(
        rule="train_one",
        log=[str(folder / "log" / "train.log")],
        threads=1,
        params=Params(fromdict=given | params),
        input=inputs,
        output=OutputFiles(fromdict={name: str(made / file) for name, file in names.items()}),
        wildcards=Wildcards(fromdict={"part": "all"}),
        resources=ResourceList(fromdict={"gpu": 1}),
    )


def test_it_writes_weights_card_log_and_ledger(main, tmp_path):
    main(job_of(tmp_path))
    made = tmp_path / "model"
    backbone, header = weights.load(made / "model.safetensors")
    assert header["channels"] == ["ER", "DNA"] and backbone.n_channels == 2
    text = (made / "card.json").read_text()
    assert str(tmp_path) not in text
    told = json.loads(text)
    assert told["data"]["trained_on"] == 20 and all(told["data"]["inputs"].values()) and told["seed"] == 3
    assert len((made / "training.csv").read_text().splitlines()) == 1 + 4
    assert read_ledgers([made / "ledger.parquet"]).empty
    assert "step 4 of 4 (100 %)" in (tmp_path / "log" / "train.log").read_text()


def test_a_job_that_slurm_ends_goes_on_when_it_is_given_again(main, tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    main(job_of(tmp_path / "one"))
    real, reads = Items.read, []

    def read(self, indices):
        reads.append(indices)
        if len(reads) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, indices)

    (tmp_path / "two").mkdir()
    given = job_of(tmp_path / "two")
    monkeypatch.setattr(Items, "read", read)
    with pytest.raises(SystemExit) as end:
        main(given)
    assert end.value.code == 143
    log = Path(given.log[0])
    assert "asked to end: stopped after step" in log.read_text().splitlines()[-1]
    main(given)
    assert "training goes on after step" in log.read_text()
    first, second = (tmp_path / name / "model" / "model.safetensors" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_other_options_start_from_the_beginning(main, tmp_path, monkeypatch):
    monkeypatch.setattr("phenoloom.training.checkpoints.remove", lambda folder: None)
    main(job_of(tmp_path))
    left = [path.name for path in (tmp_path / "model" / "checkpoints").iterdir()]
    main(job_of(tmp_path, block=block(kind="ws_dino", train={"learning_rate": 2e-3})))
    assert "goes on" not in (tmp_path / "log" / "train.log").read_text()
    assert [path.name for path in (tmp_path / "model" / "checkpoints").iterdir()] != left


def test_another_number_of_channels_than_that_of_the_weights_is_said_in_one_sentence(main, tmp_path):
    (tmp_path / "first").mkdir()
    main(job_of(tmp_path / "first", block=block(train={"epochs": 0})))
    given = job_of(
        tmp_path, block=block(weights=str(tmp_path / "first" / "model" / "model.safetensors")), channels=["ER"]
    )
    with pytest.raises(SystemExit):
        main(given)
    log = Path(given.log[0]).read_text()
    assert "sees 2 channels and is to see 1" in log and "Traceback" not in log
