"""Events in chunks: how many at a time, and which pixels of a canvas are image and not padding."""

import mmap

import numpy as np

#: Pixels of one channel in a chunk: few enough to stay in a processor's cache, enough to hide Python's cost.
PIXELS = 1 << 18


def chunks(stack, size=None):
    """Slices over the events of a stack (N, C, H, W), in order.

    Pages of a memory-mapped stack are given back after each chunk: those that were read would count as memory of this
    process, and a scheduler would stop it for the size of its file.
    """
    size = size or max(1, PIXELS // max(1, stack.shape[-2] * stack.shape[-1]))
    for start in range(0, len(stack), size):
        yield slice(start, min(start + size, len(stack)))
        if isinstance(stack, np.memmap) and isinstance(stack.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            stack.base.madvise(mmap.MADV_DONTNEED)


def inside_frames(frames, shape):
    """(n, H, W) bool: the pixels of a canvas of `shape` that belong to the image of each event.

    frames: (n, 4) int, top, left, height and width of the image on the canvas.
    """
    top, left, height, width = np.asarray(frames, int).T[:, :, None]
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    return ((rows >= top) & (rows < top + height))[:, :, None] & ((columns >= left) & (columns < left + width))[
        :, None, :
    ]
