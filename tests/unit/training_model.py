"""A small model, its items in memory and its config, for tests of training."""

import copy

import numpy as np
import pandas as pd

from phenoloom.core.ledger import Ledger
from phenoloom.models.train import train
from phenoloom.training.checkpoints import prepare

BLOCK = {
    "kind": "dino",
    "weights": None,
    "adapt": "average",
    "normalize": "image",
    "label": "Perturbation",
    "snapshots": [],
    "network": {"architecture": "vit", "size": "tiny", "patch": 8, "dim": 16, "depth": 1, "heads": 2},
    "train": {
        "epochs": 2,
        "steps_per_epoch": None,
        "batch": 8,
        "accumulate": 1,
        "learning_rate": 1e-3,
        "final_learning_rate": 1e-6,
        "warmup_epochs": 1,
        "weight_decay": 0.04,
        "final_weight_decay": 0.4,
        "clip_gradient": 3.0,
        "precision": "auto",
        "workers": "auto",
        "checkpoint_every": 3,
        "compile": False,
        "devices": 1,
    },
    "views": {
        "n_global": 2,
        "global_size": 16,
        "global_scale": [0.4, 1.0],
        "n_local": 2,
        "local_size": 8,
        "local_scale": [0.1, 0.4],
        "aspect": 4 / 3,
        "flips": True,
        "rotate": True,
        "brightness": 0.1,
        "contrast": 0.1,
        "blur": 0.5,
        "noise": 0.1,
    },
    "head": {
        "layers": 2,
        "hidden": 32,
        "bottleneck": 16,
        "out": 64,
        "normalize_last": True,
        "freeze_last_epochs": 1,
    },
    "teacher": {
        "momentum": 0.9,
        "final_momentum": 1.0,
        "temperature": 0.04,
        "warmup_temperature": 0.04,
        "warmup_epochs": 0,
        "student_temperature": 0.1,
        "centre_momentum": 0.9,
    },
    "loss": {
        "temperature": 0.1,
        "separation": 0.0,
        "margin": 1.0,
        "oversample": 1,
        "pretrain_epochs": 0,
        "projection": 8,
    },
}


def block(**changes):
    """The config of a small model, some of it changed: train={"epochs": 3} changes one of its options only."""
    result = copy.deepcopy(BLOCK)
    for name, value in changes.items():
        result[name] = {**result[name], **value} if isinstance(value, dict) else value
    return result


class Images:
    """Images in memory, read as the items of a tensor are."""

    def __init__(self, n=32, channels=2, size=(20, 24), seed=0):
        self.pixels = np.random.default_rng(seed).normal(size=(n, channels, *size)).astype(np.float32)
        self.channels, self.size = [f"Channel{number}" for number in range(channels)], size

    def __len__(self):
        return len(self.pixels)

    def read(self, indices):
        return self.pixels[np.asarray(indices)]


def split_of(labels, sides="all"):
    """Split table of items with these weak labels, all of one side or each of its own."""
    return pd.DataFrame({"Metadata_WeakLabel": labels, "Metadata_Split": sides})


def trained(folder, options, items=None, split=None, **more):
    """Train a model in `folder`; returns the paths of what it made and its ledger."""
    items = Images() if items is None else items
    split = split_of([f"drug{number % 4}" for number in range(len(items))]) if split is None else split
    paths = {"weights": folder / "model.safetensors", "card": folder / "card.json", "log": folder / "training.csv"}
    paths["snapshots"] = [folder / f"epoch{epoch}.safetensors" for epoch in sorted(options["snapshots"])]
    ledger = Ledger("train")
    checkpoints = prepare(folder / "checkpoints", "one")
    given = {"seed": 1, "threads": 1, "gpus": 0, **more}
    train(options, items, split, paths, checkpoints, ledger=ledger, **given)
    return paths, ledger.frame()
