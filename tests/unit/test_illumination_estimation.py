"""Illumination functions of small plates: planted vignetting, failures, determinism."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import INDEX_SCHEMA
from phenoloom.illumination import estimate, preview, without_excluded


@pytest.fixture
def plate(tmp_path):
    """Return a function: list of arrays or bytes -> index of one channel, a site each."""

    def build(images, recorded=(64, 80), dtype="uint16"):
        rows = []
        for site, image in enumerate(images, start=1):
            path = tmp_path / f"{site}.tif"
            shape, kind = recorded, dtype
            if isinstance(image, bytes):
                path.write_bytes(image)
            else:
                tifffile.imwrite(path, image, photometric="rgb" if image.ndim == 3 else "minisblack")
                shape, kind = image.shape, str(image.dtype)
            rows.append(("d", "b", "P", "A01", site, "DNA", str(path), 0, shape[1], shape[0], kind))
        return pd.DataFrame(rows, columns=INDEX_SCHEMA.names[:11])

    return build


def vignette(shape=(64, 80), depth=0.5):
    y, x = np.mgrid[: shape[0], : shape[1]]
    middle = np.array(shape) / 2
    return 1 - depth * ((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / (middle**2).sum()


def lit(seed, shape=(64, 80), dtype=np.uint16):
    rng = np.random.default_rng(seed)
    return (200 + 2000 * vignette(shape) * rng.gamma(8, 1 / 8, shape)).astype(dtype)


@pytest.mark.parametrize("method", ["median", "gaussian"])
def test_planted_vignetting_is_recovered(plate, method):
    shape = (192, 240)
    index = plate([lit(seed, shape) for seed in range(12)])
    function = estimate(index, Ledger("illumination"), method, 4, filter_size=9)
    assert function.shape == shape and function.dtype == np.float32
    truth = 200 + 2000 * vignette(shape)
    flat = np.median(np.abs(truth / truth.mean() - 1))
    assert np.median(np.abs(function / function.mean() / (truth / truth.mean()) - 1)) < 0.2 * flat


def test_the_number_of_threads_changes_no_bit(plate):
    for dtype in (np.uint16, np.float32):
        index = plate([lit(seed, dtype=dtype) for seed in range(40)])
        one, three = (estimate(index, Ledger("illumination"), threads=threads) for threads in (1, 3))
        assert one.tobytes() == three.tobytes()


def test_unusable_images_go_to_the_ledger_and_do_not_count(plate):
    nan = lit(9, dtype=np.float32)
    nan[0, 0] = np.nan
    good = [lit(seed) for seed in range(5)]
    bad = [b"", good[0].tobytes()[:50], lit(7, (32, 80)), np.ones((64, 80), bool), np.ones((64, 80, 3), np.uint8), nan]
    ledger = Ledger("illumination", dataset="d", plate="P", channel="DNA")
    function = estimate(plate([*good, *bad]), ledger)
    rows = ledger.frame()
    assert rows["site"].tolist() == ["6", "7", "8", "9", "10", "11"]
    assert set(rows["severity"]) == {"lost"} and set(rows["channel"]) == {"DNA"} and set(rows["well"]) == {"A01"}
    assert "most of the plate is 80x64" in rows["reason"][2] and "NaN" in rows["reason"][5]
    assert function.tobytes() == estimate(plate(good), Ledger("illumination")).tobytes()


def test_sites_that_quality_control_left_out_do_not_count(plate):
    good, overexposed = [lit(seed) for seed in range(5)], np.full((64, 80), 65535, np.uint16)
    sites = pd.DataFrame({"Metadata_Plate": "P", "Metadata_Well": "A01", "Metadata_Site": range(1, 7)})
    sites["Metadata_Excluded"] = sites["Metadata_Site"] == 6
    kept = without_excluded(plate([*good, overexposed]), sites)
    assert kept["site"].tolist() == [1, 2, 3, 4, 5]
    assert estimate(kept, Ledger("illumination")).tobytes() == estimate(plate(good), Ledger("illumination")).tobytes()
    with pytest.raises(InputError, match="left out all 6 sites of plate 'P'"):
        without_excluded(plate([*good, overexposed]), sites.assign(Metadata_Excluded=True))


def test_the_size_of_most_images_wins(plate):
    function = estimate(plate([lit(0), lit(1, (40, 40)), lit(2, (40, 40))]), Ledger("illumination"))
    assert function.shape == (40, 40)


def test_no_usable_image_is_an_error_that_names_the_channel(plate):
    with pytest.raises(InputError, match="none of the 2 images of channel 'DNA'"):
        estimate(plate([b"", b"II*"]), Ledger("illumination"))
    with pytest.raises(InputError, match="no image"):
        estimate(plate([]), Ledger("illumination"))


def test_black_images_give_a_flat_function_and_say_so(plate):
    ledger = Ledger("illumination")
    function = estimate(plate([np.zeros((64, 80), np.uint16)] * 2), ledger)
    assert (function == 1).all() and ledger.rows[0]["severity"] == "flagged"


def test_a_function_never_holds_zero_or_nan(plate):
    half = lit(0)
    half[:, :40] = 0
    for rescale in (True, False):
        function = estimate(plate([half]), Ledger("illumination"), rescale=rescale)
        assert np.isfinite(function).all() and function.min() > 0


def test_one_constant_image_gives_a_flat_function(plate):
    assert (estimate(plate([np.full((64, 80), 300, np.uint16)]), Ledger("illumination")) == 1).all()


def test_method_none_corrects_nothing(plate):
    assert (estimate(plate([lit(0)]), Ledger("illumination"), method="none") == 1).all()


def test_float_images_beyond_one_are_not_cut(plate):
    counts = [lit(seed, dtype=np.float32) for seed in range(4)]
    unit = [image / 65535 for image in counts]
    a, b = (estimate(plate(images), Ledger("illumination")) for images in (counts, unit))
    assert np.abs(a / b - 1).max() < 0.002


def test_the_preview_is_a_picture_with_a_bar(tmp_path):
    path = tmp_path / "illumination.png"
    preview(vignette().astype(np.float32) + 1, path, title="plate <1>, DNA")
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert picture.shape[1] > 360 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    preview(np.ones((8, 8)), path)  # a flat function has a picture too
