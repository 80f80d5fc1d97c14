"""Train the network of a learned aggregation on the cells of all plates: weights, card, log and who taught it."""

import platform
import shutil
from pathlib import Path

import numpy as np
import torch

from phenoloom.cell_sets.batches import SetBatches
from phenoloom.cell_sets.learning import SetContrast, Validation
from phenoloom.cell_sets.network import DeepSets
from phenoloom.cell_sets.sampling import SetSampling
from phenoloom.cell_sets.stratification import COMPOUND_SIDE, PLATE_SIDE, SPLIT, VALIDATION, labels_of, stratify
from phenoloom.cell_sets.weights import save
from phenoloom.cell_sets.wells import KEYS
from phenoloom.core.files import atomic
from phenoloom.core.provenance import versions
from phenoloom.core.tables import write_table
from phenoloom.core.words import count
from phenoloom.metric_learning.splits import TRAIN, stream
from phenoloom.networks.device import choose_device, fast_bfloat16
from phenoloom.training import card, checkpoints
from phenoloom.training.fit import fit
from phenoloom.training.logs import TABLE
from phenoloom.training.randomness import key

PACKAGES = ("torch", "pytorch-lightning", "pytorch-metric-learning", "safetensors", "numpy", "scikit-learn")


def train(options, cells, outputs, folder, *, seed, threads, gpus, ledger, inputs=None):
    """Train and write the files of `outputs`: weights, card, log, wells.

    options: of the step deep_sets. cells: store.Cells. folder: of the checkpoints (training.checkpoints.prepare).
    inputs: {short path: digest}, for the card. Raises InputError where there is too little to learn from, and for a
    loss that is no number.
    """
    wells = stratify(cells.wells, options, seed, ledger)
    labels, sides = labels_of(wells, options["label"]), wells[SPLIT].to_numpy()
    if options["shuffle_labels"]:
        labels = shuffled(labels, sides, seed)
    codes = np.where(sides == TRAIN, np.unique(labels, return_inverse=True)[1], -1)
    options = {**options, "sets": _of_sets(options["sets"], cells.lengths[sides == TRAIN])}
    options |= {"precision": trained_in(options["precision"], gpus)}
    sampling = SetSampling(cells.lengths, codes, options["sets"], seed)
    validate = _validation(cells, wells, labels, ledger)
    torch.manual_seed(int(key(seed)))
    network = DeepSets(cells.features, options)
    block = {**options, "train": _loop(options)}
    learner = SetContrast(network, block, sampling.steps_per_epoch, seed, validate)
    teaching = count(int((sides == TRAIN).sum()), "well")
    print(
        f"{teaching} of {len(sampling.names):,} labels to learn from, {sampling.classes} labels with "
        f"{options['sets']['sets']} sets each per step, {count(sampling.steps_per_epoch, 'step')} an epoch",
        flush=True,
    )
    record = fit(learner, SetBatches(cells, sampling), block["train"], folder, threads=threads, gpus=gpus)
    record |= {"best_epoch": int(learner.best_epoch)}
    if validate is not None:
        record["best_score"] = float(learner.best_score)
    save(learner.backbone.cpu(), outputs["weights"])
    with atomic(outputs["log"]) as partial:
        shutil.copyfile(Path(folder) / TABLE, partial)
    write_table(outputs["wells"], wells[[*KEYS, COMPOUND_SIDE, PLATE_SIDE, SPLIT]])
    card.write(outputs["card"], _card(options, wells, labels, learner, record, seed, inputs or {}))
    checkpoints.remove(folder)


def shuffled(labels, sides, seed):
    """Labels (n,) in random order among the wells of each side: what wells teach then is nothing of their compounds."""
    result, rng = labels.copy(), stream(seed, "shuffled labels")
    for side in np.unique(sides):
        own = np.flatnonzero(sides == side)
        result[own] = labels[rng.permutation(own)]
    return result


def _of_sets(options, lengths):
    """Options of SetSampling with the number of cells of a set, by `lengths` of the wells where none is given."""
    typical = float(np.median(lengths[lengths > 0])) if lengths.any() else 1.0
    return {**options, "cells": options["cells"] or [typical, typical / 5]}


def trained_in(precision, gpus):
    """`float32` or `bfloat16`: as asked for, or by `auto` what the device of a job with `gpus` GPUs is fast in."""
    if precision != "auto":
        return precision
    return "bfloat16" if fast_bfloat16(choose_device(gpus)) else "float32"


def _validation(cells, wells, labels, ledger):
    """Validation, or None where no two validation wells with cells share a compound."""
    rows = np.flatnonzero((wells[SPLIT] == VALIDATION).to_numpy() & (cells.lengths > 0))
    names, counts = np.unique(labels[rows], return_counts=True)
    if not (counts > 1).any():
        ledger.add(
            "no two wells share a validation compound, so that the last weights are kept and not the best",
            severity="flagged",
            unit="compound",
            count=len(names),
        )
        return None
    return Validation(cells, rows, labels[rows])


def _loop(options):
    """Options of training.fit: a constant learning rate and decay, as in the paper."""
    return {
        "epochs": options["epochs"],
        "learning_rate": options["learning_rate"],
        "final_learning_rate": options["learning_rate"],
        "warmup_epochs": 0,
        "weight_decay": options["weight_decay"],
        "final_weight_decay": options["weight_decay"],
        "clip_gradient": None,
        "accumulate": 1,
        "devices": 1,
        "workers": "auto",
        "checkpoint_every": 200,
        "compile": False,
        "precision": 32,
    }


def _card(options, wells, labels, learner, record, seed, inputs):
    sides = {
        f"{name} wells": int((wells[SPLIT] == name).sum()) for name in sorted(wells[SPLIT].astype(str).unique())
    } | {"compounds": len(set(labels[labels != ""]))}
    return {
        "kind": "deep_sets",
        "network": {
            "features": learner.network.n_features,
            "phi": options["phi"],
            "rho": options["rho"],
            "parameters": sum(values.numel() for values in learner.network.parameters()),
        },
        "data": {**sides, "inputs": inputs},
        "options": options,
        "seed": seed,
        "training": record,
        "versions": {"python": platform.python_version(), **versions(PACKAGES)},
    }
