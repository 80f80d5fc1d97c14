"""A small study with every defect that labs send, for tests of what a run makes of it."""

import shutil

import numpy as np
import tifffile
import yaml

from phenoloom.simulate.site import render

SIZE = 256

#: Names as people give them: shell, HTML, folders and separators in them, none of which may act.
PLATES = {"dirty": '../one"; rm -rf ~ #<script>', "clean": "β plate; two", "uncontrolled": "three & no controls"}
COMPOUND = 'x"; rm -rf ~ #<script>'

#: Wells of the dirty plate and what its map says: perturbation, control. D02 has images and stands in no map.
MAP = {
    **{well: ("DMSO", "negative") for well in ("A01", "A02", "A03")},
    **{well: (COMPOUND, "") for well in ("A04", "B01", "B02")},
    **{well: ("β-lapachone; 2 µM", "") for well in ("B03", "B04", "C01")},
    **{well: ("</script><img src=x onerror=alert(1)>", "") for well in ("C02", "C03", "C04")},
    **{well: ("  two  words ", "") for well in ("D01", "D03", "D04")},
    **{well: ("$(touch pwned) `id`", "positive") for well in ("E01", "E02", "E03")},
}
DIRTY = [well for well in MAP if well != "D01"] + ["D02"]
CLEAN = ["A01", "A02", "A03", "A04", "B01", "B02", "B03", "B04"]
UNCONTROLLED = ["A01", "A02", "B01", "B02"]

#: Sites of the dirty plate that no run can use, and a word that the ledger must say of each.
LOST = {
    ("A04", 2): "cut off",  # truncated
    ("B01", 1): "0 bytes",
    ("B02", 1): "bool",
    ("B03", 2): "RGB",
    ("B04", 2): "no usable image of GFP",  # the file is not there
    ("C01", 1): "192x256",
    ("C03", 1): "claim this place",  # two images that differ
    ("E02", 2): "uint8",
    ("E03", 1): "cannot be decoded",  # only the pixels are damaged, the header is sound
}


