"""Tensors on disk: what is read is what was written, within a step of the integers; normalisations; damaged files."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.provenance import read_origin
from phenoloom.tensors.store import Items, TensorWriter, append_usable

CHANNELS = ["DNA", "Mito"]


def images(number=5, seed=0, size=(6, 8)):
    random = np.random.default_rng(seed)
    levels = 10.0 ** random.uniform(0, 4, (number, len(CHANNELS), 1, 1))
    return (levels * random.gamma(2, 1, (number, len(CHANNELS), *size)) - 3).astype(np.float32)


def rows(number, plate="P"):
    return pd.DataFrame({"Metadata_Plate": plate, "Metadata_Well": [f"A{n + 1:02d}" for n in range(number)]})


def write(path, pixels, dtype="uint16", plate="P", **options):
    with TensorWriter(path, CHANNELS, pixels.shape[2:], dtype, **options) as tensor:
        for start in range(0, len(pixels), 3):
            tensor.append(pixels[start : start + 3], rows(len(pixels), plate)[start : start + 3])
        if not len(pixels):
            tensor.append(pixels, rows(0))
    return path, path.with_suffix(".items.parquet")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_intensities_come_back_within_half_a_step(tmp_path, dtype):
    pixels = images()
    files = write(tmp_path / "P.npy", pixels, dtype)
    stored, table = np.load(files[0]), pd.read_parquet(files[1])
    assert stored.dtype == dtype and stored.shape == pixels.shape
    assert stored.min(axis=(2, 3)).max() == 0 and stored.max(axis=(2, 3)).min() == np.iinfo(dtype).max
    found = Items.open([files], normalize="none").read(range(5))
    steps = table[[f"Scale_{name}" for name in CHANNELS]].to_numpy()[:, :, None, None]
    assert found.dtype == np.float32 and (np.abs(found - pixels) <= 0.51 * steps).all()
    assert np.allclose(steps[..., 0, 0], np.ptp(pixels, axis=(2, 3)) / np.iinfo(dtype).max)


def test_the_table_states_scale_and_statistics_of_every_channel(tmp_path):
    pixels = images()
    files = write(tmp_path / "P.npy", pixels, percentiles=(10, 90), origin={"rule": "r"})
    table = pd.read_parquet(files[1])
    for number, name in enumerate(CHANNELS):
        channel = pixels[:, number].astype(float)
        assert np.allclose(table[f"Mean_{name}"], channel.mean(axis=(1, 2)))
        assert np.allclose(table[f"Deviation_{name}"], channel.std(axis=(1, 2)))
        assert np.allclose(table[f"Low_{name}"], np.percentile(channel, 10, axis=(1, 2)), rtol=1e-5)
        assert np.allclose(table[f"High_{name}"], np.percentile(channel, 90, axis=(1, 2)), rtol=1e-5)
        assert {table[f"{what}_{name}"].dtype for what in ("Offset", "Scale", "Mean", "High")} == {np.dtype("float32")}
    assert read_origin(files[1]) == {"rule": "r", "channels": CHANNELS}
    assert json.dumps(read_origin(files[1])["channels"]) == '["DNA", "Mito"]'


def test_normalisations_are_those_of_the_images_themselves(tmp_path):
    pixels = images().astype(float)
    files = write(tmp_path / "P.npy", images())
    axes = {"axis": (2, 3), "keepdims": True}
    low, high = np.percentile(pixels, (0.1, 99.9), **axes)
    bottom, top = pixels.min(**axes), pixels.max(**axes)
    due = {
        "image": (pixels - pixels.mean(**axes)) / pixels.std(**axes),
        "percentile": np.clip((pixels - low) / (high - low), 0, 1),
        "range": (pixels - bottom) / (top - bottom),
        "none": pixels,
    }
    for name, expected in due.items():
        found = Items.open([files], normalize=name).read(np.arange(5))
        assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max(), name
    clipped = Items.open([files], normalize="image", clip=(-1, 2)).read([0])
    assert clipped.min() == -1 and clipped.max() == 2
    with pytest.raises(InputError, match="not 'z'"):
        Items.open([files], normalize="z")


def test_items_of_many_plates_are_read_in_any_order_channels_chosen(tmp_path):
    parts = [images(5, 1), images(0), images(4, 2)]
    files = [write(tmp_path / f"{n}.npy", part, plate=f"P{n}") for n, part in enumerate(parts)]
    both = np.concatenate(parts)
    order = [8, 0, 5, 4, 4, 7]
    items = Items.open(files, channels=["Mito", "DNA"], normalize="none")
    assert len(items) == 9 and items.size == (6, 8) and items.channels == ["Mito", "DNA"]
    assert items.metadata["Metadata_Plate"].tolist() == ["P0"] * 5 + ["P2"] * 4
    assert np.allclose(items.read(order), both[order][:, ::-1], rtol=1e-4, atol=1)
    one = Items.open(files, channels=["Mito"], normalize="none").read(order)
    assert (one == items.read(order)[:, :1]).all()
    assert items.read([]).shape == (0, 2, 6, 8)
    for wrong in ([9], [-1]):
        with pytest.raises(IndexError, match="0 to 8"):
            items.read(wrong)


def test_items_can_be_read_in_other_processes_and_threads(tmp_path):
    items = Items.open([write(tmp_path / "P.npy", images(40))])
    expected = items.read(range(40))
    again = pickle.loads(pickle.dumps(items))
    assert (again.read(range(40)) == expected).all() and again.metadata.equals(items.metadata)
    with ThreadPoolExecutor(4) as pool:
        assert all((pool.submit(items.read, [n]).result() == expected[n]).all() for n in range(40))


def test_a_channel_of_one_value_is_no_nan_under_any_normalisation(tmp_path):
    pixels = images(2)
    pixels[0, 1] = 7
    files = write(tmp_path / "P.npy", pixels)
    for name, value in (("image", 0), ("percentile", 0), ("range", 0), ("none", 7)):
        found = Items.open([files], normalize=name).read([0, 1])
        assert np.isfinite(found).all() and (found[0, 1] == value).all(), name


def test_items_that_hold_nothing_go_to_the_ledger(tmp_path):
    pixels, ledger = images(5), Ledger("tensor")
    pixels[1, 0, 2, 2], pixels[3], pixels[4, 0] = np.nan, 5, 5
    with TensorWriter(tmp_path / "P.npy", CHANNELS, (6, 8)) as tensor:
        append_usable(tensor, pixels, rows(5), ledger, "cell", well="A01")
    assert Items.open([(tmp_path / "P.npy", tmp_path / "P.items.parquet")]).metadata["Metadata_Well"].tolist() == [
        "A01",
        "A03",
        "A05",
    ]
    reasons = ledger.frame().set_index("reason")["count"].to_dict()
    assert reasons == {"a pixel is NaN or infinite": 1, "every channel is of one value": 1}


def test_what_is_written_is_checked_and_an_error_leaves_no_file(tmp_path):
    pixels = images(2)
    wrong = [pixels[:, :1], pixels[:, :, 1:], np.where(pixels > 0, np.nan, pixels), np.full_like(pixels, np.inf)]
    for bad in wrong:
        with pytest.raises(ValueError, match="images h"), TensorWriter(tmp_path / "P.npy", CHANNELS, (6, 8)) as tensor:
            tensor.append(pixels, rows(2))
            tensor.append(bad, rows(2))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="uint8 or uint16, not 'int32'"):
        TensorWriter(tmp_path / "P.npy", CHANNELS, (6, 8), "int32")


def test_damaged_and_unequal_files_are_named(tmp_path):
    good = write(tmp_path / "good.npy", images(3))
    cut = write(tmp_path / "cut.npy", images(3))
    cut[0].write_bytes(cut[0].read_bytes()[:-9])
    other = write(tmp_path / "other.npy", images(3, size=(6, 9)))
    text = tmp_path / "text.npy"
    text.write_text("no array")
    for files, words in (
        ([good, cut], "cut.npy has .* bytes where .* are due"),
        ([good, other], r"other.npy has the size \(6, 9\) and .*good.npy \(6, 8\)"),
        ([(good[0], write(tmp_path / "more.npy", images(4))[1])], "3 items of 2 channels, its table .* 4"),
        ([(text, good[1])], "text.npy cannot be read as an array"),
        ([(tmp_path / "none.npy", good[1])], "none.npy cannot be read"),
        ([], "no file"),
    ):
        with pytest.raises(InputError, match=words):
            Items.open(files)
    with pytest.raises(InputError, match="no channel 'ER'; it has DNA, Mito"):
        Items.open([good], channels=["ER"])
    items = Items.open([good])
    good[0].write_bytes(good[0].read_bytes()[:-9])
    with pytest.raises(InputError, match="cut off while it was read"):
        items.read([2])


def test_a_table_keeps_text_that_is_missing_in_all_of_its_first_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("phenoloom.tensors.store.ROWS", 2)
    pixels, table = images(6), rows(6).assign(Metadata_Gate=[None] * 4 + ["late", None])
    with TensorWriter(tmp_path / "P.npy", CHANNELS, (6, 8)) as tensor:
        for start in (0, 2, 4):
            tensor.append(pixels[start : start + 2], table[start : start + 2])
    found = pd.read_parquet(tmp_path / "P.items.parquet")
    assert found["Metadata_Gate"].dropna().tolist() == ["late"] and len(found) == 6


def test_the_same_items_give_the_same_bytes(tmp_path):
    one, two = (write(tmp_path / f"{name}.npy", images()) for name in "ab")
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


def test_a_plate_is_brought_to_one_scale_and_its_items_stay_apart(tmp_path):
    images = np.random.default_rng(5).normal(300, 40, (30, 2, 8, 8)) * np.linspace(1, 2, 30)[:, None, None, None]
    with TensorWriter(tmp_path / "a.npy", ["x", "y"], (8, 8)) as tensor:
        tensor.append(images.astype(np.float32), pd.DataFrame({"Metadata_Plate": ["p"] * 30}))
    items = Items.open([(tmp_path / "a.npy", tmp_path / "a.items.parquet")], normalize="plate")
    expected = (images - images.mean(axis=(0, 2, 3), keepdims=True)) / images.std(axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(items.read(np.arange(30)), expected, atol=1e-3)
