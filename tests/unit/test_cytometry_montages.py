"""Montages are cut into cells as their grid says, and what pads them is no cell."""

import numpy as np
import pytest
import tifffile
from skimage.util import montage, view_as_blocks

from phenoloom.core.images import ImageError
from phenoloom.core.ledger import Ledger
from phenoloom.cytometry import images
from phenoloom.cytometry.montages import FILLER, REAL, REPEAT, cut, digests, read_montage, unreal

RANDOM = np.random.default_rng(0)


def test_tiles_are_those_that_a_montage_is_made_of():
    tiles = RANDOM.integers(0, 900, (6, 5, 4))
    np.testing.assert_array_equal(cut(montage(tiles, grid_shape=(2, 3)), (2, 3)), tiles)


def test_tiles_stand_row_by_row():
    image = RANDOM.integers(0, 255, (30, 40))
    np.testing.assert_array_equal(cut(image, (3, 2)), view_as_blocks(image, (10, 20)).reshape(6, 10, 20))


@pytest.mark.parametrize("grid", [(4, 3), (3, 7), (31, 1)])
def test_a_grid_that_does_not_divide_is_refused(grid):
    with pytest.raises(ImageError, match="a.tif is 40x30 pixels, which .* do not divide; mend events.grid"):
        cut(np.zeros((30, 40)), grid, "a.tif")


def test_channels_of_different_size_are_refused(tmp_path):
    for name, shape in (("a", (4, 6)), ("b", (4, 6)), ("c", (6, 4))):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros(shape, np.uint8))
    with pytest.raises(ImageError, match="c.tif and .*a.tif differ in size"):
        read_montage([tmp_path / f"{name}.tif" for name in "abc"], (2, 2))


def test_equal_tiles_have_equal_digests_and_others_do_not():
    tiles = RANDOM.integers(0, 3, (200, 2, 3, 3), np.uint8)
    same = (tiles.reshape(200, 1, -1) == tiles.reshape(1, 200, -1)).all(axis=2)
    marks = digests(tiles[:, :, ::-1])
    np.testing.assert_array_equal(marks[:, None] == marks, same)


@pytest.mark.parametrize(
    ("marks", "kinds"),
    [
        ([1, 2, 3], [REAL] * 3),
        ([5, 5], [REAL, REPEAT]),
        ([5, 1, 5, 5], [FILLER, REAL, FILLER, FILLER]),
        ([7, 7, 8, 8, 8], [REAL, REPEAT, FILLER, FILLER, FILLER]),
        ([], []),
    ],
)
def test_what_occurs_three_times_is_a_filler_and_what_occurs_twice_counts_once(marks, kinds):
    assert unreal(np.array(marks, np.uint64)).tolist() == kinds


def test_fillers_are_known_across_montages_of_a_sample(tmp_path):
    cells = RANDOM.integers(0, 900, (6, 4, 4), np.uint16)
    filler = np.full((4, 4), 7, np.uint16)
    first, second = np.stack([*cells[:3], filler]), np.stack([*cells[3:5], filler, filler])
    rows = []
    for number, tiles in enumerate((first, second)):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, montage(tiles, grid_shape=(2, 2)))
        rows.append([{"number": 4 * number, "channel": "DNA", "path": path, "name": str(number)}])
    ledger = Ledger("events")
    found = list(images._cells(rows, (2, 2), ["DNA"], ledger))
    assert [event.number for event in found] == [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(np.concatenate([event.pixels for event in found]), cells[:5])
    assert [(row["unit"], row["count"]) for row in ledger.rows] == [("tile", 3)]
