"""One canvas for images of different sizes: padding with zeros, or cropping around the object."""

import numpy as np

from phenoloom.core.errors import InputError

CENTRES = ("image", "centroid", "brightest")


def canvas_size(sizes, canvas="largest", percentile=99):
    """(height, width) of the common canvas for images of `sizes` (N, 2).

    canvas: [height, width]; largest, which cuts nothing off; or percentile, which is that percentile of the heights and
    of the widths, rounded up, so that one very long event does not set the memory of all. Raises InputError when it is
    none of these, or when it depends on sizes and there are none.
    """
    if not isinstance(canvas, str):
        height, width = (int(length) for length in canvas)
        if height < 1 or width < 1:
            raise InputError(f"the canvas is [height, width] in pixels of at least 1, not {list(canvas)}")
        return height, width
    if canvas not in ("largest", "percentile"):
        raise InputError(f"the canvas is largest, percentile or [height, width], not {canvas!r}")
    sizes = np.asarray(sizes)
    if not len(sizes):
        raise InputError("no image gives the canvas a size; check the sample's images or give canvas: [height, width]")
    rank = 100 if canvas == "largest" else percentile
    height, width = np.percentile(sizes, rank, axis=0, method="higher")
    return int(height), int(width)


def object_centres(images, centre="image", channel=None):
    """(n, 2) float row and column about which images (n, C, h, w) are placed; background is 0.

    centre: image, the middle; centroid of the signal above half its maximum; or brightest pixel. The signal is
    `channel` (an index), or the mean over channels of the absolute pixels, each as a share of its maximum. An image
    without signal has its middle.
    """
    height, width = images.shape[-2:]
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    if centre == "image":
        return np.tile(middle, (len(images), 1))
    if centre not in CENTRES:
        raise InputError(f"images are placed by one of {', '.join(CENTRES)}, not {centre!r}")
    signal = np.abs(np.nan_to_num(images if channel is None else images[:, [channel]]))
    peak = signal.max(axis=(2, 3), keepdims=True)
    signal = np.divide(signal, peak, out=np.zeros(signal.shape), where=peak > 0).mean(axis=1)
    flat = signal.reshape(len(signal), -1)
    if centre == "brightest":
        found = np.stack(np.unravel_index(flat.argmax(axis=1), (height, width)), axis=1)
    else:
        weights = np.where(flat > flat.max(axis=1, keepdims=True) / 2, flat, 0)
        positions = np.indices((height, width)).reshape(2, -1).T
        found = weights @ positions / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return np.where(flat.any(axis=1)[:, None], found, middle)


def place(images, shape, centres):
    """(canvas (n, C, H, W) float32, offsets (n, 2) int) of images (n, C, h, w) with their `centres` in its middle.

    Pixel (r, c) of an image lies at (r, c) + offset; what falls outside is cut off, what is not covered is 0. An image
    that fits is never cut: its offset is moved just as far as needed. The window of one that does not stays inside it.
    """
    events, _, height, width = images.shape
    free = np.array(shape) - (height, width)
    offsets = np.floor((np.array(shape) - 1) / 2 - centres + 0.5).astype(int)
    offsets = np.clip(offsets, np.minimum(free, 0), np.maximum(free, 0))
    canvas = np.zeros((events, images.shape[1], *shape), np.float32)
    for offset in np.unique(offsets, axis=0):
        here = np.flatnonzero((offsets == offset).all(axis=1))
        low, high = np.maximum(offset, 0), np.minimum(offset + (height, width), shape)
        source = images[here, :, low[0] - offset[0] : high[0] - offset[0], low[1] - offset[1] : high[1] - offset[1]]
        canvas[here, :, low[0] : high[0], low[1] : high[1]] = source
    return canvas, offsets
