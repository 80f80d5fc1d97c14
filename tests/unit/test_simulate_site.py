"""What is planted can be seen in the simulated images by plain measures, and nothing else is there."""

import re

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from phenoloom.core.images import read_header
from phenoloom.simulate import vignetting
from phenoloom.simulate.design import design
from phenoloom.simulate.options import CHANNELS
from phenoloom.simulate.site import render, write_sites

SMALL = {"width": 192, "height": 160, "channels": ["DNA", "Mito", "BF1"]}


def wells_of(options, **where):
    rows = design(options)
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows[rows["defects"] == ""].to_dict("records")


def measure(image_of):
    """Plain measures of one site by Otsu's threshold on smoothed DNA; none of the simulator's own code."""
    pixels = {name: image.astype(float) - 300 for name, image in image_of.items()}
    smooth = gaussian_filter(pixels["DNA"], 1.5)
    nuclei = smooth > threshold_otsu(smooth)
    regions = [region for region in regionprops(label(nuclei)) if region.area > 120]
    single = [region for region in regions if region.solidity > 0.9]
    ring = binary_dilation(nuclei, iterations=8) & ~binary_dilation(nuclei, iterations=2)
    measures = {
        "nuclear size": np.median([region.area for region in single]),
        "cell count": -len(regions),
        "elongation": np.median([region.axis_major_length / region.axis_minor_length for region in single]),
    }
    if "ER" in pixels:
        measures["ER intensity"] = pixels["ER"][ring].mean()
    if "RNA" in pixels:
        measures["RNA translocation"] = np.median(pixels["RNA"][nuclei]) / np.median(pixels["RNA"][ring])
    if "Mito" in pixels:
        detail = pixels["Mito"] - gaussian_filter(pixels["Mito"], 3)
        measures["mitochondrial fragmentation"] = detail[ring].std() / pixels["Mito"][ring].mean()
    return measures


#: Channels that a mechanism's measure needs.
NEEDS = {
    "nuclear size": ["DNA"],
    "cell count": ["DNA"],
    "elongation": ["DNA"],
    "ER intensity": ["DNA", "ER"],
    "RNA translocation": ["DNA", "RNA"],
    "mitochondrial fragmentation": ["DNA", "Mito"],
}


@pytest.mark.parametrize("moa", NEEDS)
def test_a_planted_effect_grows_with_dose_and_only_when_planted(moa):
    options = {"channels": NEEDS[moa], "position_effect": 0, "width": 400, "height": 400}
    series = {}
    for scale in (1, 0):
        chosen = {**options, "effect_scale": scale}
        rows = design(chosen)
        rows = rows[(rows["batch"] == "batch1") & (rows["defects"] == "")]
        doses = [rows[rows["control"] == "negative"].head(3)]
        doses += [rows[(rows["moa"] == moa) & (rows["dose"] == dose)] for dose in (1, 2)]
        series[scale] = [
            np.mean([measure(render(row, 1, chosen))[moa] for row in group.to_dict("records")]) for group in doses
        ]
    none, low, high = series[1]
    assert none < low < high
    spread = abs(high - none) / abs(none)
    flat = max(series[0]) - min(series[0])
    assert spread > 0.15
    assert flat < 0.6 * (high - none)


def test_a_site_is_the_same_wherever_it_is_made():
    row = wells_of(SMALL, control="")[0]
    first, second = render(row, 1, SMALL), render(row, 1, {**SMALL, "channels": ["Mito"], "sites": 3})
    np.testing.assert_array_equal(first["Mito"], second["Mito"])
    assert (render(row, 2, SMALL)["DNA"] != first["DNA"]).any()
    assert (render(row, 1, {**SMALL, "seed": 5})["DNA"] != first["DNA"]).any()


def test_inactive_compounds_change_no_pixel():
    row = wells_of(SMALL, perturbation="inertol 1")[0]
    untreated = {**row, "perturbation": "DMSO", "concentration": float("nan"), "control": "negative"}
    for channel, image in render(row, 1, SMALL).items():
        np.testing.assert_array_equal(image, render(untreated, 1, SMALL)[channel])


def test_images_have_names_types_and_sizes_as_promised(tmp_path):
    options = {"width": 160, "height": 128, "sites": 2}
    rows = design(options)
    folder = tmp_path / "images" / "B1P1" / "0001"
    write_sites(folder, rows[rows["plate"] == "B1P1"], [("A01", 1), ("A01", 2)], options)
    assert {path.name for path in folder.iterdir()} == {f"A01_s{s}_{c}.tif" for s in (1, 2) for c in CHANNELS}
    pattern = re.compile(r"(?P<well>[A-Z]\d\d)_s(?P<site>\d+)_(?P<channel>\w+)\.tif")
    assert all(pattern.fullmatch(path.name) for path in folder.iterdir())
    assert {read_header(path) for path in folder.iterdir()} == {(160, 128, "uint16", 1)}
    assert [path.name for path in folder.parent.iterdir()] == ["0001"]


