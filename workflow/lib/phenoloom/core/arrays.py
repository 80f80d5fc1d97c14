"""Arrays in .npy files that are written and read in parts, so that no more than a part of them is in memory."""

import os

import numpy as np

from phenoloom.core.errors import InputError


class ArrayFile:
    """A .npy file that grows along its first axis, (n, *shape); the length is written at the end.

    As a context: `append` arrays; when the block ends without an error the file is complete.
    """

    def __init__(self, path, shape, dtype="float32"):
        self.shape = tuple(int(length) for length in shape)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.count = 0
        self.file = open(path, "wb")  # noqa: SIM115
        self._header()

    def _header(self):
        self.file.seek(0)
        description = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.count, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, description)  # leaves room for the length to grow

    def append(self, arrays):
        """Write arrays (n, *shape) behind those that are there."""
        arrays.astype(self.dtype, copy=False).tofile(self.file)
        self.count += len(arrays)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.file:
            self._header()


def array_header(path, mend):
    """(shape, fortran order, dtype, place of the first value) of a .npy file.

    mend: words for the error's end. Raises InputError where the file is no array.
    """
    try:
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            return shape, fortran, dtype, file.tell()
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array ({error}); {mend}") from error


def read_into(target, descriptor, begin, path, mend):
    """Fill `target`, a contiguous array, from a place in an open file; a mapping's pages would count as memory.

    Raises InputError where the file ends before.
    """
    waiting = memoryview(target).cast("B") if target.size else memoryview(b"")
    while len(waiting):
        got = os.preadv(descriptor, [waiting], begin)
        if not got:
            raise InputError(f"{path} was cut off while it was read; {mend}")
        waiting, begin = waiting[got:], begin + got
