"""How long Snakemake takes to resolve a large study whose index is given: a dry run, no pixels.

    python benchmarks/dag.py [--plates 48] [--wells 384] [--sites 9]

Writes a study of that size to a temporary folder (manifests as `prepare` leaves them, though empty), runs the workflow
dry on it and prints jobs, wall and CPU seconds and peak memory. Run it in the main environment (`make env`).
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from phenoloom.cellprofiler import batches  # noqa: E402
from phenoloom.core.wells import FORMATS, well_name  # noqa: E402
from phenoloom.ingest import geometry  # noqa: E402

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
SECONDS_PER_SITE, MINUTES_PER_JOB = 60, 50


def write_study(folder, plates, wells, sites):
    """Config, plates table and index of a study without images; returns the config's path."""
    names = [f"P{number:03d}" for number in range(1, plates + 1)]
    (folder / "platemap.tsv").write_text("well\tperturbation\tcontrol\nA01\tDMSO\tnegative\n")
    rows = "".join(f"b{number % 6}\t{name}\timages/{name}\tplatemap.tsv\n" for number, name in enumerate(names))
    (folder / "plates.tsv").write_text("batch\tplate\timages\tplatemap\n" + rows)
    config = {
        "study": "large",
        "datasets": {
            "screen": {
                "plates": "plates.tsv",
                "channels": {channel: {} for channel in CHANNELS},
                "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
                "features": {
                    "cellprofiler": {
                        "pipeline": str(ROOT / "resources/pipelines/cell_painting.cppipe"),
                        "seconds_per_site": SECONDS_PER_SITE,
                        "minutes_per_job": MINUTES_PER_JOB,
                    }
                },
            }
        },
        "evaluation": {"replicates": {"metric": "mean_average_precision"}, "nsc": {"metric": "nsc"}},
    }
    (folder / "large.yaml").write_text(yaml.safe_dump(config))
    rows, columns = FORMATS[wells]
    pairs = [
        (well_name(row, column), site)
        for row in range(rows)
        for column in range(columns)
        for site in range(1, sites + 1)
    ]
    results = folder / "results" / "large" / "screen"
    size = geometry.batch_size(config["datasets"]["screen"], results)
    counts = [len(batch) for batch in batches.assign(pairs, size)]
    index = results / "index"
    for name in names:
        (index / name).mkdir(parents=True)
        for number in range(1, len(counts) + 1):
            (index / name / f"{number:04d}.parquet").touch()
            (index / name / f"{number:04d}.ledger.parquet").touch()
        (index / f"{name}.parquet").touch()
    found = {name: {"sites": counts, "width": 1080, "height": 1080, "dtype": "uint16", "batch": "b"} for name in names}
    (index / "summary.json").write_text(json.dumps(found))
    return folder / "large.yaml"


def dry_run(folder, config):
    """(jobs, wall seconds, CPU seconds, peak MB) of a dry run."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command += ["--workflow-profile", str(ROOT / "profiles/default"), "--dry-run", "--quiet", "rules"]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--configfile", str(config)], cwd=folder, capture_output=True, text=True, check=False, env=os.environ
    )
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = int(re.search(r"^total\s+(\d+)", done.stdout + done.stderr, flags=re.M)[1])
    return jobs, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plates", type=int, default=48)
    parser.add_argument("--wells", type=int, default=384)
    parser.add_argument("--sites", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        config = write_study(Path(name), given.plates, given.wells, given.sites)
        jobs, wall, cpu, memory = dry_run(Path(name), config)
    print(f"{given.plates} plates x {given.wells} wells x {given.sites} sites x {len(CHANNELS)} channels")
    print(f"{jobs} jobs ({jobs / given.plates:.0f} a plate): {wall:.1f} s wall, {cpu:.1f} s CPU, {memory:.0f} MB")


if __name__ == "__main__":
    main()
