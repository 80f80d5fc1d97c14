"""Images/s of training against a plain PyTorch loop of the same model and views, waiting for data, share of the peak.

Run with the main environment's Python and the library on the path:

    PYTHONPATH=workflow/lib python benchmarks/training.py small --threads 2      # crops of 64 pixels, a small ViT
    PYTHONPATH=workflow/lib python benchmarks/training.py scdino --batch 64      # ViT-S/16, 5 channels, 224 pixels
    PYTHONPATH=workflow/lib python benchmarks/training.py ws_dino_bbbc021        # ViT-S/8 on fields of 512 x 640

The tensor is random pixels on disk, read as in a study. The plain loop holds its batches in memory, as if reading cost
nothing, and is given the same threads, precision and steps; the two take turns, and the faster turn of each counts.
Operations are those of the backbones (card.flops_per_image). The device's rate is that of the product of two square
matrices, in the precision of the training.
"""

import argparse
import contextlib
import copy
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from phenoloom.models import dino
from phenoloom.models.presets import PRESETS
from phenoloom.models.train import initial_network
from phenoloom.networks.device import choose_device
from phenoloom.tensors.store import Items, TensorWriter
from phenoloom.training.card import flops_per_image
from phenoloom.training.checkpoints import prepare
from phenoloom.training.data import Batches, EachOnce
from phenoloom.training.fit import fit

COMMON = {
    "weights": None,
    "network": {"architecture": "vit", "size": "small", "patch": 16},
    "train": {
        "epochs": 1,
        "warmup_epochs": 0,
        "learning_rate": 5e-4,
        "final_learning_rate": 1e-6,
        "weight_decay": 0.04,
        "final_weight_decay": 0.4,
        "clip_gradient": 3.0,
        "accumulate": 1,
        "precision": "auto",
        "workers": "auto",
        "checkpoint_every": 10**9,
        "compile": False,
        "devices": 1,
    },
    "views": {
        "n_global": 2,
        "global_size": 224,
        "global_scale": [0.4, 1.0],
        "n_local": 8,
        "local_size": 96,
        "local_scale": [0.05, 0.4],
        "aspect": 4 / 3,
        "flips": True,
        "rotate": False,
        "brightness": 0,
        "contrast": 0,
        "blur": 0,
        "noise": 0,
    },
    "head": {
        "layers": 3,
        "hidden": 2048,
        "bottleneck": 256,
        "out": 65536,
        "normalize_last": True,
        "freeze_last_epochs": 0,
    },
    "teacher": {
        "momentum": 0.996,
        "final_momentum": 1.0,
        "temperature": 0.04,
        "warmup_temperature": 0.04,
        "warmup_epochs": 0,
        "student_temperature": 0.1,
        "centre_momentum": 0.9,
    },
}
#: What seconds are: of the wall, or, where others use the machine too and threads is 1, of this process.
CLOCK = {"wall": time.perf_counter, "cpu": time.process_time}
#: (block, channels, size, items, batch) of each case.
CASES = {
    "small": (
        {
            "network": {"patch": 8, "dim": 128, "depth": 6, "heads": 4},
            "views": {"global_size": 64, "local_size": 32, "n_local": 4, "brightness": 0.2, "contrast": 0.2},
            "head": {"hidden": 512, "bottleneck": 128, "out": 1024},
        },
        5,
        (64, 64),
        2048,
        32,
    ),
    "scdino": (PRESETS["scdino"], 5, (100, 100), 2048, 64),
    "ws_dino_bbbc021": (PRESETS["ws_dino_bbbc021"], 1, (512, 640), 256, 16),
}


def merged(below, above):
    """A config with another one on top."""
    result = copy.deepcopy(below)
    for name, value in above.items():
        result[name] = merged(result[name], value) if isinstance(value, dict) and name in result else value
    return result


