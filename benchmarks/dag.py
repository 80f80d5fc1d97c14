"""How long Snakemake takes to resolve large studies whose images are indexed: dry runs, no pixels.

    python benchmarks/dag.py [--plates 12 50 200] [--wells 384] [--sites 9] [--declared]

For each number of plates: a study of that size in a temporary folder with an index such as `prepare` leaves, the
workflow's dry run on it, and the dry run of a bare workflow with as many jobs, as many files to each of them and no
config, functions or params. Prints jobs, wall and CPU seconds and peak memory of both, and how many times the CPU
seconds of the bare workflow ours took. CPU seconds hold on a machine that others use too; wall seconds do not.
With --declared the geometry is declared and nothing is indexed, so that each batch of sites is a job more.
Run it in the main environment (`make env`).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from phenoloom.cellprofiler.batches import assign, batch_name  # noqa: E402
from phenoloom.ingest import geometry  # noqa: E402
from phenoloom.ingest.index import PlateIndex, split, summarize, write_plate, write_summary  # noqa: E402

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
WIDTH, HEIGHT = 1080, 1080
SECONDS_PER_SITE, MINUTES_PER_JOB = 60, 50

BARE = """
BATCHES, PLATES, CHANNELS = {batches}, {plates}, {channels}

wildcard_constraints:
    plate="P[0-9]+",
    batch="[0-9]+"

rule all:
    input: expand("study/{{number}}", number=range({more} - 1))

rule quality:
    input: "index/{{plate}}.parquet"
    output: "quality/{{plate}}.parquet", "quality/{{plate}}.sites", "quality/{{plate}}.ledger"
    log: "logs/quality/{{plate}}"
    benchmark: "benchmarks/quality/{{plate}}"
    shell: "touch {{output}}"

rule illumination:
    input: "index/{{plate}}.parquet", "quality/{{plate}}.sites"
    output:
        expand("illumination/{{{{plate}}}}/{{channel}}.npy", channel=CHANNELS),
        expand("illumination/{{{{plate}}}}/{{channel}}.png", channel=CHANNELS),
        "illumination/{{plate}}.ledger"
    log: "logs/illumination/{{plate}}"
    benchmark: "benchmarks/illumination/{{plate}}"
    shell: "touch {{output}}"

rule cellprofiler:
    input: "index/{{plate}}/{{batch}}.parquet", expand("illumination/{{{{plate}}}}/{{channel}}.npy", channel=CHANNELS)
    output: "cellprofiler/{{plate}}/{{batch}}.h5", "cellprofiler/{{plate}}/{{batch}}.ledger"
    log: "logs/cellprofiler/{{plate}}/{{batch}}"
    benchmark: "benchmarks/cellprofiler/{{plate}}/{{batch}}"
    shell: "touch {{output}}"

rule cells:
    input:
        expand("cellprofiler/{{{{plate}}}}/{{batch}}.h5", batch=BATCHES),
        expand("cellprofiler/{{{{plate}}}}/{{batch}}.ledger", batch=BATCHES),
        "quality/{{plate}}.sites"
    output: "cells/{{plate}}.parquet", "cells/{{plate}}.images", "cells/{{plate}}.ledger"
    log: "logs/cells/{{plate}}"
    benchmark: "benchmarks/cells/{{plate}}"
    shell: "touch {{output}}"

rule aggregate:
    input: "cells/{{plate}}.parquet"
    output: "wells/{{plate}}.parquet", "wells/{{plate}}.dropped", "wells/{{plate}}.ledger"
    log: "logs/aggregate/{{plate}}"
    benchmark: "benchmarks/aggregate/{{plate}}"
    shell: "touch {{output}}"

rule study:
    input: expand("wells/{{plate}}.parquet", plate=PLATES), expand("quality/{{plate}}.parquet", plate=PLATES)
    output: "study/{{number}}"
    log: "logs/study/{{number}}"
    benchmark: "benchmarks/study/{{number}}"
    shell: "touch {{output}}"
"""
#: Rules of the bare workflow that run once a plate.
PER_PLATE = 4

#: Where the geometry is declared only, the index is of jobs too.
BARE_INDEX = """
rule index:
    output: "index/{plate}/{batch}.parquet", "index/{plate}/{batch}.ledger"
    log: "logs/index/{plate}/{batch}"
    benchmark: "benchmarks/index/{plate}/{batch}"
    shell: "touch {output}"

rule plate_index:
    input:
        expand("index/{{plate}}/{batch}.parquet", batch=BATCHES),
        expand("index/{{plate}}/{batch}.ledger", batch=BATCHES)
    output: "index/{plate}.parquet", "index/{plate}.ledger"
    log: "logs/plate_index/{plate}"
    benchmark: "benchmarks/plate_index/{plate}"
    shell: "touch {output}"
