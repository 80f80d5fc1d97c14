"""Share of start-up in a CellProfiler job of 8 sites, and the jobs of a plate of 384 wells and 9 sites.

    python benchmarks/batching.py [--pipeline resources/pipelines/cell_painting_demo.cppipe] [--repeats 3]

Simulates 8 sites, runs the rule's script on 1 site and on all 8, in turns, and solves wall = start-up + n x site.
Prints one table; nothing is written outside a temporary folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from phenoloom.cellprofiler.batches import assign, batch_size  # noqa: E402
from phenoloom.core.tables import INDEX_SCHEMA  # noqa: E402
from phenoloom.core.wells import well_name  # noqa: E402
from phenoloom.simulate.design import design  # noqa: E402
from phenoloom.simulate.site import file_name, write_sites  # noqa: E402

CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]
SITES = 8


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pipeline", default="resources/pipelines/cell_painting_demo.cppipe")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        wells = simulate(folder)
        walls = {1: [], SITES: []}
        for _ in range(options.repeats):
            for count in walls:
                walls[count].append(wall_time(folder, options.pipeline, wells[:count]))
    one, all_ = (min(times) for times in walls.values())
    site = (all_ - one) / (SITES - 1)
    start = one - site
    print(f"pipeline                         {options.pipeline}")
    print(f"wall time of 1 and {SITES} sites       {median(walls[1]):.2f} s, {median(walls[SITES]):.2f} s (medians)")
    print(f"start-up, per site (of minima)   {start:.2f} s, {site:.2f} s")
    print(f"share of start-up in {SITES} sites     {start / all_:.1%}  (goal: below 15 %)")
    pairs = [(well_name(row, column), s) for row in range(16) for column in range(24) for s in range(1, 10)]
    for minutes, seconds in ((30, 4), (60, 60), (90, 110)):
        count = len(assign(pairs, batch_size(minutes, seconds)))
        print(f"jobs of a 384-well, 9-site plate  {count} at {seconds} s a site and {minutes} minutes a job")


def simulate(folder):
    """Images of SITES wells and flat illumination functions; returns the wells."""
    rows = design({})
    rows = rows[rows["plate"] == rows["plate"].iloc[0]]
    wells = sorted(rows["well"])[:SITES]
    write_sites(folder / "images", rows, [(well, 1) for well in wells], {})
    for channel in CHANNELS:
        np.save(folder / f"{channel}.npy", np.ones((512, 512), np.float32))
    return wells


def wall_time(folder, pipeline, wells):
    """Seconds that the rule's command takes for these wells."""
    rows = [
        {"dataset": "d", "batch": "b", "plate": "p", "well": well, "site": 1, "channel": channel, "page": 0}
        | {"path": str(folder / "images" / file_name(well, 1, channel))}
        for well in wells
        for channel in CHANNELS
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), folder / "index.parquet")
    command = [sys.executable, ROOT / "workflow/scripts/cellprofiler.py", "--index", folder / "index.parquet"]
    command += ["--pipeline", ROOT / pipeline, "--channels", *CHANNELS, "--illuminated", *CHANNELS, "--illumination"]
    command += [folder / f"{channel}.npy" for channel in CHANNELS]
    command += ["--options", json.dumps({"masks": ["Nuclei", "Cells"]})]
    command += ["--output", folder / "o.h5", "--ledger", folder / "l.jsonl"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": path})
    seconds = time.perf_counter() - start
    if (folder / "l.jsonl").read_text():
        raise SystemExit("some sites failed: " + (folder / "l.jsonl").read_text())
    return seconds


if __name__ == "__main__":
    main()
