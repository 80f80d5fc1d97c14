"""Events in chunks: how many at a time, and which pixels of a canvas are image and not padding."""

import numpy as np

#: Pixels of one channel in a chunk: few enough to stay in a processor's cache, enough to hide Python's cost.
PIXELS = 1 << 18


def chunks(stack, size=None):
    """Slices over the events of a stack (N, C, H, W), in order."""
    size = size or max(1, PIXELS // max(1, stack.shape[-2] * stack.shape[-1]))
    for start in range(0, len(stack), size):
        yield slice(start, min(start + size, len(stack)))


def inside_frames(frames, shape):
    """(n, H, W) bool: the pixels of a canvas of `shape` that belong to the image of each event.

    frames: (n, 4) int, top, left, height and width of the image on the canvas.
    """
    top, left, height, width = np.asarray(frames, int).T[:, :, None]
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    return ((rows >= top) & (rows < top + height))[:, :, None] & ((columns >= left) & (columns < left + width))[
        :, None, :
    ]
