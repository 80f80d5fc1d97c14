"""What a pipeline takes per site: run on a few sites of a study by the rule's own script, start-up not counted."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from phenoloom.cellprofiler import batches, pipeline
from phenoloom.core.errors import InputError
from phenoloom.core.files import write_text
from phenoloom.core.names import encode
from phenoloom.core.tables import read_index, write_arrow


def choose(sites, number):
    """`number` of the (plate, well, site) triples, evenly spread over plates and within them, the same ones each time.

    >>> choose([("P1", "A01", 1), ("P1", "A02", 1), ("P1", "A03", 1)], 1)
    [('P1', 'A02', 1)]
    """
    plates = {}
    for place in sorted(set(sites)):
        plates.setdefault(place[0], []).append(place)
    names, chosen = list(plates), []
    for step in range(number):
        # Evenly spaced plates; a plate with nothing left gives way. Steps of the golden ratio fall in other rows and
        # other columns each time.
        start = (2 * step + 1) * len(names) // (2 * number)
        order = names[start:] + names[:start]
        left = next((plates[name] for name in order if plates[name]), None)
        if left:
            chosen.append(left.pop(int((0.5 + 0.618 * step) % 1 * len(left))))
    return sorted(chosen)


def measure(index, block, channels, script, functions=None, number=3):
    """What the pipeline takes per site: a dict as write_rate stores it.

    index: DataFrame of index rows to choose from. block: the completed features.cellprofiler of the dataset.
    channels: its channels. script: the rule's script. functions: {channel: .npy} of illumination functions that exist;
    flat ones stand for the rest. One site more than `number` is run where there is one: the first site to run loads
    libraries and does not count. Raises InputError when no site is measured.
    """
    if index.empty:
        raise InputError("there is no usable site to measure the pipeline on; see `make preflight`")
    index = _alike(index, pipeline_kind(block["pipeline"]))
    places = list(zip(index["plate"], index["well"], index["site"].astype(int), strict=True))
    chosen = set(choose(places, number + 1))
    rows = index[[place in chosen for place in places]]
    costs, lost = _run(rows, block, channels, script, functions or {})
    if not costs:
        reasons = "; ".join(sorted({row["reason"] for row in lost})[:3])
        raise InputError(f"{block['pipeline']} measured none of {len(chosen)} sites: {reasons}")
    counted = costs[1:] or costs
    cpu = float(np.mean([site["cpu_seconds"] for site in counted]))
    return {
        "seconds_per_site": rounded(cpu),
        "cpu_seconds": round(cpu, 3),
        "wall_seconds": round(float(np.mean([site["seconds"] for site in counted])), 3),
        "first_included": len(costs) == 1,
        "peak_mb": round(max(site["peak_mb"] for site in costs)),
        "sites": [{**site, **{name: round(site[name], 3) for name in ("seconds", "cpu_seconds")}} for site in counted],
        "lost": [f"{row['plate']} {row['well']} site {row['site']}: {row['reason']}" for row in lost],
        "pipeline": str(block["pipeline"]),
        "pipeline_digest": batches.pipeline_digest(block["pipeline"]),
    }


def rounded(seconds):
    """Two significant digits, so that batches do not hang on noise; at least 0.01.

    >>> rounded(3.14159), rounded(127.2)
    (3.1, 130.0)
    """
    return max(0.01, float(f"{seconds:.2g}"))


def write_rate(folder, rate):
    """Write rate.json into the results folder of a dataset; batches.seconds_per_site reads it."""
    write_text(Path(folder) / batches.RATE, json.dumps(rate, indent=1, ensure_ascii=False) + "\n")


def pipeline_kind(path):
    """pipeline.kind; InputError instead of ValueError."""
    try:
        return pipeline.kind(path)
    except ValueError as error:
        raise InputError(str(error)) from error


def _alike(index, kind):
    """Rows that can go into one batch: images of one size, of one plate where the pipeline sorts files by itself."""
    first = index.iloc[0]
    index = index[(index["width"] == first["width"]) & (index["height"] == first["height"])]
    if kind == pipeline.FILE_LIST:
        plates = sorted(index["plate"].unique())
        index = index[index["plate"] == plates[len(plates) // 2]]
    return index.reset_index(drop=True)


def _run(rows, block, channels, script, functions):
    """(what each site took, ledger rows of those that were lost) of one run of the rule's script."""
    try:
        illuminated = pipeline.illuminated_channels(block["pipeline"], channels, block["images"])
    except ValueError as error:
        raise InputError(str(error)) from error
    shape = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
    names = ("images", "metadata", "files", "metadata_files", "masks", "seconds_limit")
    with tempfile.TemporaryDirectory(prefix="phenoloom-rate-") as folder:
        folder = Path(folder)
        write_arrow(folder / "index.parquet", rows, {})
        paths = [_function(functions.get(name), shape, folder / f"{encode(name)}.npy") for name in illuminated]
        command = [sys.executable, str(script), "--index", str(folder / "index.parquet"), "--pipeline"]
        command += [str(block["pipeline"]), "--channels", *channels]
        command += ["--illuminated", *illuminated, "--illumination", *map(str, paths)]
        command += ["--options", json.dumps({name: block[name] for name in names})]
        command += ["--output", str(folder / "batch.h5"), "--ledger", str(folder / "ledger.jsonl")]
        command += ["--costs", str(folder / "costs.json")]
        # The launcher of the CellProfiler environment lies beside this Python.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["CellProfiler said nothing"]
            raise InputError(f"the rate cannot be measured: {said[-1].removeprefix('error: ')}")
        costs = json.loads((folder / "costs.json").read_text(encoding="utf-8"))
        ledger = (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    return costs, [row for row in map(json.loads, ledger) if row["severity"] == "lost"]


def _function(path, shape, flat):
    """A function that exists and fits the images, else a flat one written to `flat`."""
    if path is not None and Path(path).is_file() and np.load(path, mmap_mode="r", allow_pickle=False).shape == shape:
        return path
    np.save(flat, np.ones(shape, np.float32))
    return flat


def indexed(folder, plates):
    """Index rows of a dataset as `prepare` left them. folder: its index; plates: their encoded names."""
    return read_index([Path(folder) / f"{plate}.parquet" for plate in plates])


def simulated(options, channels, number, folder):
    """Make a few sites of a simulated dataset in `folder`; return their index rows as a DataFrame."""
    from phenoloom.ingest.index import SIMULATED, index_plate
    from phenoloom.simulate import design, site

    wells = design.design(options)
    places = [(plate, *place) for _, plate in design.plates(options) for place in design.sites(options)]
    found, tables = choose(places, number + 1), []
    for batch, plate in design.plates(options):
        own = [place[1:] for place in found if place[0] == plate]
        if own:
            place = Path(folder) / encode(plate)
            site.write_sites(place, wells[wells["plate"] == plate], own, options)
            tables.append(index_plate("simulated", batch, plate, str(place), channels, SIMULATED, only=own).table())
    return pd.concat([table.to_pandas() for table in tables], ignore_index=True)
