"""Tensors against the images that they are made of: writing, and reading items at random, one core, in one run.

python benchmarks/tensors.py [--sites 16] [--channels 5] [--side 1080] [--size 512] [--cells 100] [--crop 64]
    [--repeats 3] [--zlib]

Sites are smooth spots with noise, 16-bit TIFF, on this machine's disk and in its page cache for both sides. Written are
fields (corrected by an illumination function and resized) and crops. Read are single fields and crops in random order,
normalised, against a loop that reads the TIFFs again each time, corrects, resizes or cuts, and normalises. Repeats are
interleaved; the fastest counts. Peak memory is that of the process after writing, above what it had before.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: one core for both

import argparse  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tifffile  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from phenoloom.core.ledger import Ledger  # noqa: E402
from phenoloom.core.tables import INDEX_SCHEMA, write_table  # noqa: E402
from phenoloom.tensors.crops import cut, top_left, write_plate_crops  # noqa: E402
from phenoloom.tensors.fields import write_fields  # noqa: E402
from phenoloom.tensors.sites import read_sites  # noqa: E402
from phenoloom.tensors.store import Items  # noqa: E402

OPTIONS = {"dtype": "uint16", "interpolation": "bicubic", "cut_off": None, "percentiles": [0.1, 99.9]}


def simulate(folder, given):
    """(index, cells) of a plate of noise; functions lie beside the images."""
    random, rows, cells = np.random.default_rng(0), [], []
    shape = (given.side, given.side)
    base = gaussian_filter(random.random(shape), 6)
    base = 4000 * (base - base.min()) / np.ptp(base)
    channels = [f"C{number}" for number in range(given.channels)]
    for channel in channels:
        np.save(folder / f"{channel}.npy", np.linspace(1, 2, base.size, dtype=np.float32).reshape(shape))
    for site in range(1, given.sites + 1):
        for channel in channels:
            path = folder / f"s{site}_{channel}.tif"
            image = random.poisson(np.roll(base, random.integers(0, given.side, 2), (0, 1)) + 200).astype(np.uint16)
            packed = {"compression": "zlib", "predictor": True} if given.zlib else {}
            tifffile.imwrite(path, image, photometric="minisblack", **packed)
            rows.append(("d", "b", "P", "A01", site, channel, str(path), 0, given.side, given.side, "uint16"))
        centres = random.uniform(given.crop, given.side - given.crop, (given.cells, 2))
        cells += [("d", "b", "P", "A01", site, site, number, *centre) for number, centre in enumerate(centres, 1)]
    names = [
        f"Metadata_{name}" for name in ("Dataset", "Batch", "Plate", "Well", "Site", "ImageNumber", "ObjectNumber")
    ]
    cells = pd.DataFrame(cells, columns=[*names, "Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"])
    write_table(folder / "cells.parquet", cells)
    return pd.DataFrame(rows, columns=INDEX_SCHEMA.names[:11]), cells, channels


def normalised(images):
    axes = {"axis": (-2, -1), "keepdims": True}
    return (images - images.mean(**axes)) / images.std(**axes)


def fastest(tasks, repeats):
    """{name: seconds} of the fastest of some runs of each task, taken in turns."""
    found = dict.fromkeys(tasks, np.inf)
    for _ in range(repeats):
        for name, task in tasks.items():
            begin = time.perf_counter()
            task()
            found[name] = min(found[name], time.perf_counter() - begin)
    return found


def main():
    parser = argparse.ArgumentParser()
    for name, value in (("sites", 16), ("channels", 5), ("side", 1080), ("size", 512), ("cells", 100), ("crop", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--zlib", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), given)


def measure(folder, given):
    index, cells, channels = simulate(folder, given)
    functions = [folder / f"{channel}.npy" for channel in channels]
    field, crop = [given.size] * 2, [given.crop] * 2
    paths = {kind: (folder / f"{kind}.npy", folder / f"{kind}.items.parquet") for kind in ("fields", "crops")}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fields = OPTIONS | {"size": field}
    crops = OPTIONS | {"size": crop, "object": "Nuclei", "edge": "drop", "max_cells": None}
    ledger = Ledger("benchmark")
    written = fastest(
        {
            "fields": lambda: write_fields(paths["fields"], index, channels, fields, ledger, functions),
            "crops": lambda: write_plate_crops(
                paths["crops"], index, folder / "cells.parquet", channels, crops, ledger, functions
            ),
            "images read and corrected alone": lambda: list(map(len, read_sites(index, channels, ledger, functions))),
        },
        given.repeats,
    )
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    raw = given.sites * given.channels * given.side**2 * 2 / 1e6
    for name, seconds in written.items():
        print(f"{name}: {seconds / given.sites * 1000:.0f} ms a site, {raw / seconds:.0f} MB/s of images")
    print(
        f"peak memory above that before: {memory:.0f} MB; a site is {given.channels * given.side**2 * 4 / 1e6:.0f} MB"
    )

    random, stored = np.random.default_rng(1), {kind: Items.open([files]) for kind, files in paths.items()}
    order = {kind: random.permutation(len(items))[:64] for kind, items in stored.items()}

    def from_images(kind):
        for number in order[kind]:
            row = stored[kind].metadata.iloc[number]
            site = index[index["site"] == row["Metadata_Site"]]
            if kind == "fields":
                images = next(read_sites(site, channels, ledger, functions, size=field))[1]
            else:
                images = next(read_sites(site, channels, ledger, functions))[1]
                cell = cells.iloc[number][["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]]
                images = cut(images, top_left(np.array([cell.to_numpy(float)]), crop), crop)[0]
            normalised(images)

    read = fastest(
        {(kind, "tensor"): lambda kind=kind: stored[kind].read(order[kind]) for kind in stored}
        | {(kind, "images"): lambda kind=kind: from_images(kind) for kind in stored},
        given.repeats,
    )
    for (kind, source), seconds in read.items():
        size = np.prod([len(order[kind]), given.channels, *stored[kind].size]) * 2 / 1e6
        print(f"{kind} from {source}: {len(order[kind]) / seconds:,.0f} a second, {size / seconds:,.0f} MB/s of items")


if __name__ == "__main__":
    main()
