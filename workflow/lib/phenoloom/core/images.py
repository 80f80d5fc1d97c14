"""Reading of pixels: one function that takes an index row, with limits, and says in one sentence what is wrong."""

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from phenoloom.core.errors import InputError

#: Largest plane that is read, in pixels; larger headers are nearly always damage.
MAX_PIXELS = 2**28

#: Modes of Pillow that are one grey channel, and the type of their pixels; P is grey levels by a palette.
GREY_MODES = {"L": "uint8", "P": "uint8", "I;16": "uint16"}

# Its own warning comes long before MAX_PIXELS.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

logging.getLogger("tifffile").setLevel(logging.CRITICAL)


class ImageError(InputError):
    """An image plane cannot be used; the message names the file and the reason."""


def read_header(path, page=0):
    """(width, height, dtype name, pages) of a TIFF, PNG or BMP without decoding pixels. Raises ImageError."""
    if _is_picture(path):
        with _picture(path, page) as picture:
            return *picture.size, GREY_MODES[picture.mode], 1
    with _open(path) as tiff:
        plane = _page(tiff, path, page)
        return plane.imagewidth, plane.imagelength, str(plane.dtype), len(tiff.pages)


def read_plane(path, page=0):
    """One grey plane of a TIFF, PNG or BMP as a 2-D array in its own dtype (unsigned/signed integer or float).

    Raises ImageError for missing, empty, truncated, boolean, RGB or oversized images.
    """
    if _is_picture(path):
        with _picture(path, page) as picture:
            try:
                return np.asarray(picture.convert("L") if picture.mode == "P" else picture, GREY_MODES[picture.mode])
            except (OSError, SyntaxError, ValueError) as error:
                raise ImageError(f"{path} cannot be decoded ({_words(error)}); copy it again") from error
    with _open(path) as tiff:
        return _decode(_page(tiff, path, page), path)


def read_pages(path, pages=None):
    """Several grey planes of one file as an array (P, height, width) in their own dtype.

    pages: 0-based, all by default. Raises ImageError as read_plane does, and for pages that differ in size.
    """
    if _is_picture(path):
        return np.stack([read_plane(path, page) for page in (pages if pages is not None else [0])])
    with _open(path) as tiff:
        try:
            number = len(tiff.pages)
        except Exception as error:  # damaged tags surface as any kind of error
            raise ImageError(f"{path} has a damaged header ({_words(error)}); copy it again") from error
        chosen = range(number) if pages is None else pages
        planes = [_decode(_page(tiff, path, page), path) for page in chosen]
    if not planes:
        raise ImageError(f"{path} has no pages; copy it again")
    if len({plane.shape for plane in planes}) > 1:
        raise ImageError(f"{path} has pages of different sizes; export it again")
    return np.stack(planes)


def _decode(plane, path):
    """Pixels (height, width) of a page that was checked."""
    try:
        image = plane.asarray()
    except Exception as error:  # decoders raise kinds of their own; every one means the same here
        raise ImageError(f"{path} cannot be decoded ({_words(error)}); export or copy it again") from error
    image = np.squeeze(image)
    if image.ndim != 2 or image.shape != (plane.imagelength, plane.imagewidth):
        raise ImageError(f"{path} holds an array of shape {image.shape} where one grey plane is due")
    return image


def read_image(row):
    """Pixels of one index row (mapping or named tuple with path, page, width, height, dtype), 2-D, own dtype.

    Raises ImageError also when size or type differ from what the index recorded.
    """
    get = row.get if hasattr(row, "get") else lambda key, default=None: getattr(row, key, default)
    image = read_plane(get("path"), int(get("page") or 0))
    width, height = get("width"), get("height")
    if width and height and image.shape != (int(height), int(width)):
        raise ImageError(
            f"{get('path')} is {image.shape[1]}x{image.shape[0]} pixels but was indexed as {width}x{height}; "
            "index the study again"
        )
    return image


def unit_scale(dtype):
    """Divisor that maps a dtype's full range to [0, 1] as CellProfiler does; 1 for floats."""
    dtype = np.dtype(dtype)
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def _open(path):
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is empty (0 bytes); copy it again")
        return tifffile.TiffFile(path)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist; copy it again or index the study again") from error
    except (tifffile.TiffFileError, OSError, ValueError, struct.error, zlib.error, KeyError, IndexError) as error:
        raise ImageError(f"{path} is not a readable TIFF ({_words(error)}); copy it again") from error


def _page(tiff, path, page):
    try:
        if page >= len(tiff.pages):
            raise ImageError(f"{path} has {len(tiff.pages)} page(s) but page {page} (0-based) is due")
        plane = tiff.pages[page]
        width, height, samples, dtype = plane.imagewidth, plane.imagelength, plane.samplesperpixel, plane.dtype
        counts = sum(plane.databytecounts)
        end = max(map(sum, zip(plane.dataoffsets, plane.databytecounts, strict=True)), default=0)
    except ImageError:
        raise
    except Exception as error:  # damaged tags surface as any kind of error
        raise ImageError(f"{path} has a damaged header ({_words(error)}); copy it again") from error
    if not width or not height or width * height > MAX_PIXELS:
        raise ImageError(f"{path} claims {width}x{height} pixels, beyond the limit of {MAX_PIXELS}")
    if dtype is None or np.dtype(dtype).kind not in "iuf":
        raise ImageError(f"{path} has pixels of type {dtype or 'unknown'} where grey integers or floats are due")
    if samples != 1 or plane.imagedepth != 1:
        raise ImageError(f"{path} has {samples} samples per pixel (RGB?) where one grey channel is due")
    if plane.compression == 1 and counts < width * height * np.dtype(dtype).itemsize * plane.bitspersample // (
        8 * np.dtype(dtype).itemsize
    ):
        raise ImageError(f"{path} holds {counts} bytes of pixels, fewer than its size asks for; copy it again")
    if end > tiff.filehandle.size:
        raise ImageError(f"{path} is cut off: {tiff.filehandle.size} bytes where {end} are due; copy it again")
    return plane


def _is_picture(path):
    """Whether a file begins as a PNG or BMP does, as older public plates do; False where it cannot be opened."""
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith((b"BM", b"\x89PNG"))
    except OSError:
        return False


def _picture(path, page):
    """An opened grey PNG or BMP, not decoded yet."""
    if page:
        raise ImageError(f"{path} has 1 page(s) but page {page} (0-based) is due")
    try:
        picture = Image.open(path, formats=["PNG", "BMP"])
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} is not a readable image ({_words(error)}); copy it again") from error
    palette = np.array(picture.getpalette() or [], np.uint8).reshape(-1, 3) if picture.mode == "P" else None
    coloured = palette is not None and (palette != palette[:, :1]).any()
    if picture.mode not in GREY_MODES or coloured:
        raise ImageError(f"{path} has pixels of mode {picture.mode} (colours?) where one grey channel is due")
    if picture.width * picture.height > MAX_PIXELS:
        raise ImageError(f"{path} claims {picture.width}x{picture.height} pixels, beyond the limit of {MAX_PIXELS}")
    return picture


def _words(error):
    return (str(error).strip().split("\n", 1)[0] or type(error).__name__)[:160]
