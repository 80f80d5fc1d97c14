"""The backbone: a network that turns images of any number of channels into one vector each."""

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
)

from phenoloom.core.errors import InputError
from phenoloom.networks.pixels import PixelsConfig, PixelsModel

#: Configuration and model of each architecture, by the `model_type` that Hugging Face folders name.
ARCHITECTURES = {
    "vit": (ViTConfig, ViTModel),
    "dinov2": (Dinov2Config, Dinov2Model),
    "resnet": (ResNetConfig, ResNetModel),
    "swin": (SwinConfig, SwinModel),
    "pixels": (PixelsConfig, PixelsModel),
}

#: Width, depth and heads of the named sizes of transformers.
SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


class Backbone(nn.Module):
    """A network from images to vectors, with what it needs to know about its input.

    config: transformers configuration of one of ARCHITECTURES. input: `multi`, all channels enter together; or `rgb`,
    each of `n_channels` channels passes alone, repeated to the three of an RGB network, and the vectors are put side by
    side. mean, std: subtracted from and divided into the values of the network's own inputs (3 for `rgb`), or None.
    """

    def __init__(self, config, input="multi", n_channels=None, mean=None, std=None):
        super().__init__()
        if input not in ("multi", "rgb"):
            raise ValueError(f"input is multi or rgb, not {input!r}")
        if input == "rgb" and (config.num_channels != 3 or not n_channels):
            raise ValueError("an rgb input needs a network of 3 channels, and the number of channels that it will see")
        self.network = new_network(config)
        self.input = input
        self.n_channels = n_channels if input == "rgb" else config.num_channels
        self.vector = _length(config)
        self.dim = self.vector * (self.n_channels if input == "rgb" else 1)
        self.normalize_inputs(mean, std)

    @property
    def config(self):
        """The transformers configuration of the network."""
        return self.network.config

    @property
    def architecture(self):
        """One of ARCHITECTURES."""
        return self.config.model_type

    @property
    def patch(self):
        """Side of a patch in pixels; 1 where the architecture has none."""
        return int(getattr(self.config, "patch_size", 1))

    def normalize_inputs(self, mean, std):
        """Set mean and standard deviation of the network's inputs, one each per input channel, or None for neither."""
        for name, values in (("mean", mean), ("std", std)):
            values = None if values is None else torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, images):
        """Vectors (B, dim) of images (B, C, H, W); gradients flow.

        Position embeddings are interpolated to the image's size; sides that are no multiple of the patch are padded by
        reflection at the right and the bottom. Raises InputError for another number of channels or an image smaller
        than a patch.
        """
        return self._vectors(self._inputs(images)).reshape(len(images), self.dim)

    def attention(self, images):
        """Attention (B, heads, h, w) of the last layer from the CLS token to each patch, h = ceil(H / patch).

        It sums to at most 1 over the patches, the rest is the CLS token's own. With an `rgb` input the heads of the
        first channel come first, then those of the second. Raises InputError for an architecture without a CLS token.
        """
        if self.architecture not in ("vit", "dinov2"):
            raise InputError(
                f"attention maps need a vision transformer (vit or dinov2), which {self.architecture} is not"
            )
        layers = self.network.layers if self.architecture == "vit" else self.network.encoder.layer
        last, projected = layers[-1].attention, {}
        hooks = [
            getattr(last, f"{name}_proj").register_forward_hook(
                lambda module, given, result, name=name: projected.update({name: result.float()})
            )
            for name in "qk"
        ]
        inputs = self._inputs(images)
        try:
            with torch.no_grad():
                self._vectors(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        query, key = (split_heads(projected[name], last.num_attention_heads) for name in "qk")
        shares = (query[:, :, :1] @ key.transpose(2, 3) * last.scaling).softmax(dim=-1)[:, :, 0, 1:]
        height, width = (side // self.patch for side in inputs.shape[2:])
        return shares.reshape(len(images), -1, height, width)

    def description(self):
        """What the header of a weights file says about the network itself."""
        return {
            "architecture": self.architecture,
            "config": self.config.to_diff_dict() | {"num_channels": self.config.num_channels},
            "input": self.input,
            "n_channels": self.n_channels,
            "mean": None if self.mean is None else self.mean.flatten().tolist(),
            "std": None if self.std is None else self.std.flatten().tolist(),
            "dim": self.dim,
        }

    def _inputs(self, images):
        """What enters the network: channels apart for `rgb`, normalised, padded to whole patches."""
        if images.ndim != 4 or images.shape[1] != self.n_channels:
            raise InputError(
                f"the network sees {self.n_channels} channels and was given images of shape {tuple(images.shape)}; "
                "give it (images, channels, height, width) with the channels it was made for"
            )
        if self.input == "rgb":
            images = images.reshape(-1, 1, *images.shape[2:]).expand(-1, 3, -1, -1)
        if self.mean is not None:
            images = (images - self.mean) / self.std
        return pad_to_multiple(images, self.patch)

    def _vectors(self, inputs):
        if self.architecture == "vit":
            return self.network(inputs, interpolate_pos_encoding=True).last_hidden_state[:, 0]
        if self.architecture == "swin":
            set_windows(self.network, inputs.shape[2:])
            return self.network(inputs, always_partition=True, interpolate_pos_encoding=True).pooler_output
        return self.network(inputs).pooler_output.flatten(1)


def build(architecture, n_channels, image_size, options=None):
    """A Backbone with new weights, drawn from PyTorch's global generator.

    architecture: vit, dinov2, swin, resnet50, or pixels, which learns nothing. image_size: side in pixels (or height
    and width, of which the longer counts) at which position embeddings are not interpolated. options: `size` (tiny,
    small, base, large), `patch`, and `dim`, `depth`, `heads`, which replace those of the size where they are not
    None. For swin and resnet50, which have four stages, `dim` is that of the last one, `depth` that of the third and
    `heads` those of the first.
    Raises InputError for options that give no network.
    """
    options = {name: value for name, value in (options or {}).items() if value is not None}
    side = image_size if isinstance(image_size, int) else max(image_size)
    if architecture in ("vit", "dinov2"):
        config = _transformer(architecture, side, options)
    elif architecture == "swin":
        config = _swin(side, options)
    elif architecture in ("resnet", "resnet50"):
        config = _resnet(options)
    elif architecture == "pixels":
        config = PixelsConfig()
    else:
        raise InputError(f"there is no network {architecture!r}; choose one of vit, dinov2, swin, resnet50, pixels")
    config.num_channels = int(n_channels)
    return Backbone(config)


def new_network(config):
    """The transformers model of a configuration, without a head, with new weights."""
    model = ARCHITECTURES[config.model_type][1]
    return model(config, add_pooling_layer=False) if config.model_type == "vit" else model(config)


def pad_to_multiple(images, patch):
    """Images (B, C, H, W) whose sides are multiples of `patch`, reflected at the right and the bottom.

    Raises InputError where a side is shorter than a patch.
    """
    height, width = images.shape[2:]
    if min(height, width) < patch:
        raise InputError(f"images of {height} x {width} pixels are smaller than a patch of {patch}; take larger images")
    right, bottom = -width % patch, -height % patch
    return functional.pad(images, (0, right, 0, bottom), mode="reflect") if right or bottom else images


def split_heads(values, heads):
    """(B, tokens, heads * d) as (B, heads, tokens, d)."""
    return values.reshape(*values.shape[:2], heads, -1).transpose(1, 2)


def set_windows(network, size):
    """Windows and shifts of a Swin network for images of `size` (H, W) in pixels.

    transformers narrows a layer's window to the first small image for good, after which its position biases no longer
    fit. Here each layer keeps its window, on padded maps, and shifts it where the map is larger, as in the original.
    """
    window = network.config.window_size
    height, width = (-(-side // network.config.patch_size) for side in size)
    for stage in network.encoder.layers:
        for number, layer in enumerate(stage.blocks):
            layer.window_size = window
            layer.shift_size = window // 2 if number % 2 and min(height, width) > window else 0
        height, width = (height + 1) // 2, (width + 1) // 2


def _transformer(architecture, side, options):
    size = options.get("size", "small")
    if size not in SIZES:
        raise InputError(f"there is no size {size!r} of {architecture}; choose one of {', '.join(SIZES)}")
    dim, depth, heads = SIZES[size]
    if "dim" in options:
        dim, heads = options["dim"], max(1, options["dim"] // 64)
    depth, heads = options.get("depth", depth), options.get("heads", heads)
    if dim % heads:
        raise InputError(f"a network's dim is divided among its heads: {dim} is no multiple of {heads}")
    patch = options.get("patch", 16 if architecture == "vit" else 14)
    common = {
        "hidden_size": dim,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "patch_size": patch,
        "image_size": -(-side // patch) * patch,
        "layer_norm_eps": 1e-6,
    }
    if architecture == "vit":
        return ViTConfig(**common, intermediate_size=4 * dim, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return Dinov2Config(**common, mlp_ratio=4, use_mask_token=False)


def _swin(side, options):
    dim, heads = options.get("dim", 768), options.get("heads", 3)
    patch = options.get("patch", 4)
    if dim % 8 or (dim // 8) % heads:
        raise InputError(
            f"a Swin network needs a dim that 8 times its heads divides, which {dim} is not with {heads} heads"
        )
    return SwinConfig(
        embed_dim=dim // 8,
        depths=[2, 2, options.get("depth", 6), 2],
        num_heads=[heads, 2 * heads, 4 * heads, 8 * heads],
        patch_size=patch,
        image_size=-(-side // patch) * patch,
        drop_path_rate=0.0,
    )


def _resnet(options):
    dim = options.get("dim", 2048)
    if dim % 32:
        raise InputError(f"a ResNet's dim is a multiple of 32, which {dim} is not")
    return ResNetConfig(
        embedding_size=dim // 32,
        hidden_sizes=[dim // 8, dim // 4, dim // 2, dim],
        depths=[3, 4, options.get("depth", 6), 3],
    )


def _length(config):
    """Length of the vector that a network of this configuration gives."""
    return config.hidden_sizes[-1] if config.model_type == "resnet" else config.hidden_size
