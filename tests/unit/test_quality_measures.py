"""A plate's images are measured whatever state they are in."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import INDEX_SCHEMA
from phenoloom.quality import measure_plate
from phenoloom.quality.measures import MEASURES


@pytest.fixture
def plate(tmp_path):
    """Return a function: list of arrays or bytes -> index of one channel, a site each."""

    def build(images, channel="DNA"):
        rows = []
        for site, image in enumerate(images, start=1):
            path = tmp_path / f"{channel}_{site}.tif"
            if isinstance(image, bytes):
                path.write_bytes(image)
                image = np.zeros((32, 48), np.uint16)
            else:
                tifffile.imwrite(path, image, photometric="rgb" if image.ndim == 3 else "minisblack")
            rows.append(
                ("d", "b1", "P 1", "A01", site, channel, str(path), 0, image.shape[1], image.shape[0], str(image.dtype))
            )
        return pd.DataFrame(rows, columns=INDEX_SCHEMA.names[:11])

    return build


def noise(seed, shape=(32, 48), dtype=np.uint16):
    return np.random.default_rng(seed).integers(100, 200, shape).astype(dtype)


def test_every_image_has_a_row_in_the_order_of_the_index(plate):
    index = plate([noise(0), noise(1, dtype=np.float32), noise(2, dtype=np.uint8)])
    frame = measure_plate(index, Ledger("quality"), threads=2)
    assert frame["Metadata_Site"].tolist() == [1, 2, 3] and set(frame["Metadata_Plate"]) == {"P 1"}
    assert [name for name in frame if name.startswith("Quality_")] == [f"Quality_{name}" for name in MEASURES]
    assert frame.filter(like="Quality_").notna().all(axis=None) and (frame["Metadata_Flags"] == "").all()
    assert set(frame.filter(like="Quality_").dtypes) == {np.dtype(np.float32)}


def test_the_number_of_threads_changes_nothing(plate):
    index = plate([noise(seed) for seed in range(7)])
    one, three = (measure_plate(index, Ledger("quality"), threads) for threads in (1, 3))
    pd.testing.assert_frame_equal(one, three)


def test_broken_images_are_flagged_and_the_others_measured(plate):
    broken = np.ones((32, 48), np.float32)
    broken[3, 4] = np.nan
    images = [
        b"",
        noise(1),
        broken,
        np.zeros((32, 48), np.uint16),
        np.zeros((32, 48), bool),
        noise(2, (32, 48, 3), "u1"),
    ]
    ledger = Ledger("quality", dataset="d")
    frame = measure_plate(plate(images), ledger)
    assert frame["Metadata_Flags"].tolist() == ["unreadable", "", "not_finite", "constant", "unreadable", "unreadable"]
    unusable = frame["Metadata_Flags"].isin(["unreadable", "not_finite"])
    assert frame.loc[unusable].filter(like="Quality_").isna().all(axis=None)
    assert frame.loc[~unusable].filter(like="Quality_").notna().all(axis=None)
    lost = ledger.frame()
    assert lost["site"].tolist() == ["1", "3", "5", "6"] and set(lost["severity"]) == {"lost"}
    assert "0 bytes" in lost["reason"][0] and "NaN" in lost["reason"][1]


def test_an_empty_index_is_said(plate):
    with pytest.raises(InputError, match="no image"):
        measure_plate(plate([]), Ledger("quality"))
