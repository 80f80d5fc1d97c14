"""Reading pixels: grey planes come back unchanged; anything else is one sentence that names the file."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from phenoloom.core.images import ImageError, read_header, read_image, read_plane


def test_planes_come_back_unchanged(tmp_path):
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    tifffile.imwrite(tmp_path / "a b'\";é.tif", pixels)
    assert np.array_equal(read_plane(tmp_path / "a b'\";é.tif"), pixels)
    assert read_header(tmp_path / "a b'\";é.tif") == (4, 3, "uint16", 1)


def test_pages_are_chosen_by_number(tmp_path):
    stack = np.random.default_rng(0).integers(0, 255, (3, 8, 9)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    assert np.array_equal(read_plane(tmp_path / "stack.tif", 2), stack[2])
    with pytest.raises(ImageError, match="page 3"):
        read_plane(tmp_path / "stack.tif", 3)


def _write(path, kind):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64))
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        tifffile.imwrite(path, noise.astype(np.uint16))
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "truncated deflate":
        tifffile.imwrite(path, noise.astype(np.uint16), compression="zlib")
        path.write_bytes(path.read_bytes()[:-800])
    elif kind == "boolean":
        tifffile.imwrite(path, noise > 100)
    elif kind == "RGB":
        tifffile.imwrite(path, np.stack([noise] * 3, -1).astype(np.uint8), photometric="rgb")
    elif kind == "text":
        path.write_text("not an image")


@pytest.mark.parametrize("kind", ["empty", "truncated", "truncated deflate", "boolean", "RGB", "text", "missing"])
def test_unusable_images_are_one_sentence(tmp_path, kind):
    path = tmp_path / "image.tif"
    _write(path, kind)
    with pytest.raises(ImageError, match="image.tif") as caught:
        read_plane(path)
    assert "\n" not in str(caught.value)


def test_a_size_other_than_indexed_is_an_error(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4), np.uint16))
    with pytest.raises(ImageError, match="indexed as 9x9"):
        read_image({"path": tmp_path / "a.tif", "page": 0, "width": 9, "height": 9})


@pytest.mark.parametrize(("name", "dtype"), [("grey.BMP", np.uint8), ("grey.png", np.uint8), ("deep.png", np.uint16)])
def test_grey_bitmaps_are_read_like_tiffs(tmp_path, name, dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (70, 110)).astype(dtype)
    Image.fromarray(pixels).save(tmp_path / name)
    assert read_header(tmp_path / name) == (110, 70, np.dtype(dtype).name, 1)
    assert np.array_equal(read_plane(tmp_path / name), pixels)
    (tmp_path / f"cut-{name}").write_bytes((tmp_path / name).read_bytes()[:-2000])
    with pytest.raises(ImageError, match=f"cut-{name}"):
        read_plane(tmp_path / f"cut-{name}")


@pytest.mark.parametrize("name", ["colour.bmp", "colour.png"])
def test_bitmaps_with_colours_are_refused(tmp_path, name):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (7, 10, 3)).astype(np.uint8)).save(tmp_path / name)
    with pytest.raises(ImageError, match=name):
        read_header(tmp_path / name)


def test_a_tiff_whose_pixels_are_cut_off_is_known_by_its_header(tmp_path, write_tiff):
    path = write_tiff(tmp_path / "whole.tif")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ImageError, match="cut off"):
        read_header(path)
