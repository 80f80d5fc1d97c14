"""The pixels themselves as a vector: the network that does nothing, which every other must beat."""

from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndNoAttention


class PixelsConfig(PretrainedConfig):
    """num_channels of the images; side: to how many pixels in each direction they are averaged."""

    model_type = "pixels"

    def __init__(self, num_channels=3, side=16, **more):
        super().__init__(**more)
        self.num_channels, self.side = num_channels, side

    @property
    def hidden_size(self):
        """Length of the vector."""
        return self.num_channels * self.side**2


class PixelsModel(nn.Module):
    """Images (B, C, H, W) averaged to side x side pixels, channel after channel."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def forward(self, images):
        pooled = functional.adaptive_avg_pool2d(images, self.config.side)
        return BaseModelOutputWithPoolingAndNoAttention(pooler_output=pooled.flatten(1))
