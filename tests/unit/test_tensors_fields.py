"""Fields of a plate as a tensor: images over illumination, sizes, cut-off, and sites that cannot be used."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import INDEX_SCHEMA
from phenoloom.simulate.design import design
from phenoloom.simulate.site import write_sites
from phenoloom.tensors.fields import write_fields
from phenoloom.tensors.sites import resize
from phenoloom.tensors.store import Items

CHANNELS = ["DNA", "BF1"]
SIMULATED = {"width": 96, "height": 80, "channels": CHANNELS, "sites": 2}
OPTIONS = {
    "size": None,
    "dtype": "uint16",
    "interpolation": "bicubic",
    "cut_off": None,
    "percentiles": [0.1, 99.9],
}


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Index, as DataFrame, of four sites of a simulated plate, and the paths of its illumination functions."""
    folder = tmp_path_factory.mktemp("plate")
    rows = design(SIMULATED)
    rows = rows[rows["plate"] == "B1P1"]
    sites = [(well, site) for well in ("A01", "A02") for site in (1, 2)]
    write_sites(folder / "images", rows, sites, SIMULATED)
    table = []
    for well, site in sites:
        for channel in CHANNELS:
            path = folder / "images" / f"{well}_s{site}_{channel}.tif"
            table.append(("d", "batch1", "B1P1", well, site, channel, str(path), 0, 96, 80, "uint16"))
    y, x = np.mgrid[:80, :96]
    function = (1 + ((y - 40) ** 2 + (x - 48) ** 2) / 4000).astype(np.float32)
    np.save(folder / "DNA.npy", function)
    return pd.DataFrame(table, columns=INDEX_SCHEMA.names[:11]), [folder / "DNA.npy"]


def write(folder, index, options=None, illumination=(), threads=2, channels=CHANNELS):
    """(Items in intensities, ledger) of the tensor of an index."""
    ledger, paths = Ledger("tensor_fields"), (folder / "t.npy", folder / "t.items.parquet")
    write_fields(paths, index, channels, {**OPTIONS, **(options or {})}, ledger, illumination, threads)
    return Items.open([paths], normalize="none"), ledger.frame()


def steps(folder):
    table = pd.read_parquet(folder / "t.items.parquet")
    return table[[f"Scale_{name}" for name in CHANNELS]].to_numpy()[:, :, None, None]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_field_is_its_image_over_its_illumination_function(tmp_path, plate, dtype):
    index, functions = plate
    items, ledger = write(tmp_path, index, {"dtype": dtype}, functions)
    function = np.load(functions[0]).astype(np.float64)
    paths = dict(zip(zip(index["well"], index["site"], index["channel"], strict=True), index["path"], strict=True))
    due = np.array(
        [
            [tifffile.imread(paths[well, site, "DNA"]) / function, tifffile.imread(paths[well, site, "BF1"])]
            for well, site in (("A01", 1), ("A01", 2), ("A02", 1), ("A02", 2))
        ]
    )
    assert items.metadata["Metadata_Well"].tolist() == ["A01", "A01", "A02", "A02"]
    assert items.metadata["Metadata_Site"].tolist() == [1, 2, 1, 2]
    assert set(items.metadata["Metadata_Plate"]) == {"B1P1"} and set(items.metadata["Metadata_Batch"]) == {"batch1"}
    assert (np.abs(items.read(range(4)) - due) <= 0.51 * steps(tmp_path)).all()
    assert ledger.empty and items.size == (80, 96)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(32, 40), (100, 120)])
def test_fields_are_resized_as_pytorch_does_with_antialiasing(tmp_path, plate, interpolation, size):
    index = plate[0]
    items, _ = write(tmp_path, index, {"size": list(size), "interpolation": interpolation})
    image = torch.from_numpy(tifffile.imread(index["path"][0]).astype(np.float32))[None, None]
    due = torch.nn.functional.interpolate(image, size=size, mode=interpolation, antialias=True)[0, 0].numpy()
    assert items.size == size
    assert np.abs(items.read([0])[0, 0] - due).max() <= 0.51 * steps(tmp_path)[0, 0, 0, 0] + 1e-3 * due.max()


def test_area_is_the_mean_over_what_a_pixel_covers():
    image = np.random.default_rng(0).gamma(2, 1, (12, 30)).astype(np.float32)
    found = resize(image, (4, 10), "area")
    assert np.allclose(found, image.reshape(4, 3, 10, 3).mean(axis=(1, 3)), rtol=1e-5)
    thirds = resize(np.array([[0, 3, 6]], np.float32), (1, 2), "area")
    assert np.allclose(thirds, [[1, 5]])
    larger = resize(image, (18, 41), "area")
    assert larger.shape == (18, 41) and larger.mean() == pytest.approx(image.mean(), rel=1e-5)


