"""Where the heads of a network look, for a few items of a tensor."""

import numpy as np
import torch

from phenoloom.embedding.parts import load_parts
from phenoloom.embedding.views import centre_crops, resized
from phenoloom.metric_learning.splits import stream
from phenoloom.networks.attention import attention_maps, on_pixels

#: Architectures with a class token, whose attention can be shown.
WITH_TOKEN = ("vit", "dinov2")

_PLACE = ("Plate", "Well", "Site", "ObjectNumber", "Sample", "Event")


def draw(metadata, number, seed):
    """(positions of `number` items, drawn by the seed; their names), of different labels or wells as far as there are.

    metadata: DataFrame of all items.
    """
    rng = stream(seed, "attention")
    order = rng.permutation(len(metadata))
    key = "Metadata_Label" if "Metadata_Label" in metadata else "Metadata_Well"
    if key in metadata:
        groups = metadata[key].astype(str).to_numpy()[order]
        repeats = np.zeros(len(order), dtype=int)
        for group in np.unique(groups):
            repeats[groups == group] = np.arange((groups == group).sum())
        order = order[np.argsort(repeats, kind="stable")]
    chosen = order[:number]
    return chosen, [_name(row) for _, row in metadata.iloc[chosen].iterrows()]


def _name(row):
    places = [str(row[f"Metadata_{name}"]) for name in _PLACE if f"Metadata_{name}" in row]
    label = str(row.get("Metadata_Label") or "")
    return " ".join([*([f"{label}:"] if label else []), *places])


def look(weights, items, chosen, options):
    """(images (n, C, H, W), attention (n, heads, H, W)) float32 of items; None for a network without a class token.

    weights: path of our weights file. items: tensors.store.Items with its channels. options: the block `embed`: of
    `centre_crops` the first crop is shown. Attention is the class token's in the last layer, on each pixel's patch.
    """
    (part,) = load_parts([weights])
    if part.backbone.architecture not in WITH_TOKEN:
        return None
    images = torch.from_numpy(items.read(chosen))
    if options["views"] == "centre_crops":
        images = centre_crops(images, options["crop"], options["grid"])[:, 0]
    images = resized(images, options["size"] if options["views"] == "whole" else None).numpy()
    maps = np.concatenate([attention_maps(part.backbone, image[None]) for image in images])
    return images, on_pixels(maps, part.backbone.patch, images.shape[2:])
