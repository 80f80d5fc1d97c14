"""Jurkat cells on an ImageStream: 7 phases in montages of 900 tiles, of which the rare phases are mostly fillers."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

import event_sample
from phenoloom.config.loading import read_config
from phenoloom.cytometry.montages import REASONS

ROOT = Path(__file__).resolve().parents[2]
BLOCK = read_config(ROOT / "config/studies/imagestream_cell_cycle.yaml")["datasets"]["jurkat"]
#: Real cells of each phase; a montage has 900 tiles.
CELLS = {"G1": 900, "S_phase": 900, "G2": 900, "Prophase": 606, "Metaphase": 69, "Anaphase": 15, "Telophase": 28}


@pytest.fixture(scope="module")
def built(shared_data, tmp_path_factory):
    folder = shared_data("imagestream_cell_cycle")
    return {
        phase: event_sample.build(tmp_path_factory.mktemp(phase), BLOCK, images=folder / phase, Label=phase)
        for phase in CELLS
    }


def test_real_cells_are_kept_and_fillers_are_counted(built):
    assert {phase: len(one.events) for phase, one in built.items()} == CELLS
    assert sum(len(one.stack) for one in built.values()) == 3418
    for phase, one in built.items():
        assert len(one.events) + one.lost() + one.lost("tile") == 900, phase
        assert one.lost() == (phase == "Anaphase"), phase  # one cell of it is there twice
        assert set(one.ledger["reason"]) <= set(REASONS.values()), phase
        assert set(one.events["Metadata_Label"]) == {phase}


def test_a_cell_is_its_tile(built, shared_data):
    one = built["Metaphase"]
    folder = shared_data("imagestream_cell_cycle") / "Metaphase"
    montage = np.stack([tifffile.imread(next(folder.glob(f"{name}_*.tif*"))) for name in ("Ch3", "Ch4", "Ch6")])
    for row in (0, len(one.events) - 1):
        number = one.events["Metadata_Event"][row]
        top, left = 40 * (number // 30), 40 * (number % 30)
        tile = montage[:, top : top + 40, left : left + 40].astype(float)
        level = one.frames.loc[row, [f"Background_{name}" for name in BLOCK["channels"]]].to_numpy(float)
        np.testing.assert_allclose(one.stack[row], tile - level[:, None, None], atol=1e-3)


def test_dna_doubles_from_g1_to_g2(built):
    light = {phase: np.median(built[phase].stack[:, 1].sum(axis=(1, 2))) for phase in ("G1", "S_phase", "G2")}
    assert light["G1"] < light["S_phase"] < light["G2"]
    assert 1.6 < light["G2"] / light["G1"] < 2.4
