"""Images of events are read in their order, and what cannot be read goes to the ledger: none is lost unseen."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from event_sample import block
from phenoloom.core.ledger import Ledger
from phenoloom.cytometry import images
from phenoloom.cytometry.images import read_events, with_pages
from phenoloom.cytometry.manifest import list_sample

SORTER = block({"DNA": {"source": "0"}}, {"format": "sorter", "pattern": "{event}.tif"})
PAIRS = block({"DNA": {}, "ER": {}}, {"format": "crops", "pattern": "{event}_{channel}.tif"})
CROPS = block({"DNA": {}}, {"format": "crops", "pattern": "{event}.*"})


def stack(number, pages=3, shape=(5, 4)):
    return np.random.default_rng(number).integers(0, 99, (pages, *shape)).astype(np.float32)


def write(path, pixels):
    with tifffile.TiffWriter(path) as file:
        for plane in pixels:
            file.write(plane, photometric="minisblack", metadata=None)


def listed(folder, block):
    row = {"sample": "s", "batch": "1", "images": str(folder)}
    manifest, ledger, _ = list_sample("d", row | ({"fcs": __file__} if block is SORTER else {}), block)
    return manifest, len(ledger)


def read(manifest, block, ledger=None, threads=1, **more):
    channels = list(block["channels"])
    return list(
        read_events(manifest, block["events"], more.get("pages"), channels, ledger or Ledger("events"), threads)
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_events_come_in_their_order_whatever_the_threads(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(images, "CHUNK", 4)
    monkeypatch.setattr(images, "ROWS", 3)
    for number in range(11):
        write(tmp_path / f"{number}.tif", stack(number))
    found = read(listed(tmp_path, SORTER)[0], SORTER, threads=threads)
    assert [event.number for event in found] == list(range(11))
    for event in found:
        np.testing.assert_array_equal(event.pixels, stack(event.number))


def test_files_of_channels_are_put_together_in_the_studys_order_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "ROWS", 3)
    for number in range(5):
        for channel, plane in zip(("ER", "DNA"), stack(number), strict=False):
            tifffile.imwrite(tmp_path / f"{number}_{channel}.tif", plane)
    found = read(listed(tmp_path, PAIRS)[0], PAIRS)
    assert [event.number for event in found] == list(range(5))
    np.testing.assert_array_equal(found[3].pixels, stack(3)[[1, 0]])


def test_pages_of_crops_are_chosen(tmp_path):
    write(tmp_path / "a.tif", stack(1, 4))
    (event,) = read(listed(tmp_path, CROPS)[0], CROPS, pages=[3, 0])
    np.testing.assert_array_equal(event.pixels, stack(1, 4)[[3, 0]])


def spoil_later(path):
    """Cut a file's second page, which the listing does not look at."""
    path.write_bytes(path.read_bytes()[:-30])


def other_size(path):
    write(path, stack(0, 3, (9, 9)))


def uneven(path):
    with tifffile.TiffWriter(path) as file:
        for shape in ((5, 4), (4, 5)):
            file.write(np.zeros(shape, np.float32), metadata=None)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_later, "is cut off|cannot be decoded|holds"),
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"II*\0\0\0\0\0"), "1.tif"),
        (other_size, "was listed as 4x5; prepare the study again"),
        (uneven, "pages of different sizes"),
    ],
)
def test_what_was_spoilt_since_it_was_listed_is_in_the_ledger(tmp_path, spoil, said):
    for number in range(3):
        write(tmp_path / f"{number}.tif", stack(number))
    manifest, _ = listed(tmp_path, SORTER)
    spoil(tmp_path / "1.tif")
    ledger = Ledger("events")
    found = read(manifest, SORTER, ledger)
    assert [event.number for event in found] == [0, 2]
    rows = ledger.frame()
    assert rows["reason"].str.contains(said).all() and len(found) + rows["count"].sum() == 3
    assert rows["unit"].tolist() == ["event"] and rows["site"].tolist() == ["1"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "CMYK"])
def test_colours_and_bits_are_no_events(tmp_path, mode):
    write(tmp_path / "0.tif", stack(0, 1))
    Image.new(mode, (4, 5)).save(tmp_path / "1.tif")
    manifest, lost = listed(tmp_path, CROPS)
    assert (len(manifest), lost) == (1, 1)


def test_crafted_files_never_end_the_sample(shared_data, tmp_path):
    files = sorted(path for path in shared_data("malformed_tiff").rglob("*") if path.suffix in (".tif", ".tiff"))
    for number, path in enumerate(files):
        (tmp_path / f"{number}.tif").symlink_to(path)
    write(tmp_path / "999.tif", stack(0, 1))
    manifest, lost = listed(tmp_path, CROPS)
    ledger = Ledger("events")
    found = read(manifest, CROPS, ledger, pages=[0])
    assert len(found) + lost + len(ledger.rows) == len(files) + 1 >= 12
    assert found[-1].number == len(files)


def test_events_with_other_numbers_of_pages_are_counted():
    ledger = Ledger("events")
    given = [images.Event(number, stack(number, pages)) for number, pages in enumerate((8, 7, 8, 9))]
    assert [event.number for event in with_pages(given, 8, ledger)] == [0, 2]
    assert [row["reason"] for row in ledger.rows] == [f"the image has {n} pages where 8 are due" for n in (7, 9)]