def make(folder, coverage=0.6):
    """Write the study into a folder; return the path of its config, relative to the folder."""
    _dirty(folder / "images" / "one and; more")
    for name, wells in (("clean", CLEAN), ("uncontrolled", UNCONTROLLED)):
        for well in wells:
            _site(folder / "images" / name, name, well, 1)
    _write_map(folder / "one.tsv", {well.lower(): row for well, row in MAP.items()})
    treated = [(COMPOUND, "")] * 2 + [("β-lapachone; 2 µM", "")] * 2
    _write_map(folder / "clean.tsv", dict(zip(CLEAN, [("DMSO", "negative")] * 4 + treated, strict=True)))
    _write_map(folder / "uncontrolled.tsv", dict(zip(UNCONTROLLED, treated, strict=True)))
    rows = [
        ("batch", "plate", "images", "platemap"),
        ("b<1>", _quoted(PLATES["dirty"]), "images/one and; more", "one.tsv"),
        ("b<1>", PLATES["clean"], "images/clean", "clean.tsv"),
        ("b2", PLATES["uncontrolled"], "images/uncontrolled", "uncontrolled.tsv"),
    ]
    (folder / "plates.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "broken.yaml").write_text(yaml.safe_dump(config(coverage)), encoding="utf-8")
    return "broken.yaml"


def config(coverage=0.6):
    """Config of the study, as a dict that tests may change."""
    normalize = {"method": "standardize", "samples": "Metadata_Control == 'negative'", "by": "plate"}
    return {
        "study": "broken",
        "coverage": coverage,
        "datasets": {
            "screen": {
                "plates": "plates.tsv",
                "channels": {"DNA": {}, "GFP": {}},
                "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
                "illumination": {"method": "median", "downsample": 2},
                "features": {
                    "cellprofiler": {
                        "pipeline": "resources/pipelines/translocation.cppipe",
                        "seconds_per_site": 1,
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
                {"normalize": normalize},
                {"feature_select": {"operations": ["variance_threshold", "drop_na_columns"]}},
            ],
        },
        "evaluation": {
            "replicates": {
                "metric": "mean_average_precision",
                "positives": "Perturbation",
                "of": ["cellprofiler/default"],
            },
        },
    }


def pixels(plate, well, site, cells=60):
    """{channel: (SIZE, SIZE) uint16} of a simulated site."""
    row = {"batch": "b", "plate": plate, "well": well, "effect": "", "strength": 0.0, "defects": ""}
    options = {"width": SIZE, "height": SIZE, "channels": ["DNA", "AGP"], "cells": cells, "wells": 96}
    images = render(row, site, options)
    return {"DNA": images["DNA"], "GFP": images["AGP"]}


def path_of(folder, well, site, channel):
    return folder / f"{well}_s{site}_{channel}.tif"


def _site(folder, plate, well, site, cells=60):
    folder.mkdir(parents=True, exist_ok=True)
    for channel, image in pixels(plate, well, site, cells).items():
        _save(path_of(folder, well, site, channel), image)


def _save(path, image, **options):
    tifffile.imwrite(path, image, photometric="minisblack", metadata=None, **options)


def _dirty(folder):
    for well in DIRTY:
        for site in (1, 2):
            _site(folder, "dirty", well, site)

    def path(well, site, channel):
        return path_of(folder, well, site, channel)

    with open(path("A04", 2, "DNA"), "r+b") as file:
        file.truncate(SIZE * SIZE)
    path("B01", 1, "GFP").write_bytes(b"")
    _save(path("B02", 1, "DNA"), tifffile.imread(path("B02", 1, "DNA")) > 300)
    grey = tifffile.imread(path("B03", 2, "GFP"))
    tifffile.imwrite(path("B03", 2, "GFP"), np.dstack([grey] * 3), photometric="rgb")
    path("B04", 2, "GFP").unlink()
    for channel in ("DNA", "GFP"):
        _save(path("C01", 1, channel), tifffile.imread(path("C01", 1, channel))[:, :192])
    # Zero-padded numbers name the same site: once the same image, once another.
    shutil.copy(path("C02", 1, "DNA"), folder / "C02_s01_DNA.tif")
    shutil.copy(path("C03", 2, "DNA"), folder / "C03_s01_DNA.tif")
    for well, site in (("D03", 1), ("D04", 1), ("D04", 2)):
        for channel in ("DNA", "GFP"):
            _save(path(well, site, channel), np.zeros((SIZE, SIZE), np.uint16))
    one_cell = _one_cell()
    for channel in ("DNA", "GFP"):
        _save(path("E01", 1, channel), one_cell[channel])
        path("E01", 2, channel).unlink()
    _save(path("E02", 2, "DNA"), (tifffile.imread(path("E02", 2, "DNA")) // 256).astype(np.uint8))
    _damage(path("E03", 1, "DNA"))


def _one_cell():
    """A nucleus with a brighter cell around it, in the middle of a dark field."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    noise = np.random.default_rng(1).integers(100, 130, (SIZE, SIZE))
    distance = np.hypot(y, 1.2 * x)
    return {
        "DNA": (noise + 9000 * (distance < 11)).astype(np.uint16),
        "GFP": (noise + 3000 * (distance < 25)).astype(np.uint16),
    }


def _damage(path):
    """Compressed pixels that no decoder takes, below a header that is sound."""
    _save(path, tifffile.imread(path), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(b"\xff" * (count // 2))


def _write_map(path, wells):
    lines = ["well\tperturbation\tcontrol\n"]
    lines += [f"{well}\t{_quoted(name)}\t{control}\n" for well, (name, control) in wells.items()]
    path.write_text("".join(lines), encoding="utf-8")


def _quoted(text):
    return '"' + text.replace('"', '""') + '"' if '"' in text else text