"""


class Measured(NamedTuple):
    """A dry run: its jobs, wall and CPU seconds, and peak memory in MB."""

    jobs: int
    wall: float
    cpu: float
    memory: float


def write_study(folder, plates, wells, sites, declared=False):
    """Config, table of plates and index of a study without images; returns (names of the batches, config's path)."""
    (folder / "platemap.tsv").write_text("well\tperturbation\tcontrol\nA01\tDMSO\tnegative\n")
    rows = "".join(f"b{number % 6}\t{name}\timages/{name}\tplatemap.tsv\n" for number, name in enumerate(plates))
    (folder / "plates.tsv").write_text("batch\tplate\timages\tplatemap\n" + rows)
    pipeline = {
        "pipeline": str(ROOT / "resources/pipelines/cell_painting.cppipe"),
        "seconds_per_site": SECONDS_PER_SITE,
        "minutes_per_job": MINUTES_PER_JOB,
    }
    block = {
        "plates": "plates.tsv",
        "channels": {channel: {} for channel in CHANNELS},
        "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
        "geometry": {"wells": wells, "sites": sites, "width": WIDTH, "height": HEIGHT},
        "features": {"cellprofiler": pipeline},
    }
    config = {
        "study": "large",
        "datasets": {"screen": block},
        "evaluation": {"replicates": {"metric": "mean_average_precision"}, "nsc": {"metric": "nsc"}},
    }
    (folder / "large.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    results = folder / "results" / "large" / "screen"
    pairs, size = geometry.sites(block["geometry"]), geometry.batch_size(block, results)
    if not declared:
        summaries = {name: _write_index(name, pairs, size, results / "index") for name in plates}
        write_summary(results / "index", summaries)
    return [batch_name(number) for number in range(1, len(assign(pairs, size)) + 1)], folder / "large.yaml"


def _write_index(plate, pairs, size, folder):
    """Write the index of one plate as `prepare` does, of images that are not there; returns its summary."""
    rows = [
        {
            "dataset": "screen",
            "batch": "b",
            "plate": plate,
            "well": well,
            "site": site,
            "channel": channel,
            "path": f"images/{plate}/{well}_s{site}_{channel}.tif",
            "page": 0,
            "width": WIDTH,
            "height": HEIGHT,
            "dtype": "uint16",
            "size": 2 * WIDTH * HEIGHT,
            "digest": f"{hash((plate, well, site, channel)):x}",
        }
        for well, site in pairs
        for channel in CHANNELS
    ]
    index = PlateIndex("screen", "b", plate, rows, pairs, [])
    batches = split(index, assign, size)
    write_plate(index, folder, batches)
    return summarize(index, batches)


def write_bare(folder, plates, batches, jobs, declared=False):
    """A workflow of as many jobs without config, functions or params, and the index that it starts from."""
    of_plates = len(plates) * (PER_PLATE + len(batches) + declared * (1 + len(batches)))
    text = BARE.format(batches=batches, plates=plates, channels=CHANNELS, more=jobs - of_plates)
    (folder / "Snakefile").write_text(text + BARE_INDEX * declared)
    for plate in () if declared else plates:
        (folder / "index" / plate).mkdir(parents=True)
        for batch in batches:
            (folder / "index" / plate / f"{batch}.parquet").touch()
        (folder / "index" / f"{plate}.parquet").touch()
    return folder / "Snakefile"


def dry_run(folder, snakefile, *options):
    """Measured dry run of a workflow, in `folder`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--cores", "2", "--dry-run"]
    command += ["--workflow-profile", str(ROOT / "profiles/default"), "--quiet", "rules", *options]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        output.seek(0)
        text = output.read()
    if status:
        sys.exit(text)
    jobs = int(re.search(r"^total\s+(\d+)", text, flags=re.M)[1])
    return Measured(jobs, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(number, wells, sites, declared):
    """(ours, bare) for one number of plates."""
    plates = [f"P{number:04d}" for number in range(1, number + 1)]
    with tempfile.TemporaryDirectory() as name:
        batches, config = write_study(Path(name), plates, wells, sites, declared)
        ours = dry_run(name, ROOT / "Snakefile", "--configfile", str(config))
    with tempfile.TemporaryDirectory() as name:
        bare = dry_run(name, write_bare(Path(name), plates, batches, ours.jobs, declared))
    return ours, bare


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plates", type=int, nargs="+", default=[12, 50, 200])
    parser.add_argument("--wells", type=int, default=384)
    parser.add_argument("--sites", type=int, default=9)
    parser.add_argument("--declared", action="store_true", help="no index: the geometry is declared")
    given = parser.parse_args()
    print(f"{given.wells} wells x {given.sites} sites x {len(CHANNELS)} channels a plate; bare in brackets")
    print("| plates | jobs | wall s | CPU s | peak MB | CPU, times bare |\n|---|---|---|---|---|---|")
    for number in given.plates:
        ours, bare = measure(number, given.wells, given.sites, given.declared)
        columns = [
            number,
            f"{ours.jobs} ({bare.jobs})",
            f"{ours.wall:.1f} ({bare.wall:.1f})",
            f"{ours.cpu:.1f} ({bare.cpu:.1f})",
            f"{ours.memory:.0f} ({bare.memory:.0f})",
            f"{ours.cpu / bare.cpu:.1f}",
        ]
        print(f"| {' | '.join(map(str, columns))} |", flush=True)


if __name__ == "__main__":
    main()
