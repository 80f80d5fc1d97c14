"""Crops around the cells of a plate: where they lie, what happens at the edge, and which cells are left out."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import INDEX_SCHEMA, write_table
from phenoloom.tensors.crops import cut, top_left, write_plate_crops
from phenoloom.tensors.store import Items

CHANNELS = ["DNA", "ER"]
OPTIONS = {
    "size": [8, 10],
    "dtype": "uint16",
    "object": "Nuclei",
    "edge": "drop",
    "cut_off": None,
    "percentiles": [1, 99],
    "max_cells": None,
}
SHAPE = (60, 70)
#: Row and column of the cells of each site; two at A01 site 1 lie near the edge.
CELLS = {("A01", 1): [(30, 20), (2, 30), (12.4, 33.6), (59, 69)], ("A01", 2): [(20, 20)], ("A02", 1): [(25.5, 30.5)]}


@pytest.fixture
def plate(tmp_path):
    """Index, as DataFrame, of three sites of noise, their pixels, and a function that writes a table of their cells."""
    random, rows, pixels = np.random.default_rng(0), [], {}
    for well, site in CELLS:
        for channel in CHANNELS:
            image = random.integers(100, 4000, SHAPE).astype(np.uint16)
            path = tmp_path / f"{well}_{site}_{channel}.tif"
            tifffile.imwrite(path, image)
            pixels[well, site, channel] = image
            rows.append(("d", "b", "P", well, site, channel, str(path), 0, SHAPE[1], SHAPE[0], "uint16"))

    def cells(places=None, pattern="Nuclei_Location_Center_{}"):
        found = []
        for image, ((well, site), centres) in enumerate((CELLS if places is None else places).items(), start=1):
            found += [(image, number, well, site, *centre) for number, centre in enumerate(centres, start=1)]
        y, x = (pattern.format(axis) for axis in "YX")
        names = ["Metadata_ImageNumber", "Metadata_ObjectNumber", "Metadata_Well", "Metadata_Site", y, x]
        table = pd.DataFrame(found, columns=names).astype({y: "float32", x: "float32"})
        table = table.assign(Metadata_Dataset="d", Metadata_Batch="b", Metadata_Plate="P")
        write_table(tmp_path / "cells.parquet", table)
        return tmp_path / "cells.parquet"

    return pd.DataFrame(rows, columns=INDEX_SCHEMA.names[:11]), pixels, cells


def write(folder, index, cells, options=None, illumination=(), seed=0):
    ledger, paths = Ledger("tensor_crops", plate="P"), (folder / "t.npy", folder / "t.items.parquet")
    write_plate_crops(paths, index, cells, CHANNELS, {**OPTIONS, **(options or {})}, ledger, illumination, seed, 2)
    return Items.open([paths], normalize="none"), ledger.frame()


def test_a_crop_is_the_window_about_its_cell_in_the_corrected_image(tmp_path, plate):
    index, pixels, cells = plate
    function = np.linspace(1, 2, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE)
    np.save(tmp_path / "DNA.npy", function)
    items, ledger = write(tmp_path, index, cells(), illumination=[tmp_path / "DNA.npy"])
    # a window of 8 x 10 about row 30, column 20 is rows 27 to 34 and columns 16 to 25, as 3.5 and 4.5 round up
    corners = [("A01", 1, 27, 16), ("A01", 1, 9, 29), ("A01", 2, 17, 16), ("A02", 1, 22, 26)]
    keys = items.metadata[["Metadata_ImageNumber", "Metadata_ObjectNumber"]].to_numpy().tolist()
    assert keys == [[1, 1], [1, 3], [2, 1], [3, 1]]
    for found, (well, site, row, column) in zip(items.read(range(4)), corners, strict=True):
        window = slice(row, row + 8), slice(column, column + 10)
        assert np.abs(found[0] - (pixels[well, site, "DNA"] / function)[window]).max() < 0.1
        assert np.abs(found[1] - pixels[well, site, "ER"][window]).max() < 0.1
    assert ledger[["plate", "unit", "count"]].to_numpy().tolist() == [["P", "cell", 2]]
    assert "beyond the image" in ledger["reason"][0]


def test_odd_windows_lie_symmetrically_about_the_centre():
    assert top_left(np.array([[10.0, 10.4], [10.6, 9.5]]), (5, 7)).tolist() == [[8, 7], [9, 7]]


def test_padding_fills_with_the_median_of_the_image(tmp_path, plate):
    index, pixels, cells = plate
    items, ledger = write(tmp_path, index, cells(), {"edge": "pad"})
    assert len(items) == 6 and ledger.empty
    last = items.read([3])[0]
    image = pixels["A01", 1, "ER"]
    assert np.abs(last[1, :4, :5] - image[56:, 65:]).max() < 0.1
    assert np.abs(last[1, 5:] - np.median(image)).max() < 0.1 and np.abs(last[1, :, 6:] - np.median(image)).max() < 0.1


def test_windows_equal_slices_wherever_they_lie():
    random = np.random.default_rng(1)
    images = random.random((3, 20, 30)).astype(np.float32)
    corners = np.stack([random.integers(-9, 25, 50), random.integers(-9, 35, 50)], axis=1)
    found = cut(images, corners, (7, 9), fill=[1, 2, 3])
    padded = np.stack(
        [np.pad(image, 40, constant_values=value) for image, value in zip(images, (1, 2, 3), strict=True)]
    )
    for one, (row, column) in zip(found, corners + 40, strict=True):
        assert (one == padded[:, row : row + 7, column : column + 9]).all()


def test_cells_are_drawn_by_the_seed_and_the_others_counted(tmp_path, plate):
    index, _, cells = plate
    many = {
        ("A01", 1): [(row, column) for row in range(10, 50, 4) for column in range(10, 60, 5)],
        ("A02", 1): [(30, 30)],
    }
    path = cells(many)
    options = {"max_cells": 30}
    one, ledger = write(tmp_path, index, path, options)
    chosen = one.metadata["Metadata_ObjectNumber"].tolist()
    assert len(chosen) == 31 and chosen[:30] == sorted(chosen[:30])
    assert ledger["count"].tolist() == [70] and "max_cells" in ledger["reason"][0]
    assert write(tmp_path, index, path, options)[0].metadata["Metadata_ObjectNumber"].tolist() == chosen
    assert write(tmp_path, index, path, options, seed=2)[0].metadata["Metadata_ObjectNumber"].tolist() != chosen


def test_sites_and_cells_that_cannot_be_used_are_listed(tmp_path, plate):
    index, _, cells = plate
    index.loc[index["well"] == "A02", "path"] = str(tmp_path / "gone.tif")
    places = {**CELLS, ("A01", 1): [(30, 20), (np.nan, 20)], ("B01", 1): [(20, 20)]}
    items, ledger = write(tmp_path, index, cells(places))
    assert items.metadata["Metadata_ImageNumber"].tolist() == [1, 2]
    reasons = dict(zip(ledger["reason"].str.replace(r".*gone", "gone", regex=True), ledger["unit"], strict=True))
    assert reasons["the cell has no centre"] == "cell"
    assert reasons["the site has cells but no usable image"] == "site"
    assert next(unit for reason, unit in reasons.items() if reason.startswith("gone.tif does not exist")) == "site"


@pytest.mark.parametrize("measured", [True, False])
def test_a_plate_without_cells_gives_a_tensor_without_items(tmp_path, plate, measured):
    index, _, cells = plate
    path = cells({})
    if not measured:
        write_table(path, pd.read_parquet(path)[["Metadata_Plate", "Metadata_Well"]])
    items, ledger = write(tmp_path, index, path)
    assert len(items) == 0 and items.size == (8, 10) and ledger["unit"].tolist() == ["plate"]
    assert {"Metadata_ImageNumber", "Metadata_ObjectNumber", "Metadata_Well"} <= set(items.metadata)
    both = Items.open([(tmp_path / "t.npy", tmp_path / "t.items.parquet")] * 2)
    assert len(both) == 0 and both.read([]).shape == (0, 2, 8, 10)


def test_the_centre_of_the_shape_serves_where_there_is_no_location(tmp_path, plate):
    index, _, cells = plate
    named = write(tmp_path, index, cells())[0].read(range(4))
    shape = write(tmp_path, index, cells(pattern="Nuclei_AreaShape_Center_{}"))[0].read(range(4))
    assert (named == shape).all()
    path = cells(pattern="Cells_Location_Center_{}")
    with pytest.raises(InputError, match="choose Cells as the tensor's object"):
        write(tmp_path, index, path)
    with pytest.raises(InputError, match="keep them in the pipeline"):
        write(tmp_path, index, cells(pattern="Cells_AreaShape_Area_{}"))
    with pytest.raises(InputError, match="need a size"):
        write(tmp_path, index, cells(), {"size": None})


def test_crops_that_are_all_of_one_value_are_listed(tmp_path, plate):
    index, _, cells = plate
    items, ledger = write(tmp_path, index, cells(), {"cut_off": 50.0})
    assert len(items) == 0 and (ledger["reason"] == "every channel is of one value").sum() == 3
