"""Montages of single cells: cut into tiles, and the filler tiles that pad them found."""

import hashlib
from collections import Counter

import numpy as np

from phenoloom.core.images import ImageError, read_plane

#: A tile that occurs this often is a filler; of two equal ones the first is kept.
FILLER_COPIES = 3


def cut(image, grid, path=""):
    """Tiles (rows x columns, h, w) of a montage, row by row.

    image: (height, width). grid: (rows, columns). Raises ImageError when the grid does not divide the image.
    """
    rows, columns = grid
    height, width = image.shape
    if height % rows or width % columns:
        raise ImageError(
            f"{path} is {width}x{height} pixels, which {rows} rows and {columns} columns of cells do not divide; "
            "mend events.grid"
        )
    shape = rows, height // rows, columns, width // columns
    return image.reshape(shape).swapaxes(1, 2).reshape(rows * columns, shape[1], shape[3])


def read_montage(paths, grid):
    """Tiles (n, C, h, w) of the montages of all channels of one set of cells. Raises ImageError."""
    planes = [read_plane(path) for path in paths]
    if len({plane.shape for plane in planes}) > 1:
        raise ImageError(f"{paths[0]} and {paths[1]} differ in size; export the montages of all channels again")
    return np.stack([cut(plane, grid, path) for plane, path in zip(planes, paths, strict=True)], axis=1)


def digests(tiles):
    """Digest (16 bytes each) of the pixels of every tile in (n, C, h, w)."""
    return [hashlib.blake2b(np.ascontiguousarray(tile), digest_size=16).digest() for tile in tiles]


def unreal(marks):
    """{index: reason} of the tiles that are no cell of their own: fillers, and repeats of an earlier one.

    marks: digests of all tiles of a sample, in order. A tile with one value only is no cell either, but this is for
    the pixels to say.

    >>> unreal([b"a", b"f", b"f", b"b", b"f", b"a"])
    {1: 'filler', 2: 'filler', 4: 'filler', 5: 'repeat'}
    """
    copies, seen, found = Counter(marks), set(), {}
    for index, mark in enumerate(marks):
        if copies[mark] >= FILLER_COPIES:
            found[index] = "filler"
        elif mark in seen:
            found[index] = "repeat"
        seen.add(mark)
    return found
