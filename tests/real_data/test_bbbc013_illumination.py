"""Illumination functions of a real plate against CellProfiler's own module on the same images and settings."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.io import loadmat

import cellprofiler_modules
from phenoloom.core.ledger import Ledger
from phenoloom.illumination import estimate

pytestmark = pytest.mark.cellprofiler


@pytest.fixture(scope="module")
def plate(shared_data):
    """Return a function: channel number -> (index, stack of its 96 images)."""
    folder = shared_data("bbbc013")

    def read(channel):
        paths = sorted((folder / "images").glob(f"Channel{channel}-*.tif"))
        index = pd.DataFrame({"path": [str(path) for path in paths], "well": [path.stem[-4:] for path in paths]})
        index = index.assign(
            plate="BBBC013", site=1, channel=f"Channel{channel}", page=0, width=640, height=640, dtype="uint8"
        )
        return index, np.stack([tifffile.imread(path) for path in paths])

    return read


def pipeline_settings(path):
    """Settings of the first CorrectIlluminationCalculate of a pipeline file, in order."""
    block = path.read_text(encoding="utf-8").split("\nCorrectIlluminationCalculate:", 1)[1].split("\n\n", 1)[0]
    return [line.split(":", 1)[1].replace("\\x3A", ":") for line in block.splitlines()[1:]]


@pytest.mark.parametrize("channel", [1, 2])
def test_the_function_is_that_of_the_plates_own_pipeline(plate, shared_data, tmp_path, channel):
    settings = pipeline_settings(shared_data("bbbc013") / "ExampleSBSIllumination.cppipe")
    assert settings[2] == "Regular" and settings[8:11] == ["Median Filter", "Object size", "100"]
    index, stack = plate(channel)
    assert len(stack) == 96
    theirs = cellprofiler_modules.ask("illumination", stack, tmp_path, {"factor": 1, "settings": settings})
    ours = estimate(index, Ledger("illumination"), downsample=1, filter_by="object_size", filter_size=100, threads=2)
    assert theirs.max() > 1.5  # there is something to agree on
    assert np.abs(ours / theirs - 1).max() < 1e-3


@pytest.mark.parametrize(
    ("method", "smoothing", "filter_by", "size_by"),
    [("median", "Median Filter", "manual", "Manually"), ("gaussian", "Gaussian Filter", "automatic", "Automatic")],
)
def test_the_function_is_cellprofilers_with_resize_before_and_after(
    plate, tmp_path, method, smoothing, filter_by, size_by
):
    index, stack = plate(2)
    spec = {"factor": 0.25, "settings": cellprofiler_modules.calculation(smoothing, size_by)}
    theirs = cellprofiler_modules.ask("illumination", stack, tmp_path, spec)
    ours = estimate(index, Ledger("illumination"), method, 4, filter_by, 20, threads=2)
    assert theirs.shape == (640, 640) and theirs.max() > 1.5
    assert np.abs(ours / theirs - 1).max() < 1e-3


@pytest.mark.parametrize("channel", [1, 2])
def test_the_stored_function_of_an_old_cellprofiler_is_similar_up_to_scale(plate, shared_data, channel):
    # The stored .mat files were smoothed by CellProfiler before its median filter worked in 16 bits, and are no target:
    # a Gaussian of a quarter of the object's size reaches r = 0.97, CellProfiler 4.2.8.1 itself 0.94 or less.
    stored = loadmat(shared_data("bbbc013") / f"Channel{channel}ILLUM.mat")["Image"]
    index, _ = plate(channel)
    ours = estimate(index, Ledger("illumination"), "gaussian", 1, "object_size", 100)
    assert np.corrcoef(ours.ravel(), stored.ravel())[0, 1] > 0.97
    ratio = stored / ours
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.01
