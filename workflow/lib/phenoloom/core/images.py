"""Reading of pixels: one function that takes an index row, with limits, and says in one sentence what is wrong."""

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile

from phenoloom.core.bitmap import bitmap_header, bitmap_pixels, is_bitmap
from phenoloom.core.errors import InputError

#: Largest plane that is read, in pixels; larger headers are nearly always damage.
MAX_PIXELS = 2**28

logging.getLogger("tifffile").setLevel(logging.CRITICAL)


class ImageError(InputError):
    """An image plane cannot be used; the message names the file and the reason."""


def read_header(path, page=0):
    """(width, height, dtype name, pages) of a TIFF or grey bitmap without decoding pixels. Raises ImageError."""
    if is_bitmap(path):
        width, height, *_ = _bitmap(path, page)[0]
        return width, height, "uint8", 1
    with _open(path) as tiff:
        plane = _page(tiff, path, page)
        return plane.imagewidth, plane.imagelength, str(plane.dtype), len(tiff.pages)


def read_plane(path, page=0):
    """One grey plane of a TIFF (or grey bitmap) as a 2-D array in its own dtype (unsigned/signed integer or float).

    Raises ImageError for missing, empty, truncated, boolean, RGB or oversized images.
    """
    if is_bitmap(path):
        header, data = _bitmap(path, page, whole=True)
        return bitmap_pixels(data, *header)
    with _open(path) as tiff:
        plane = _page(tiff, path, page)
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


def _bitmap(path, page, whole=False):
    """(header, bytes) of a grey bitmap; its first 2 kB unless the whole file is asked for."""
    if page:
        raise ImageError(f"{path} has 1 page(s) but page {page} (0-based) is due")
    try:
        size = Path(path).stat().st_size
        with open(path, "rb") as file:
            data = file.read(2048)
            header = bitmap_header(data, size)
            if header[0] * header[1] > MAX_PIXELS:
                raise ValueError(f"it claims {header[0]}x{header[1]} pixels, beyond the limit of {MAX_PIXELS}")
            return header, data + file.read() if whole else data
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} is no bitmap that can be read ({_words(error)})") from error


def _words(error):
    return (str(error).strip().split("\n", 1)[0] or type(error).__name__)[:160]
