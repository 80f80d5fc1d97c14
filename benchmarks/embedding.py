"""Embedding: images per second of ours, files and table included, against a plain PyTorch loop, in one run.

python benchmarks/embedding.py [--size small] [--patch 16] [--side 224] [--channels 5] [--items 256] [--batch 32]
    [--threads 1] [--repeats 3] [--device cpu|cuda]

Both sides run the same vision transformer of transformers with new weights over the same stored tensor of random
integers, in the same precision (float32 on the CPU, bfloat16 on a GPU), interleaved. The loop reads a batch, computes,
and keeps the vectors; ours reads ahead, computes, checks, and writes the table of a plate. Beside the rates stand the
operations per second of the quickest repeat and their share of the quickest product of large matrices, measured between
the repeats.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "lib"))

from phenoloom.core.ledger import Ledger
from phenoloom.embedding import embed, load_parts
from phenoloom.networks import weights
from phenoloom.networks.backbone import build
from phenoloom.networks.device import mixed_precision
from phenoloom.networks.flops import flops
from phenoloom.tensors.store import Items, TensorWriter


def simulate(path, number, channels, side):
    """Write a tensor of random pixels."""
    rng = np.random.default_rng(0)
    with TensorWriter(path, channels, (side, side)) as writer:
        for start in range(0, number, 64):
            rows = np.arange(start, min(start + 64, number))
            metadata = pd.DataFrame({"Metadata_Well": "A01", "Metadata_Site": rows})
            writer.append(rng.random((len(rows), len(channels), side, side), dtype=np.float32), metadata)


def wait(device):
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matrix_rate(device):
    """Operations per second of products of large matrices, the best of ten, in the precision of the network."""
    size, kind = (8192, torch.bfloat16) if device.type == "cuda" else (1536, torch.float32)
    left, right = torch.randn(2, size, size, device=device, dtype=kind)
    best = np.inf
    for _ in range(10):
        wait(device)
        start = time.perf_counter()
        left @ right
        wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def loop(items, network, batch, device):
    """(images per second, vectors) of a loop over batches of the network of transformers itself."""
    start, found = time.perf_counter(), []
    for first in range(0, len(items), batch):
        images = torch.from_numpy(items.read(np.arange(first, min(first + batch, len(items))))).to(device)
        with torch.inference_mode(), mixed_precision(device):
            found.append(network(images).last_hidden_state[:, 0].float().cpu())
    return len(items) / (time.perf_counter() - start), torch.cat(found).numpy()


def ours(items, parts, batch, threads, device, folder):
    """(images per second, vectors) of our embedding, the written table included."""
    options = {"views": "whole", "l2": False, "batch": batch}
    files, gpus = (folder / "P.parquet", folder / "P.images.parquet"), int(device.type == "cuda")
    start = time.perf_counter()
    split = np.full(len(items), "all", dtype=object)
    embed(items, split, parts, options, files, "m", "sites", Ledger("embed"), threads, gpus)
    seconds = time.perf_counter() - start
    return len(items) / seconds, pd.read_parquet(files[0]).filter(like="Embedding").to_numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", default="small")
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--side", type=int, default=224, help="of an image, in pixels")
    parser.add_argument("--channels", type=int, default=5)
    parser.add_argument("--items", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, channels = torch.device(given.device), [f"c{number}" for number in range(given.channels)]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        simulate(folder / "P.npy", given.items, channels, given.side)
        torch.manual_seed(0)
        backbone = build("vit", given.channels, given.side, {"size": given.size, "patch": given.patch})
        weights.save(backbone, folder / "m.safetensors", channels=channels, normalize="image", kind="dino")
        parts = load_parts([folder / "m.safetensors"])
        network = parts[0].backbone.network.to(device)
        items = Items.open([(folder / "P.npy", folder / "P.items.parquet")])
        cost = flops(parts[0].backbone, (given.channels, given.side, given.side))
        print(f"ViT {given.size}/{given.patch}, {given.channels} x {given.side} x {given.side}, ", end="")
        print(f"{cost / 1e9:.1f} GFLOP per image, {given.items} images in batches of {given.batch}, {device}")
        loop(items, network, given.batch, device)
        rates, fastest = {"loop": [], "ours": []}, 0.0
        for _ in range(given.repeats):
            fastest = max(fastest, matrix_rate(device))
            rate, expected = loop(items, network, given.batch, device)
            rates["loop"].append(rate)
            rate, found = ours(items, parts, given.batch, given.threads, device, folder)
            rates["ours"].append(rate)
        print(f"products of matrices: {fastest / 1e12:.3f} TFLOP/s")
        for name, values in rates.items():
            reached = max(values) * cost
            print(f"{name}  {', '.join(f'{value:8.1f}' for value in values)} images/s", end="")
            print(f", {reached / 1e12:.3f} TFLOP/s, {100 * reached / fastest:.0f} % of products of matrices")
        ratios = sorted(a / b for a, b in zip(rates["ours"], rates["loop"], strict=True))
        print(f"ours / loop: {np.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")
        print(f"largest difference of a value: {np.abs(found - expected).max():.1g}")


if __name__ == "__main__":
    main()