def make_items(folder, channels, size, n):
    """Items of random pixels, on disk."""
    rng = np.random.default_rng(0)
    names = [f"Channel{number}" for number in range(channels)]
    with TensorWriter(folder / "one.npy", names, size) as writer:
        for start in range(0, n, 256):
            some = min(256, n - start)
            writer.append(
                rng.normal(1000, 200, size=(some, channels, *size)).astype(np.float32),
                pd.DataFrame({"Metadata_Well": ["A01"] * some}),
            )
    return Items.open([(folder / "one.npy", folder / "one.items.parquet")])


def matmul_rate(device, precision, side, clock):
    """Floating-point operations per second of a product of square matrices."""
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision, torch.float32)
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(8):
        synchronise(device)
        started = clock()
        one @ other
        synchronise(device)
        times.append(clock() - started)
    return 2 * side**3 / min(times)


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def plain(learner, batches, steps, device, precision, clock):
    """Seconds of a plain loop over batches that lie in memory."""
    learner = learner.to(device)
    optimizer = learner.configure_optimizers()
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    ready = [
        {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batches[step].items()}
        for step in range(min(steps, 4))
    ]
    times = []
    for step in range(steps):
        synchronise(device)
        started = clock()
        learner.values = {name: schedule(step) for name, schedule in learner.schedules.items()}
        for group in optimizer.param_groups:
            group["lr"] = learner.values["learning_rate"]
        optimizer.zero_grad()
        with torch.autocast("cuda", half) if half else contextlib.nullcontext():
            loss = learner.loss(ready[step % len(ready)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 3.0)
        optimizer.step()
        learner.after_update(step)
        synchronise(device)
        times.append(clock() - started)
    return statistics.median(times[1:])


def ours(learner, batches, options, threads, gpus, clock):
    """(seconds of a step, record) of training here."""
    times = []

    def note(step, real=learner.after_update):
        real(step)
        times.append(clock())

    learner.after_update = note
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        record = fit(learner, batches, options, prepare(folder, "one"), threads=threads, gpus=gpus)
    return statistics.median(np.diff(times)), record


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCK, default="wall")
    given = parser.parse_args()
    clock = CLOCK[given.clock]
    block, channels, size, n, batch = CASES[given.case]
    block = merged(COMMON, block)
    options = block["train"] | {"batch": given.batch or batch, "epochs": 1}
    block["train"] = options
    torch.set_num_threads(given.threads)
    device = choose_device(given.gpus)
    with tempfile.TemporaryDirectory() as folder:
        items = make_items(Path(folder), channels, size, n)
        batches = Batches(items, EachOnce(np.arange(n), 0), options["batch"], given.steps, 0)

        def model():
            return dino.learner(initial_network({**block, "weights": None}, channels, 0), block, given.steps, 0)

        operations = flops_per_image(model(), channels)
        here, there = [], []
        for _ in range(given.turns):
            seconds, record = ours(model(), batches, options, given.threads, given.gpus, clock)
            here.append(seconds)
            there.append(plain(model(), batches, given.steps, device, record["precision"], clock))
    rate = matmul_rate(device, record["precision"], 8192 if device.type == "cuda" else 1024, clock)
    images, plain_images = (options["batch"] / min(times) for times in (here, there))
    print(f"device           {record['device']}, {given.threads} threads, {record['precision']}")
    print(f"ours             {images:,.1f} images/s")
    print(f"plain loop       {plain_images:,.1f} images/s   ratio {images / plain_images:.3f}")
    print(f"data wait        {100 * record['data_wait']:.1f} %")
    print(f"operations       {operations / 1e9:,.1f} GFLOP per image, {operations * images / 1e12:,.2f} TFLOP/s")
    print(f"matrix product   {rate / 1e12:,.2f} TFLOP/s   share reached {100 * operations * images / rate:.0f} %")
    print(
        f"memory           {record['peak_memory_mb']:,.0f} MiB, device {record['peak_device_memory_mb'] or 0:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
