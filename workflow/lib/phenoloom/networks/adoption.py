"""A pre-trained network becomes a model of a study: weights with our header, and a card."""

from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.files import digest_file
from phenoloom.core.provenance import versions
from phenoloom.networks import weights
from phenoloom.networks.flops import flops


def adopt(block, channels, path):
    """Write the weights that a model's config names to `path` with our header; returns the model's card (a dict).

    block: a model's config (`weights`, `adapt`, `normalize`). channels: names of those that the network is to see.
    Raises InputError for what weights.pretrained refuses, and for a file of ours made for another normalisation.
    """
    source, normalize = block["weights"], block["normalize"]
    backbone = weights.pretrained(source, len(channels), block["adapt"], normalize)
    if Path(source).suffix == ".safetensors":
        made_for = weights.read_header(source).get("normalize", normalize)
        if made_for != normalize:
            raise InputError(f"{source} is for images with normalize: {made_for}; set that instead of {normalize}")
    weights.save(backbone, path, channels=channels, normalize=normalize, kind=block["kind"])
    side = getattr(backbone.config, "image_size", 224)
    return {
        "kind": block["kind"],
        "source": Path(source).name if Path(source).exists() else source,
        "adapt": block["adapt"],
        "normalize": normalize,
        "channels": list(channels),
        **{name: value for name, value in backbone.description().items() if name != "config"},
        "parameters": sum(values.numel() for values in backbone.parameters()),
        "image_size": side,
        "flops_per_image": flops(backbone, (len(channels), side, side)),
        "weights_digest": digest_file(path),
        "versions": versions(("torch", "transformers", "safetensors")),
    }
