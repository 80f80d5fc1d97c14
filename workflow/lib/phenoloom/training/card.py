"""The card of a model: what it was trained on and how, what it took. Holds no absolute path, is no rule's input."""

import copy
import json
import os
import platform
from pathlib import Path

import torch

from phenoloom.core.files import write_text
from phenoloom.core.provenance import versions
from phenoloom.metric_learning.splits import ALL, SPLIT, TEST, TRAIN
from phenoloom.networks.flops import flops

PACKAGES = (
    "torch",
    "pytorch-lightning",
    "transformers",
    "kornia",
    "pytorch-metric-learning",
    "safetensors",
    "numpy",
)


def card(block, backbone, channels, data, training, seed):
    """The card as a dict.

    block: the model's config. data: what data(...) says. training: the record of fit, {} for a network that was not
    trained.
    """
    options = dict(block)
    if options.get("weights"):
        options["weights"] = "/".join(Path(options["weights"]).parts[-2:])
    return {
        "kind": block["kind"],
        "channels": list(channels),
        "network": {**backbone.description(), "parameters": sum(one.numel() for one in backbone.network.parameters())},
        "data": data,
        "options": options,
        "seed": seed,
        "training": training,
        "versions": {"python": platform.python_version(), **versions(PACKAGES)},
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "cuda": torch.version.cuda},
    }


def data(split, label, inputs):
    """What a model saw: numbers of items, by label if it has one. inputs: {short path of an input: its digest}."""
    sides = split[SPLIT]
    said = {
        "items": len(split),
        "trained_on": int(sides.isin([TRAIN, ALL]).sum()),
        "held_out": int((sides == TEST).sum()),
        "transductive": bool((sides == ALL).any()),
        "inputs": inputs,
    }
    if label is not None:
        said["label"] = label
        counts = split.loc[sides.isin([TRAIN, ALL]), "Metadata_WeakLabel"].value_counts()
        said["items_by_label"] = {str(name): int(number) for name, number in sorted(counts.items())}
    return said


def flops_per_image(learner, n_channels):
    """Floating-point operations to train on one image: its views through the backbones, forward and backward.

    A backward pass counts as two forward passes; the head, the loss and the views are left out.
    """
    # A copy: batch normalisation counts what passes through it.
    backbone = copy.deepcopy(learner.backbone).eval()
    return sum(views * times * flops(backbone, (n_channels, side, side)) for views, side, times in learner.passes())


def write(path, said):
    """Write a card as JSON."""
    write_text(path, json.dumps(said, indent=2, sort_keys=True, default=str) + "\n")