def test_no_pixel_is_brighter_than_the_cut_off(tmp_path, plate):
    index = plate[0]
    full = write(tmp_path, index, channels=["DNA"])[0].read([0])
    cut_off = float(np.percentile(full[0, 0], 95))
    items, _ = write(tmp_path, index, {"cut_off": cut_off, "size": [80, 96]}, channels=["DNA"])
    found = items.read([0])[0, 0]
    assert found.max() == pytest.approx(cut_off, rel=1e-6)
    assert np.abs(found - np.minimum(full[0, 0], cut_off)).max() < 1
    table = pd.read_parquet(tmp_path / "t.items.parquet")
    assert table["High_DNA"].max() <= np.float32(cut_off)


def test_the_number_of_threads_changes_no_byte(tmp_path, plate):
    contents = []
    for threads in (1, 4):
        write(tmp_path, plate[0], {"size": [40, 40]}, plate[1], threads)
        contents.append([(tmp_path / name).read_bytes() for name in ("t.npy", "t.items.parquet")])
    assert contents[0] == contents[1]


def test_sites_that_cannot_be_used_are_left_out_and_listed(tmp_path, plate):
    index = plate[0].copy()
    broken, flat, nan = tmp_path / "broken.tif", tmp_path / "flat.tif", tmp_path / "nan.tif"
    broken.write_bytes(b"II*")
    tifffile.imwrite(flat, np.full((80, 96), 9, np.uint16))
    tifffile.imwrite(nan, np.where(np.arange(80 * 96).reshape(80, 96) == 5, np.nan, 1).astype(np.float32))
    index.loc[0, "path"], index.loc[3, "path"] = str(broken), str(flat)
    index.loc[4, ["path", "dtype"]] = str(nan), "float32"
    items, ledger = write(tmp_path, index)
    assert items.metadata[["Metadata_Well", "Metadata_Site"]].to_numpy().tolist() == [["A02", 2]]
    assert ledger[["well", "site", "unit"]].to_numpy().tolist() == [
        ["A01", "1", "site"],
        ["A01", "2", "site"],
        ["A02", "1", "site"],
    ]
    assert "not a readable TIFF" in ledger["reason"][0] and "constant" in ledger["reason"][1]
    assert "NaN" in ledger["reason"][2] and set(ledger["severity"]) == {"lost"}
    without = index.drop(index=1)
    assert "no image of BF1" in write(tmp_path, without[without["channel"] != "x"])[1]["reason"][0]


def test_a_plate_without_a_usable_site_gives_a_tensor_without_items(tmp_path, plate):
    index = plate[0].copy()
    index["path"] = str(tmp_path / "gone.tif")
    items, ledger = write(tmp_path, index)
    assert len(items) == 0 and items.size == (80, 96) and items.channels == CHANNELS
    assert {"Metadata_Plate", "Metadata_Well", "Metadata_Site"} <= set(items.metadata)
    assert ledger["unit"].tolist() == ["site"] * 4 + ["plate"]


def test_images_of_another_size_than_most_are_listed_unless_resized(tmp_path, plate):
    index = plate[0].copy()
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, np.random.default_rng(0).integers(0, 99, (40, 48)).astype(np.uint16))
    index.loc[[0, 1], ["path", "width", "height"]] = str(small), 48, 40
    items, ledger = write(tmp_path, index)
    assert len(items) == 3 and "48x40 pixels where most of the plate has 96x80" in ledger["reason"][0]
    assert len(write(tmp_path, index, {"size": [32, 32]})[0]) == 4
    mixed = write(tmp_path, index, {"size": [32, 32]}, plate[1])
    assert len(mixed[0]) == 3 and "its illumination function 96x80" in mixed[1]["reason"][0]


def test_bad_functions_and_unknown_channels_are_named(tmp_path, plate):
    np.save(tmp_path / "DNA.npy", np.zeros((80, 96), np.float32))
    with pytest.raises(InputError, match="DNA.npy is no illumination function"):
        write(tmp_path, plate[0], illumination=[tmp_path / "DNA.npy"])
    with pytest.raises(InputError, match="bicubic, bilinear, area, not 'nearest'"):
        write(tmp_path, plate[0], {"interpolation": "nearest"})
    with pytest.raises(InputError, match="no image of ER"):
        write(tmp_path, plate[0], channels=["ER"])
