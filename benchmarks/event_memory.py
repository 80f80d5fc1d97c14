"""Memory of a sorter's sample against its number of events: listing, events table and stack, features.

    python benchmarks/event_memory.py [10000 100000 1000000]

The number of events is real, in an FCS file of 20 parameters that flowio writes; the images are not: names without
files and a reader that gives some pixels, so that what grows with the events is seen and not the pixels. Prints the
peak of each step (kernel's high-water mark of a process of its own) and its seconds. Needs Linux and the main
environment.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

import flowio
import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from phenoloom.core.ledger import Ledger  # noqa: E402
from phenoloom.crops.sample import build_sample  # noqa: E402
from phenoloom.crops.table import write_features  # noqa: E402
from phenoloom.cytometry import images, manifest  # noqa: E402
from phenoloom.cytometry.samples import sample_metadata  # noqa: E402
from phenoloom.ingest import facts  # noqa: E402
from phenoloom.ingest.folders import File  # noqa: E402

STEPS = ("inputs", "import", "list", "list again", "build", "features")
PARAMETERS, PAGES, WIDTH = 20, 8, 6
CHANNELS = {"One": {"source": "P1-A"}, "Two": {"source": "3"}}
BLOCK = {
    "channels": {name: {"kind": "fluorescence", **block} for name, block in CHANNELS.items()},
    "events": {
        "format": "sorter",
        "pattern": "a_sample_with_a_name_{event}.tiff",
        "first_event": 0,
        "digest": "time",
        "pages": None,
        "grid": None,
        "fcs": {
            "policy": "lenient",
            "data_set": None,
            "bit_patterns": "auto",
            "compensate": False,
            "parameters": None,
        },
        "join": {"check": True, "at_least": 0.9},
        "labels": {"Label": "gate"},
    },
    "crops": {
        "background": {"method": "median", "border": 1},
        "bad": {"saturation": "none", "empty": 0, "saturated": 0.01, "cut_off": None},
        "canvas": "largest",
        "canvas_percentile": 99,
        "centre": "image",
        "centre_channel": None,
    },
}
FEATURES = {"groups": ["intensity"]}


def light(number):
    """Light of an event on each page, the same whenever it is asked."""
    return 1 + (number * np.arange(1, PAGES + 1) * 7919 % 1009) / 100.0


def height(number):
    return 5 + number % 4


def write_inputs(folder, events):
    """An FCS file and a table of labels."""
    numbers = np.arange(events)
    values = np.zeros((events, PARAMETERS), np.float32)
    for page in range(PAGES):
        values[:, page] = 1000 * (1 + (numbers * (page + 1) * 7919 % 1009) / 100.0)
    flat = array("f")
    flat.frombytes(values.tobytes())
    names = [f"P{number}-A" for number in range(1, PARAMETERS + 1)]
    with open(folder / "a.fcs", "wb") as file:
        flowio.create_fcs(file, flat, names)
    with open(folder / "labels.csv", "w", encoding="utf-8") as file:
        file.write("event;gate;more\n")
        file.writelines(f"{number};gate {number % 7};{number}\n" for number in range(events))
    (folder / "images").mkdir(exist_ok=True)


def without_files(events):
    """Take the place of what reads images."""
    named = "/somewhere/on/a/file/system/with/folders/a_sample_with_a_name_{:08d}.tiff"

    def walk(_):
        return [File(path.rsplit("/", 1)[1], path, 10_000 + n, n) for n in range(events) for path in [named.format(n)]]

    def read_pages(path, pages=None):
        number = int(path[-13:-5])
        pixels = np.full((PAGES, height(number), WIDTH), 0.5, np.float32)
        pixels[:, 2, 2] += light(number)
        return pixels

    manifest.walk = walk
    facts.read_header = lambda path, page=0: (WIDTH, height(int(path[-13:-5])), "float32", PAGES)
    images.read_pages = read_pages


def step(name, folder, events):
    """Do one step; return {peak in MB, seconds}."""
    if name == "inputs":
        write_inputs(folder, events)
    without_files(events)
    row = {"sample": "s", "batch": "1", "images": str(folder / "images"), "fcs": str(folder / "a.fcs")}
    row |= {"events": str(folder / "labels.csv"), "Site": "here"}
    paths = {kind: folder / f"{kind}.parquet" for kind in ("manifest", "memory", "frames", "events", "features")}
    paths["stack"] = folder / "stack.npy"
    started = time.perf_counter()
    if name.startswith("list"):
        known = pq.read_table(paths["memory"]) if name == "list again" else None
        table, _, memory = manifest.list_sample("d", row, BLOCK, known)
        manifest.summarize(table, row)
        pq.write_table(table, paths["manifest"])
        pq.write_table(memory, paths["memory"])
    elif name == "build":
        ledger = Ledger("events")
        build_sample(pq.read_table(paths["manifest"]), sample_metadata("d", row), BLOCK, paths, ledger, 1)
        assert pq.read_metadata(paths["events"]).num_rows == events and not ledger.rows
    elif name == "features":
        given = paths["stack"], paths["frames"], paths["events"]
        write_features(paths["features"], given, list(CHANNELS), FEATURES, {"method": "none"})
    seconds = time.perf_counter() - started
    return {"MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "seconds": seconds}


def main():
    sizes = [int(text) for text in sys.argv[1:]] or [10_000, 100_000, 1_000_000]
    print("| events | " + " | ".join(f"{name} MB (s)" for name in STEPS) + " |")
    print("|---:|" + "---:|" * len(STEPS))
    for events in sizes:
        with tempfile.TemporaryDirectory(prefix="phenoloom-events-") as folder:
            cells = []
            for name in STEPS:
                command = [sys.executable, __file__, "step", name, folder, str(events)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                found = json.loads(done.stdout.splitlines()[-1])
                cells.append(f"{found['MB']:.0f} ({found['seconds']:.0f})")
            print(f"| {events:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        print(json.dumps(step(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        main()
