"""Crops of three instruments: no good event is lost, and a sorter's own features come out again."""

import flowio
import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.io import imread

from phenoloom.core.ledger import Ledger
from phenoloom.crops import (
    FRAME,
    against_instrument,
    background_levels,
    canvas_size,
    feature_names,
    features,
    find_bad,
    write_stack,
)

CHANNELS = ["LightLoss", "SSC", "SSC2", "FSC", "H2B", "BlueC", "BlueB", "BlueA"]

#: The sorter's names; channels without a dye have its number.
NAMES = {
    "LightLoss": "LightLoss (Blue)",
    "SSC": "SSC",
    "FSC": "FSC",
    "H2B": "H2B-mNeonGreen H2B-mNeonGreen*",
    "BlueC": "5",
    "BlueB": "6",
    "BlueA": "7",
}

#: The mask of the sorter is side scatter above 1,803 counts (its header says so); a unit of the TIFF is 49,400 counts.
#: Thresholds of the other channels are those at which the sizes agree best.
OPTIONS = {
    "groups": ["intensity", "shape", "moments"],
    "threshold": "constant",
    "value": {
        "LightLoss": 0.0133,
        "SSC": 1803 / 49_400,
        "SSC2": 1803 / 49_400,
        "FSC": 0.0541,
        "H2B": 0.0024,
        "BlueC": 0.0159,
        "BlueB": 0.003,
        "BlueA": 0.0022,
    },
    "mask_channel": "SSC",
    "contrast": {"LightLoss": "dark"},
    "aspect": 0.9,
}

#: Least r of what is the same quantity, below what was found by at most 0.03: channels with signal, then the two dim
#: ones. Missing: the sorter's Size (LightLoss) is always 0, its Radial Moment of SSC and FSC mostly 0 or negative.
LEAST = {
    "Size": (0.96, ["SSC", "FSC", "H2B", "BlueC", "BlueB", "BlueA"]),
    "MaxIntensity": (0.95, ["SSC", "H2B", "BlueC"]),
    "Eccentricity": (0.9, ["LightLoss", "SSC", "FSC", "H2B", "BlueC"]),
    "Radial Moment": (0.9, ["LightLoss", "H2B", "BlueC"]),
}


@pytest.fixture(scope="module")
def agreement(shared_data, tmp_path_factory):
    folder = shared_data("ics_hela_h2b")
    images = [tifffile.imread(path) for path in sorted((folder / "images").glob("*.tiff"))]
    path = tmp_path_factory.mktemp("stacks") / "ics.npy"
    canvas = canvas_size([image.shape[1:] for image in images])
    ledger = Ledger("stacks")
    frames = write_stack(path, enumerate(images), CHANNELS, canvas, ledger)
    assert len(frames) == 100
    assert not ledger.rows
    stack = np.load(path, mmap_mode="r")
    assert stack.shape == (100, 8, 137, 104)
    values = features(stack, CHANNELS, OPTIONS, frames[FRAME].to_numpy())
    table = flowio.FlowData(folder / "HeLa_H2B_100.fcs")
    names = [channel["pnn"] for channel in table.channels.values()]
    events = pd.DataFrame(np.reshape(table.events, (-1, table.channel_count)), columns=names)
    ours = pd.DataFrame(values, columns=feature_names(CHANNELS, OPTIONS))
    return ours, events


@pytest.mark.parametrize("quantity", LEAST)
def test_features_are_those_of_the_sorter(agreement, quantity):
    least, channels = LEAST[quantity]
    found = against_instrument(*agreement, NAMES).set_index("parameter")
    for channel in channels:
        name = NAMES[channel]
        parameter = f"{quantity} {name}" if name.isdigit() else f"{quantity} ({name})"
        assert found.loc[parameter, "r"] > least, parameter
        assert found.loc[parameter, "n"] >= 30


def test_events_shifted_by_one_do_not_agree(agreement):
    ours, events = agreement
    shifted = against_instrument(ours.iloc[1:].reset_index(drop=True), events.iloc[:-1].reset_index(drop=True), NAMES)
    assert shifted["r"].abs().median() < 0.15
    assert against_instrument(*agreement, NAMES)["r"].median() > 0.9


def test_parameters_that_do_not_exist_or_vary_are_left_out(agreement):
    ours, events = agreement
    found = against_instrument(ours, events, {"LightLoss": "LightLoss (Blue)", "H2B": "no such dye"})
    assert set(found["feature"]) == {
        "Cells_Intensity_MaxIntensity_LightLoss",
        "Cells_RadialMoment_RadialMoment_LightLoss",
        "Cells_RadialMoment_Eccentricity_LightLoss",
    }


def test_no_cell_of_the_imaging_cytometer_is_lost(shared_data):
    for folder in sorted(path for path in shared_data("imagestream_cell_cycle").iterdir() if path.is_dir()):
        planes = [tifffile.imread(path) for path in sorted(folder.glob("Ch*.tif"))]
        tiles = np.stack(
            [plane.reshape(30, 40, 30, 40).swapaxes(1, 2).reshape(900, 40, 40) for plane in planes], axis=1
        )
        _, first, copies = np.unique(tiles.reshape(900, -1), axis=0, return_index=True, return_counts=True)
        cells = tiles[first[copies == 1]]
        assert set(find_bad(cells, background_levels(cells))) == {""}, folder.name


def test_no_crowded_nucleus_is_lost(shared_data):
    paths = sorted(shared_data("mitocheck_cells").glob("images/*/*"))
    nuclei = np.stack([imread(path) for path in paths])[:, None]
    assert nuclei.shape == (3277, 1, 64, 64)
    assert set(find_bad(nuclei, background_levels(nuclei))) == {""}
