"""Arrays in .npy files that grow while they are written, so that no more than a part of them is in memory."""

import numpy as np


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
