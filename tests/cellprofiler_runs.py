"""Runs the cellprofiler script on a few sites, as its rule does; skips where the environment is not set up."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phenoloom.core.tables import INDEX_SCHEMA

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "workflow" / "scripts" / "cellprofiler.py"


def launcher():
    """Path of the launcher; skips the test where there is none."""
    found = shutil.which("phenoloom-cellprofiler") or shutil.which(
        "phenoloom-cellprofiler", path=str(Path(sys.executable).parent)
    )
    if found is None:
        pytest.skip("the cellprofiler environment is not set up (make env)")
    return found


def write_index(path, sites, **names):
    """Write a manifest. sites: {(well, site): {channel: path or (path, page)}}. names: dataset, batch, plate."""
    names = {"dataset": "d", "batch": "b", "plate": "p", **names}
    rows = []
    for (well, site), planes in sites.items():
        for channel, place in planes.items():
            file, page = place if isinstance(place, tuple) else (place, 0)
            rows.append({**names, "well": well, "site": site, "channel": channel, "path": str(file), "page": page})
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), path)
    return path


def run_script(folder, index, pipeline, channels, illumination=None, options=None, check=True, files=None):
    """Run the script on an index; return (path of the .h5, ledger rows, what it printed)."""
    folder = Path(folder)
    illumination = illumination or {}
    output, ledger = folder / "batch.h5", folder / "batch.ledger.jsonl"
    done = subprocess.run(
        [launcher(), SCRIPT, "--index", index, "--pipeline", pipeline, "--channels", *channels]
        + ["--illuminated", *illumination, "--illumination", *map(str, illumination.values())]
        + ["--options", json.dumps(options or {}), "--output", output, "--ledger", ledger]
        + (["--files", files] if files else []),
        capture_output=True,
        text=True,
        cwd=folder,
    )
    text = done.stdout + done.stderr
    if check:
        assert done.returncode == 0, text[-3000:]
    rows = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()] if ledger.exists() else []
    return output, rows, text


def draw_nuclei(number, shape=(200, 220)):
    """A grey 16-bit image of `number` domes of light of 19 pixels, well apart, on noise.

    With none there are two specks, too small for nuclei: a threshold finds something in any image.
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.random.default_rng(number).normal(300, 10, shape)
    places = [(row, column) for row in range(30, shape[0] - 20, 36) for column in range(30, shape[1] - 20, 36)]
    for label, (row, column) in enumerate(places[:number], start=1):
        squared = ((y - row) ** 2 + (x - column) ** 2) / 9.5**2
        image[squared <= 1] += (4000 + 400 * label) * (1 - 0.6 * squared[squared <= 1])
    if not number:
        image[50:53, 50:53] = image[120:123, 90:93] = 20000
    return image.astype(np.uint16)
