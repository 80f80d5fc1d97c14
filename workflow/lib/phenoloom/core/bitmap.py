"""Grey Windows bitmaps, the format of some older public plates (BBBC013): uncompressed, 8 bits a pixel, no colours."""

import struct

import numpy as np


def is_bitmap(path):
    """Whether a file begins as a bitmap does; False for one that cannot be opened."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"BM"
    except OSError:
        return False


def bitmap_header(data, size):
    """(width, height, offset of the pixels, top row first, grey levels (256,) uint8) from the first 2 kB of a file.

    size: of the file in bytes. Raises ValueError, saying why, for anything but a grey 8-bit bitmap.
    Source: BITMAPFILEHEADER and BITMAPINFOHEADER, learn.microsoft.com/windows/win32/api/wingdi.
    """
    if len(data) < 54:
        raise ValueError("the header is cut off")
    offset, length, width, height, _, bits, compression = struct.unpack_from("<I I i i H H I", data, 10)
    colours = struct.unpack_from("<I", data, 46)[0] or 256
    if length < 40 or bits != 8 or compression != 0:
        raise ValueError(f"{bits} bits a pixel, compression {compression}; only grey 8-bit ones are read")
    if width < 1 or height == 0 or colours > 256:
        raise ValueError("the header is damaged")
    palette = np.frombuffer(data[14 + length : 14 + length + 4 * colours], np.uint8)
    if palette.size != 4 * colours:
        raise ValueError("the palette is cut off")
    palette = palette.reshape(-1, 4)
    if (palette[:, 0] != palette[:, 1]).any() or (palette[:, 0] != palette[:, 2]).any():
        raise ValueError("it has colours where one grey channel is due")
    rows = abs(height)
    if offset + rows * _stride(width) > size:
        raise ValueError(f"it is cut off: {size} bytes where {offset + rows * _stride(width)} are due")
    levels = np.zeros(256, np.uint8)
    levels[:colours] = palette[:, 0]
    return width, rows, offset, height < 0, levels


def bitmap_pixels(data, width, height, offset, top_first, levels):
    """Grey plane (height, width) uint8 of a whole file's bytes, with what bitmap_header says."""
    stride = _stride(width)
    rows = np.frombuffer(data, np.uint8, height * stride, offset).reshape(height, stride)[:, :width]
    return levels[rows if top_first else rows[::-1]]


def _stride(width):
    return (width + 3) // 4 * 4
