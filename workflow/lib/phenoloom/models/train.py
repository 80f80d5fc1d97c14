"""Train one network of a model: items of the training side, a kind's learner, weights, card and log."""

import functools
import importlib
import shutil
from pathlib import Path

import numpy as np
import torch

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.core.words import count
from phenoloom.metric_learning.splits import ALL, SPLIT, TRAIN
from phenoloom.networks import weights
from phenoloom.networks.backbone import build
from phenoloom.training import card, checkpoints
from phenoloom.training.data import Batches
from phenoloom.training.fit import fit, snapshot
from phenoloom.training.logs import COLUMNS, TABLE
from phenoloom.training.randomness import key


def train(block, items, split, outputs, folder, *, seed, threads, gpus, ledger, inputs=None):
    """Train a network and write its weights, snapshots, card and log.

    block: the model's completed config, whose `kind` names a module of phenoloom.models. items: tensors.store.Items
    with the channels that the network sees. split: the model's split table, a row per item, in the same order.
    outputs: paths `weights`, `card`, `log` and `snapshots` (list, in the order of epochs). folder: of the checkpoints
    (checkpoints.prepare). inputs: {short path: digest}, for the card.
    Only items with Metadata_Split train or all are learned from. With 0 epochs the new network is written as it is.
    Raises InputError for too few items or labels, for other channels than the network's, and for a loss that is no
    number.
    """
    if len(split) != len(items):
        raise InputError(f"the split has {len(split):,} rows and the tensor {len(items):,} items; make the split again")
    epochs = sorted(block["snapshots"])
    options, kind = block["train"], importlib.import_module(f"phenoloom.models.{block['kind']}")
    if epochs and epochs[-1] > options["epochs"]:
        raise InputError(f"a snapshot of epoch {epochs[-1]} is asked for, and training ends with {options['epochs']}")
    save = functools.partial(weights.save, channels=items.channels, normalize=block["normalize"], kind=block["kind"])
    backbone = initial_network(block, len(items.channels), seed)
    said, record = card.data(split, block.get("label"), inputs or {}), {}
    if options["epochs"]:
        rows = np.flatnonzero(split[SPLIT].isin([TRAIN, ALL]).to_numpy())
        batch = batch_size(len(rows), options, ledger)
        steps = options["steps_per_epoch"] or max(1, len(rows) // batch)
        draw, notes = kind.sampling(split, rows, block, seed)
        for reason, unit, number in notes:
            ledger.add(reason, severity="flagged", unit=unit, count=number)
        learner = kind.learner(backbone, block, steps, seed)
        operations = card.flops_per_image(learner, len(items.channels))
        print(f"{count(len(rows), 'item')} to learn from, {batch} per step, {steps:,} steps per epoch", flush=True)
        record = fit(
            learner,
            Batches(items, draw, batch, steps, seed),
            options,
            folder,
            threads=threads,
            gpus=gpus,
            snapshots=epochs,
            save=save,
        )
        record = {**record, "flops_per_image": operations, "batch": batch, "steps_per_epoch": steps}
        backbone = learner.backbone
        for epoch, path in zip(epochs, outputs.get("snapshots", []), strict=True):
            _copy(snapshot(folder, epoch), path)
        _copy(Path(folder) / TABLE, outputs["log"])
    else:
        with atomic(outputs["log"]) as partial:
            partial.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    save(backbone, outputs["weights"])
    card.write(outputs["card"], card.card(block, backbone, items.channels, said, record, seed))
    checkpoints.remove(folder)


def initial_network(block, n_channels, seed):
    """The Backbone that training starts from: new, with weights drawn by the seed, or loaded from `weights`."""
    torch.manual_seed(int(key(seed)))
    network = block["network"]
    if block["weights"]:
        return weights.pretrained(
            block["weights"], n_channels, block["adapt"], normalize=block["normalize"], heads=network["heads"]
        ).train()
    return build(network["architecture"], n_channels, block["views"]["global_size"], network)


def batch_size(n, options, ledger):
    """Items of a step over all devices; no more than there are, which the ledger is told. Raises InputError below 2."""
    if n < 2:
        raise InputError(f"a model needs at least two items to learn from, and has {n}; see its tensor and its split")
    wanted = options["batch"] * options["devices"]
    if n < wanted:
        ledger.add(f"steps of {n} items, for there are no more ({wanted} asked for)", severity="flagged", count=n)
    return min(n, wanted)


def _copy(source, target):
    with atomic(target) as partial:
        shutil.copyfile(source, partial)
