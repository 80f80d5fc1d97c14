"""Learned aggregation against plain PyTorch: training steps per second, and a plate's profiles against its medians.

Both train the same network on sets drawn alike from the same wells. The plain way holds wells in memory, draws each
set by itself, pads the sets of a step to the longest and masks what was filled up. Profiles of a plate are compared
with the medians that the rule `aggregate` takes of the same table. Times are CPU seconds of one process, in turns;
peak memory is that of a process of its own, which trains and makes profiles in our way only.

    python benchmarks/cell_sets.py [--features 1300] [--wells 384] [--cells 780] [--sets 8] [--classes 16] [--rounds 3]
        [--threads 2]
"""

import argparse
import multiprocessing
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import nn
from torch.nn.utils.rnn import pad_sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "lib"))

from phenoloom.cell_sets.batches import SetBatches
from phenoloom.cell_sets.learning import SetContrast
from phenoloom.cell_sets.network import DeepSets
from phenoloom.cell_sets.sampling import SetSampling
from phenoloom.cell_sets.store import Cells, write_cells
from phenoloom.cell_sets.train import trained_in
from phenoloom.cell_sets.wells import wells_of_plate
from phenoloom.core.ledger import Ledger
from phenoloom.profiles.aggregation import aggregate_table, prepared
from phenoloom.profiles.dropped import Dropped

NETWORK = {"phi": 2048, "rho": [512, 2048]}
LOOP = {"epochs": 1, "warmup_epochs": 0, "learning_rate": 5e-4, "final_learning_rate": 5e-4}
LOOP |= {"weight_decay": 1e-2, "final_weight_decay": 1e-2}
BLOCK = {"train": LOOP, "temperature": 0.1, "patience": 1}
STEPS = [{"deep_sets": {"minimum_cells": 1}}]
PLAIN = {"dispersion": None, "covariances": 0, "blocklist": []}
MEDIAN = [{"aggregate": {"operation": "median", "minimum_cells": 1, **PLAIN}}]


class Plain(nn.Module):
    """The same network on padded sets."""

    def __init__(self, deep_sets):
        super().__init__()
        self.phi, self.rho = deep_sets.phi, deep_sets.rho

    def forward(self, padded, lengths):
        inside = torch.arange(padded.shape[1])[None, :] < lengths[:, None]
        return self.rho((self.phi(padded) * inside[..., None]).sum(dim=1))


def write_plate(folder, wells, cells, features, seed=0):
    """Table of single cells of a plate, well by well, and its wells' compounds; four wells of each."""
    rng, path = np.random.default_rng(seed), folder / "cells.parquet"
    names = [f"{chr(65 + well // 24)}{well % 24 + 1:02d}" for well in range(wells)]
    columns = [f"Cells_{number:04d}" for number in range(features)]
    with_keys = pa.schema([("Metadata_Plate", pa.string()), ("Metadata_Well", pa.string())])
    schema = pa.schema([*with_keys, *((name, pa.float32()) for name in columns)])
    with pq.ParquetWriter(path, schema) as writer:
        for name in names:
            values = rng.normal(size=(max(1, round(rng.normal(cells, cells / 5))), features)).astype(np.float32)
            frame = pd.DataFrame(values, columns=columns)
            frame.insert(0, "Metadata_Plate", "P1")
            frame.insert(1, "Metadata_Well", name)
            writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
    return path, np.arange(wells) // 4


