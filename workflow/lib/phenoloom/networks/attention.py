"""Attention maps of chosen images, per head, as arrays."""

import numpy as np
import torch


def attention_maps(backbone, images):
    """Attention (B, heads, h, w) float32 of the CLS token to each patch in the last layer; see Backbone.attention.

    images: float array or tensor (B, C, H, W), normalised as for embedding. h = ceil(H / patch): where a side is no
    multiple of the patch, the last row or column of patches reaches over the image's edge.
    """
    device = next(backbone.parameters()).device
    training = backbone.training
    backbone.eval()
    try:
        maps = backbone.attention(torch.as_tensor(images, dtype=torch.float32, device=device))
    finally:
        backbone.train(training)
    return maps.cpu().numpy()


def on_pixels(maps, patch, size):
    """Maps (..., h, w) repeated over the pixels of their patches and cropped to the image's `size` (H, W)."""
    height, width = size
    return np.repeat(np.repeat(maps, patch, axis=-2), patch, axis=-1)[..., :height, :width]
