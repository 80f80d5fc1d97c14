"""Sites of a plate, one after the other: their channels divided by the plate's illumination functions."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from phenoloom.core.errors import InputError
from phenoloom.core.images import ImageError, read_image

PLACE = ["Metadata_Dataset", "Metadata_Batch", "Metadata_Plate", "Metadata_Well", "Metadata_Site"]

#: Pillow's filters, which widen where they shrink an image, so that nothing is aliased.
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

INTERPOLATIONS = (*FILTERS, "area")


def read_sites(index, channels, ledger, illumination=(), cut_off=None, size=None, interpolation="bicubic", threads=1):
    """Yield ({each name of PLACE: value}, float32 (C, H, W)) of the sites of an index.

    index: DataFrame of the image index of one plate. illumination: paths of functions `{channel}.npy`; a channel
    without one stays as it is. size: (H, W) to resize to (after the division), None to leave the images as they are.
    cut_off: brighter pixels are set to it, at last. One site is in memory, its channels are read in `threads`.
    A site of which a channel is missing, cannot be read, holds NaN, is of one value or of another size than its
    function goes to the ledger with the reason.
    """
    functions = {Path(path).stem: read_function(path) for path in illumination}
    if interpolation not in INTERPOLATIONS:
        raise InputError(f"fields are resized by {', '.join(INTERPOLATIONS)}, not {interpolation!r}")

    def channel_of(row):
        image = corrected(row, functions.get(row.channel))
        if size is not None:
            image = resize(image, size, interpolation)
        return image if cut_off is None else np.minimum(image, np.float32(cut_off))

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for (_, site), rows in index.groupby(["well", "site"], sort=True):
            planes = {row.channel: row for row in rows.itertuples(index=False)}
            first = rows.iloc[0]
            place = {name: first[name.removeprefix("Metadata_").lower()] for name in PLACE} | {
                "Metadata_Site": int(site)
            }
            try:
                lacking = [name for name in channels if name not in planes]
                if lacking:
                    raise ImageError(f"the site has no image of {', '.join(lacking)}")
                images = list(pool.map(channel_of, [planes[name] for name in channels]))
                shapes = {image.shape for image in images}
                if len(shapes) > 1:
                    raise ImageError("the site's channels have different sizes; export it again")
            except ImageError as error:
                ledger.add(str(error), unit="site", **whereabouts(place))
                continue
            yield place, np.stack(images)


def corrected(row, function=None):
    """One image (H, W) float32 of an index row, divided by its illumination function.

    Raises ImageError for an image that cannot be read, is not finite, of one value, or of another size.
    """
    image = read_image(row)
    if not np.isfinite(image).all():
        raise ImageError(f"{row.path} holds NaN or infinite pixels; export it again")
    if image.min() == image.max():
        raise ImageError(f"{row.path} is constant: all its pixels are {image.flat[0]:g}")
    if function is None:
        return image.astype(np.float32)
    if function.shape != image.shape:
        sizes = [f"{shape[1]}x{shape[0]}" for shape in (image.shape, function.shape)]
        raise ImageError(f"{row.path} has {sizes[0]} pixels, its illumination function {sizes[1]}")
    return np.divide(image, function, dtype=np.float32)


def read_function(path):
    """Illumination function (H, W) float32. Raises InputError where the file is none."""
    try:
        function = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an illumination function ({error}); make it again") from error
    if function.ndim != 2 or not (np.isfinite(function) & (function > 0)).all():
        raise InputError(f"{path} is no illumination function: positive numbers (height, width) are due")
    return function.astype(np.float32)


def resize(image, size, interpolation):
    """Image (h, w) float32 resized to `size` (H, W).

    bicubic (Keys' a is -0.5) and bilinear as PyTorch's `interpolate` with antialiasing; area, the mean over what each
    pixel covers, parts of pixels as parts.
    """
    if image.shape == tuple(size):
        return image
    if interpolation == "area":
        return _means(_means(image, size[0]).T, size[1]).T.astype(np.float32)
    return np.array(Image.fromarray(image).resize((size[1], size[0]), FILTERS[interpolation]))


def _means(image, length):
    """Image (h, w) to (length, w): means between edges that lie evenly along the rows."""
    sums = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0, dtype=np.float64)])
    edges = np.linspace(0, len(image), length + 1)
    whole = np.minimum(edges.astype(int), len(image) - 1)
    return np.diff(sums[whole] + (edges - whole)[:, None] * image[whole], axis=0) * (length / len(image))


def whereabouts(place):
    """Columns of the ledger that say where a site is, from {name of PLACE: value}."""
    return {name: place[f"Metadata_{name.capitalize()}"] for name in ("dataset", "plate", "well", "site")}
