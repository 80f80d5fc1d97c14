"""What a network sees of an item, and how the vectors of several views become the item's one."""

import torch
from torch.nn import functional

from phenoloom.core.errors import InputError


def embed_views(backbone, images, options):
    """Vectors (B, dim) float32 of images (B, C, H, W) by the options `views`, `size`, `crop`, `grid`, `statistic`.

    `whole`: the image as it is, or resized to a side of `size` pixels where that is given. `centre_crops`: grid x grid
    crops about the centre, each embedded alone, then their `statistic` (median or mean) per dimension.
    """
    if options["views"] == "whole":
        return backbone(resized(images, options.get("size"))).float()
    if options["views"] != "centre_crops":
        raise InputError(f"there are no views {options['views']!r}; choose whole or centre_crops")
    crops = centre_crops(images, options["crop"], options["grid"])
    vectors = backbone(crops.flatten(0, 1)).float()
    return summarise(vectors.unflatten(0, crops.shape[:2]), options["statistic"])


def resized(images, size):
    """Images (B, C, H, W) resized to size x size pixels (bilinear, smoothed where they shrink); None: as they are."""
    if size is None or tuple(images.shape[2:]) == (size, size):
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def centre_crops(images, crop, grid):
    """Crops (B, grid * grid, C, crop, crop), row by row, side by side about the centre of images (B, C, H, W).

    Raises InputError where the images are smaller than the grid.
    """
    height, width = images.shape[2:]
    side = crop * grid
    if min(height, width) < side:
        raise InputError(
            f"{grid} x {grid} crops of {crop} pixels do not fit into images of {height} x {width}; "
            "lower embed.crop or embed.grid, or store the tensor larger"
        )
    top, left = (height - side) // 2, (width - side) // 2
    middle = images[:, :, top : top + side, left : left + side]
    crops = middle.unflatten(3, (grid, crop)).unflatten(2, (grid, crop))
    return crops.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def summarise(vectors, statistic):
    """Median (of an even number the mean of the middle two) or mean of vectors (B, views, dim) over the views."""
    if statistic == "median":
        return torch.quantile(vectors, 0.5, dim=1)
    if statistic == "mean":
        return vectors.mean(dim=1)
    raise InputError(f"there is no statistic {statistic!r} of views; choose median or mean")
