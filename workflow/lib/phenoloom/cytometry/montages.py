"""Montages of single cells: cut into tiles, and the filler tiles that pad them found."""

import hashlib

import numpy as np

from phenoloom.core.images import ImageError, read_plane

#: A tile that occurs this often is a filler; of two equal ones the first is kept.
FILLER_COPIES = 3

#: What a tile is: a cell of its own, or why not.
REAL, FILLER, REPEAT = 0, 1, 2
REASONS = {FILLER: "filler tiles of a montage (one tile, repeated)", REPEAT: "repeats of another cell"}
#: What a ledger counts them as. A filler pads a montage and never was a cell, so that none is lost with it.
UNITS = {FILLER: "tile", REPEAT: "event"}


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
    for path, plane in zip(paths, planes, strict=True):
        if plane.shape != planes[0].shape:
            raise ImageError(f"{path} and {paths[0]} differ in size; export the montages of all channels again")
    return np.stack([cut(plane, grid, path) for plane, path in zip(planes, paths, strict=True)], axis=1)


def digests(tiles):
    """Digests (n,) uint64 of the pixels of every tile in (n, C, h, w); two of a million collide once in 40 million."""
    words = (hashlib.blake2b(np.ascontiguousarray(tile), digest_size=8).digest() for tile in tiles)
    return np.frombuffer(b"".join(words), np.uint64)


def unreal(marks):
    """What each tile is (n,): REAL, FILLER, or REPEAT of an earlier one. marks: digests of all tiles of a sample.

    A tile with one value only is no cell either, but this is for the pixels to say.

    >>> unreal(np.array([1, 9, 9, 2, 9, 1])).tolist()
    [0, 1, 1, 0, 1, 2]
    """
    _, first, which, copies = np.unique(marks, return_index=True, return_inverse=True, return_counts=True)
    kinds = np.full(len(marks), REPEAT)
    kinds[first] = REAL
    kinds[copies[which] >= FILLER_COPIES] = FILLER
    return kinds
