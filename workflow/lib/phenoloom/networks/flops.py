"""Floating-point operations of a network."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops(backbone, shape):
    """Floating-point operations of the forward pass of one image of `shape` (C, H, W).

    Products of matrices and convolutions only, a multiplication and an addition counted as two, as usual.
    """
    given = next(backbone.parameters())
    images = torch.zeros((1, *shape), dtype=given.dtype, device=given.device)
    # The kernels of the CPU's attention are not counted; written out as products of matrices they are.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone(images)
    return counter.get_total_flops()