@pytest.mark.parametrize("compression", ["zlib", "none"])
def test_files_hold_the_rendered_pixels_and_the_same_bytes_each_time(tmp_path, compression):
    import tifffile

    options = {**SMALL, "channels": ["DNA"], "compression": compression}
    rows = design(options)
    rows = rows[rows["plate"] == "B2P1"]
    for name in ("a", "b"):
        write_sites(tmp_path / name, rows, [("B03", 1)], options)
    first = tmp_path / "a" / "B03_s1_DNA.tif"
    assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes()
    expected = render(rows[rows["well"] == "B03"].iloc[0].to_dict(), 1, options)["DNA"]
    np.testing.assert_array_equal(tifffile.imread(first), expected)


def test_a_failure_leaves_no_folder(tmp_path, monkeypatch):
    from phenoloom.simulate import site

    def fail(path, *_):
        raise OSError("No space left on device")

    rows = design(SMALL)
    monkeypatch.setattr(site, "_write", fail)
    with pytest.raises(OSError, match="No space"):
        write_sites(tmp_path / "0001", rows[rows["plate"] == "B1P1"], [("A01", 1)], SMALL)
    assert not list(tmp_path.iterdir())


def test_the_vignetting_is_recovered_from_the_mean_of_empty_sites():
    options = {"width": 128, "height": 128, "channels": ["ER", "DNA"], "cells": 0, "position_effect": 0}
    rows = wells_of(options, plate="B1P1")[:12]
    images = [render(row, 1, options) for row in rows]
    for channel in options["channels"]:
        mean = np.mean([image[channel].astype(float) - 300 for image in images], axis=0)
        function = vignetting(options, "batch1", channel, (128, 128))
        # The filter bends the edge of the picture, so the edge is left out.
        smooth, function = gaussian_filter(mean, 4)[8:-8, 8:-8], function[8:-8, 8:-8]
        assert np.abs(smooth / smooth.mean() / (function / function.mean()) - 1).max() < 0.04


def test_the_vignetting_is_recovered_from_the_mean_of_sites_with_cells():
    options = {"width": 160, "height": 160, "channels": ["RNA"], "vignetting": 0.5, "cells": 90, "sites": 3}
    rows = wells_of(options, batch="batch1", control="negative")
    sites = [render(row, site, options)["RNA"].astype(float) - 300 for row in rows for site in (1, 2, 3)]
    smooth = gaussian_filter(np.mean(sites, axis=0), 20)
    own = np.corrcoef(smooth.ravel(), vignetting(options, "batch1", "RNA", (160, 160)).ravel())[0, 1]
    other = np.corrcoef(smooth.ravel(), vignetting(options, "batch1", "RNA", (160, 160))[::-1, ::-1].ravel())[0, 1]
    assert own > 0.8
    assert own > other + 0.2


def test_the_vignetting_differs_by_channel_and_batch_and_obeys_its_strength():
    shape = (64, 96)
    functions = [vignetting({}, batch, channel, shape) for batch in ("batch1", "batch2") for channel in ("DNA", "ER")]
    for index, function in enumerate(functions):
        assert function.shape == shape and function.dtype == np.float32
        assert function.max() == 1 and 0.55 < function.min() < 0.75
        assert all(np.abs(function - other).max() > 0.02 for other in functions[:index])
    assert (vignetting({"vignetting": 0}, "batch1", "DNA", shape) == 1).all()
    bright = [vignetting({}, "batch1", name, shape) for name in ("BF1", "BF2", "BF3")]
    assert all((function == bright[0]).all() for function in bright)


def test_planted_defects_show():
    options = {"channels": ["DNA", "AGP"], "width": 256, "height": 256}
    row = wells_of(options, control="negative")[0]

    def detail(image):
        image = image.astype(float)
        return np.abs(gaussian_filter(image, 1) - gaussian_filter(image, 2)).mean() / (image - 300).mean()

    sound, blurred, burnt = (
        render({**row, "defects": text}, 1, options) for text in ("", "1=out_of_focus", "1=saturated")
    )
    assert (sound["DNA"] == 65535).mean() < 1e-4
    assert (burnt["DNA"] == 65535).mean() > 0.01
    assert detail(blurred["DNA"]) < 0.5 * detail(sound["DNA"])
    debris = render({**row, "defects": "1=debris"}, 1, options)
    assert (debris["AGP"].astype(int) - sound["AGP"] > 5000).sum() > 30


def test_brightfield_planes_show_the_same_cells_with_reversed_contrast():
    options = {"channels": ["BF1", "BF2", "BF3"], "width": 256, "height": 256, "vignetting": 0, "noise": 0}
    planes = render(wells_of(options, control="negative")[0], 1, options)
    below, focus, above = (planes[name].astype(float) for name in options["channels"])
    assert np.corrcoef(below.ravel(), above.ravel())[0, 1] < -0.2
    assert focus.std() < 0.6 * min(below.std(), above.std())


def test_a_site_without_cells_is_background():
    image = render(wells_of({})[0], 1, {"cells": 0, "width": 128, "height": 128})
    assert all(plane.std() < 0.15 * plane.mean() for plane in image.values())
