"""Cell-cycle phases of an imaging cytometer: a learned metric finds them in new cells, but no shuffled ones."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import tifffile

from phenoloom.evaluation.cell_neighbours import held_out_accuracy
from phenoloom.evaluation.clustering import clusters
from phenoloom.metric_learning.steps import embedding_table, run

PHASES = ("G1", "S_phase", "G2", "Prophase")
TILES = 30


@pytest.fixture(scope="module")
def cells(shared_data):
    """Rings of mean intensity and their deviation, per channel, of cells of the four phases with hundreds of cells."""
    folder = shared_data("imagestream_cell_cycle")
    frames = []
    for phase in PHASES:
        planes = [tifffile.imread(next((folder / phase).glob(f"Ch{channel}_*.tif"))) for channel in (3, 4, 6)]
        side = planes[0].shape[0] // TILES
        tiles = (
            np.stack(planes).reshape(3, TILES, side, TILES, side).transpose(1, 3, 0, 2, 4).reshape(-1, 3, side, side)
        )
        digests = pd.Series([hashlib.md5(tile.tobytes()).hexdigest() for tile in tiles])
        tiles = tiles[~digests.duplicated(keep=False)].astype(float)
        tiles -= np.median(tiles[..., [0, -1]], axis=(2, 3), keepdims=True)
        radius = np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2))
        rings = [(radius >= inner) & (radius < inner + 3) for inner in range(0, side // 2, 3)]
        features = [tiles[..., ring].mean(axis=2) for ring in rings] + [tiles[..., ring].std(axis=2) for ring in rings]
        frames.append(
            pd.DataFrame(np.hstack(features).astype(np.float32)).add_prefix("Cells_Ring_").assign(Phase=phase)
        )
    table = pd.concat(frames, ignore_index=True)
    table.insert(0, "Metadata_Phase", table.pop("Phase"))
    return table


def profile(cells, method, permute=(), hold_out="cells"):
    metric = {"method": method, "label": "Phase"}
    steps = [*permute, {"split": {"hold_out": hold_out, "stratify": "Phase"}}, {"scale": {}}, {"pca": {"n": 20}}]
    return embedding_table(run(cells, [*steps, {"metric": metric}], seed=1), method)


def test_neighbourhood_components_tell_phases_of_new_cells_apart(cells):
    plain, learned = (held_out_accuracy(profile(cells, method), "Phase").summary[0] for method in ("none", "nca"))
    assert learned["value"] > plain["value"] and learned["low"] > 0.7


def test_clusters_of_new_cells_are_purer_at_the_same_number(cells):
    purities = {}
    for method in ("none", "lfda"):
        table = profile(cells, method)
        found = clusters(table, "Phase", [], seeds=3, samples="Metadata_Split == 'test'").summary[0]
        assert found["label"] == "purity, 4 clusters matched"
        purities[method] = found
    assert purities["lfda"]["low"] > purities["none"]["high"]


def test_shuffled_phases_are_at_chance_in_new_cells(cells):
    row = held_out_accuracy(profile(cells, "lfda", [{"permute": {"column": "Phase"}}]), "Phase").summary[0]
    assert row["value"] == pytest.approx(1 / len(PHASES), abs=0.04)