def plain_step(network, optimizer, criterion, held, members, options, rng):
    """A step in plain PyTorch: draw, pad, forward, backward, update."""
    sets, labels = [], []
    for label in rng.choice(len(members), size=min(options["classes"], len(members)), replace=False):
        for _ in range(options["sets"]):
            wells = rng.choice(members[label], size=2 if rng.random() < options["two_wells"] else 1, replace=False)
            pool = torch.cat([held[well] for well in wells])
            size = max(1, round(rng.normal(*options["cells"])))
            sets.append(pool[torch.from_numpy(rng.integers(len(pool), size=size))])
            labels.append(label)
    lengths = torch.tensor([len(one) for one in sets])
    loss = criterion(network(pad_sequence(sets, batch_first=True), lengths), torch.tensor(labels))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def own_step(learner, optimizer, batches, step):
    """The same step as the rule deep_sets takes it, Lightning's loop left out."""
    loss = learner.loss(batches[step])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def compare_training(cells, labels, options, rounds):
    """Print CPU seconds per step of both ways and their ratio."""
    torch.manual_seed(0)
    sampling = SetSampling(cells.lengths, labels, options, 1)
    learner = SetContrast(DeepSets(cells.features, options | NETWORK), BLOCK, 1, 1)
    plain = Plain(DeepSets(cells.features, NETWORK))
    held = [torch.from_numpy(cells.read(well)) for well in range(len(cells.lengths))]
    members = [np.flatnonzero(labels == name) for name in np.unique(labels)]
    batches, rng, criterion = SetBatches(cells, sampling), np.random.default_rng(1), SupConLoss(temperature=0.1)
    optimizers = [torch.optim.AdamW(one.parameters(), 5e-4, weight_decay=1e-2) for one in (learner.network, plain)]
    took = [[], []]
    for step in range(rounds + 1):
        took[0].append(seconds(lambda step=step: own_step(learner, optimizers[0], batches, step)))
        took[1].append(seconds(lambda: plain_step(plain, optimizers[1], criterion, held, members, options, rng)))
    own, other = (float(np.median(times[1:])) for times in took)  # the first step warms up
    batch = batches[0]
    print(
        f"training: {own:.2f} s per step, plain {other:.2f} s: {other / own:.2f} times as fast; "
        f"{int(batch['times'].sum()):,} cells drawn, {len(batch['cells']):,} different ones"
    )


def compare_profiles(path, paths, cells, precision, rounds):
    """Print CPU seconds of a plate's learned profiles and of its medians, and their ratio."""
    network = DeepSets(cells.features, NETWORK | {"precision": precision}).eval()
    sides = cells.wells[["Metadata_Plate", "Metadata_Well"]]
    took = [[], []]
    for _ in range(rounds):
        took[0].append(seconds(lambda: wells_of_plate(network, Cells(*paths), sides)))
        took[1].append(seconds(lambda: aggregate_table(path, MEDIAN, Ledger("b"), Dropped())))
    own, median = (float(np.median(times)) for times in took)
    print(f"a plate: learned {own:.2f} s, median {median:.2f} s: {own / median:.2f} times as long")


def peak_of_training(paths, labels, options, steps=2):
    """Print the peak memory of a process that trains and makes a plate's profiles as the rules do, and no other way."""
    cells = Cells(*paths)
    learner = SetContrast(DeepSets(cells.features, options | NETWORK), BLOCK, 1, 1)
    batches = SetBatches(cells, SetSampling(cells.lengths, labels, options, 1))
    optimizer = torch.optim.AdamW(learner.network.parameters(), 5e-4)
    for step in range(steps):
        own_step(learner, optimizer, batches, step)
    wells_of_plate(learner.network, cells, cells.wells[["Metadata_Plate", "Metadata_Well"]])
    # Of this process alone: getrusage would tell the peak of the one that began it.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]
    print(f"peak memory: {int(peak) / 2**20:.2f} GiB")


def seconds(call):
    """CPU seconds of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1300)
    parser.add_argument("--wells", type=int, default=384)
    parser.add_argument("--cells", type=int, default=780, help="mean of a well's cells")
    parser.add_argument("--sets", type=int, default=8, help="sets of a compound in a step")
    parser.add_argument("--classes", type=int, default=16, help="compounds of a step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    precision = trained_in(given.precision, gpus=0)
    options = {"classes": given.classes, "sets": given.sets, "sets_per_epoch": given.sets, "precision": precision}
    options |= {"cells": [given.cells, given.cells / 5], "two_wells": 0.5}
    with tempfile.TemporaryDirectory() as folder:
        path, labels = write_plate(Path(folder), given.wells, given.cells, given.features)
        units = prepared(path, STEPS, Ledger("b"), Dropped())
        paths = [Path(folder) / "cells.npy"], [Path(folder) / "wells.parquet"]
        made = paths[0][0], paths[1][0], Path(folder) / "keys.parquet"
        took = seconds(lambda: write_cells(units, units.features, {"minimum_cells": 1}, *made, Ledger("b")))
        cells = Cells(*paths)
        size = f"{cells.lengths.sum():,} cells x {cells.features:,} features of {given.wells} wells"
        print(f"{size}; stored in {took:.1f} s")
        compare_profiles(path, paths, cells, precision, given.rounds)
        compare_training(cells, labels, options, given.rounds)
        alone = multiprocessing.get_context("spawn").Process(target=peak_of_training, args=(paths, labels, options))
        alone.start()
        alone.join()


if __name__ == "__main__":
    main()
