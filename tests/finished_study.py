"""A tiny study from images on disk to its report, in a checkout of its own, so that tests may change anything in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile
import yaml

from phenoloom.simulate.site import render

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "tiny.yaml"

needs_cellprofiler = [
    pytest.mark.cellprofiler,
    pytest.mark.skipif(
        shutil.which("phenoloom-cellprofiler", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None,
        reason="the CellProfiler environment is not built (make env)",
    ),
]

#: What each well holds: perturbation, control. The map of the plates says so, the annotations add the mechanism.
MAP = {
    "A01": ("DMSO", "negative"),
    "A02": ("DMSO", "negative"),
    "B01": ("wortmannin", "positive"),
    "B02": ("taxol", ""),
}
PLATES = ("one", "two")
#: A plate whose images are there, and that the table of plates does not list yet.
LATER = "three"


def config():
    """Config of the study, as a dict that tests may change."""
    return {
        "study": "tiny",
        "datasets": {
            "screen": {
                "plates": "plates.tsv",
                "annotations": {"table": "annotations.tsv", "by": "perturbation"},
                "channels": {"DNA": {}, "Tubulin": {"source": "AGP"}, "Actin": {"source": "Mito"}},
                "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
                "illumination": {"method": "median", "downsample": 2},
                "features": {
                    "cellprofiler": {
                        "pipeline": "resources/pipelines/cytoskeleton.cppipe",
                        "seconds_per_site": 30,
                        "minutes_per_job": 1,
                        "masks": ["Nuclei"],
                    }
                },
            }
        },
        "profiles": {
            "raw": [{"aggregate": {"operation": "median"}}],
            "default": [
                {"aggregate": {"operation": "median"}},
                {"normalize": {"method": "standardize", "samples": "all", "by": "plate"}},
                {"feature_select": {"operations": ["variance_threshold", "drop_na_columns"]}},
            ],
        },
        "evaluation": {
            "replicates": {
                "metric": "mean_average_precision",
                "positives": "Perturbation",
                "null_size": 100,
                "of": ["cellprofiler/default"],
            },
            "controls": {
                "metric": "control_separation",
                "features": ["Nuclei_AreaShape_Area"],
                "of": ["cellprofiler/raw"],
            },
        },
        "report": {"plates": {"features": ["Nuclei_AreaShape_Area"]}},
    }


def checkout(folder):
    """Copy what a run needs of the checkout into a folder, which is made if need be."""
    for name in ("workflow", "resources", "profiles", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "README.md"):
        shutil.copy2(ROOT / name, folder / name)


def make(folder):
    """Write checkout, images, tables and config into a folder; two plates of four wells, two batches each."""
    checkout(folder)
    for plate in (*PLATES, LATER):
        images = folder / "images" / plate
        images.mkdir(parents=True)
        for well in MAP:
            _write_site(images, plate, well)
        lines = [f"{well}\t{name}\t{control}\n" for well, (name, control) in MAP.items()]
        (folder / f"{plate}.tsv").write_text("well\tperturbation\tcontrol\n" + "".join(lines))
    (folder / "annotations.tsv").write_text(
        "perturbation\tmoa\nwortmannin\tPI3K inhibitor\ntaxol\ttubulin stabilizer\n"
    )
    write_plates(folder, PLATES)
    write_config(folder, config())


def _write_site(images, plate, well):
    row = {"batch": "b1", "plate": plate, "well": well, "effect": "", "strength": 0.0, "defects": ""}
    options = {"width": 256, "height": 256, "channels": ["DNA", "AGP", "Mito"], "cells": 40, "wells": 96}
    for channel, image in render(row, 1, options).items():
        tifffile.imwrite(images / f"{well}_s1_{channel}.tif", image, photometric="minisblack", metadata=None)


def write_plates(folder, plates):
    """Write the table of plates."""
    lines = [f"b1\t{plate}\timages/{plate}\t{plate}.tsv\n" for plate in plates]
    (folder / "plates.tsv").write_text("batch\tplate\timages\tplatemap\n" + "".join(lines))


def write_config(folder, content):
    """Write the config of the study."""
    (folder / CONFIG).write_text(yaml.safe_dump(content, sort_keys=False))


def command(folder, *arguments, timeout=900, programs=None, **variables):
    """Run a module of the study's own checkout in its folder, with more environment variables; return its output.

    programs: folder of programs that go before those of the same name.
    Raises AssertionError with the output's end when it fails.
    """
    environment = {**os.environ, **variables, "PYTHONPATH": str(folder / "workflow/lib")}
    places = [programs, Path(sys.executable).parent, environment["PATH"]]
    environment["PATH"] = os.pathsep.join(str(place) for place in places if place)
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, arguments))}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done.stdout + done.stderr
