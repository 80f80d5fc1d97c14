"""Tensors of the original DINO checkpoints, and of those that keep their names, as those of transformers' ViT."""

import math
import re

from transformers import ViTConfig

from phenoloom.core.errors import InputError

_OUTSIDE = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_INSIDE = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")


def is_dino(names):
    """Whether tensors have the names of the original checkpoints, perhaps behind `teacher.`, `module.`, `backbone.`."""
    return any(name.endswith("patch_embed.proj.weight") for name in names)


def from_dino(tensors, heads=None):
    """(ViTConfig, tensors by transformers' names) of tensors by DINO's names; heads of a projection are left out.

    A checkpoint with student and teacher gives the teacher. Sizes are read off the tensors; the number of attention
    heads is not in them and is dim / 64, as in all of DINO's networks, unless given. Raises InputError for a block
    that a plain ViT does not have.
    """
    tensors = _plain_names(tensors)
    found = {new: tensors[old] for old, new in _OUTSIDE.items() if old in tensors}
    depth, bias = 0, False
    for name, values in tensors.items():
        match = _BLOCK.fullmatch(name)
        if not match:
            continue
        number, inner, kind = match.groups()
        depth = max(depth, int(number) + 1)
        if inner == "attn.qkv":
            bias |= kind == "bias"
            for letter, part in zip("qkv", values.chunk(3), strict=True):
                found[f"layers.{number}.attention.{letter}_proj.{kind}"] = part
        elif inner in _INSIDE:
            found[f"layers.{number}.{_INSIDE[inner]}.{kind}"] = values
        else:
            raise InputError(
                f"the tensor {name} belongs to no plain ViT; give its network as a Hugging Face folder with config.json"
            )
    lacking = [name for name in ("cls_token", "pos_embed", "blocks.0.mlp.fc1.weight") if name not in tensors]
    if lacking:
        raise InputError(f"the tensor {lacking[0]} of a ViT is missing; convert the checkpoint again")
    dim, channels, patch = tensors["patch_embed.proj.weight"].shape[:3]
    side = math.isqrt(tensors["pos_embed"].shape[1] - 1)
    return (
        ViTConfig(
            hidden_size=dim,
            num_hidden_layers=depth,
            num_attention_heads=heads or max(1, dim // 64),
            intermediate_size=tensors["blocks.0.mlp.fc1.weight"].shape[0],
            patch_size=patch,
            image_size=side * patch,
            num_channels=channels,
            qkv_bias=bias,
            layer_norm_eps=1e-6,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        found,
    )


def _plain_names(tensors):
    """Tensors without the prefixes of training; the teacher's where there are a student's too."""
    if any(name.startswith("teacher.") for name in tensors):
        tensors = {name: values for name, values in tensors.items() if name.startswith("teacher.")}
    return {re.sub(r"^((teacher|student|module|backbone)\.)+", "", name): values for name, values in tensors.items()}
