"""A pre-trained network becomes a model of a study: weights with our header, and a card."""

from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.files import digest_file
from phenoloom.core.provenance import versions
from phenoloom.networks import weights
from phenoloom.networks.flops import flops


def adopt(block, channels, path, size=None):
    """Write the weights that a model's config names to `path` with our header; returns the model's card (a dict).

    block: a model's config (`weights`, `adapt`, `normalize`, `network.heads`). channels: names of those that the
    network is to see. size: (height, width) of the images whose cost in FLOPs the card tells, or None.
    Raises InputError for what weights.pretrained refuses, and for a file of ours made for another normalisation.
    """
    source, normalize = block["weights"], block["normalize"]
    if not source:
        raise InputError("a model of kind pretrained needs `weights`: a folder, a .safetensors file or a hub name")
    backbone = weights.pretrained(
        source,
        len(channels),
        block.get("adapt", "average"),
        normalize,
        heads=(block.get("network") or {}).get("heads"),
    )
    if Path(source).suffix == ".safetensors":
        made_for = weights.read_header(source).get("normalize", normalize)
        if made_for != normalize:
            raise InputError(
                f"{source} was made for images with normalize: {made_for}; set that instead of {normalize}"
            )
    weights.save(backbone, path, channels=channels, normalize=normalize, kind=block["kind"])
    card = {
        "kind": block["kind"],
        "source": Path(source).name if Path(source).exists() else source,
        "adapt": block.get("adapt", "average"),
        "normalize": normalize,
        "channels": list(channels),
        **{name: value for name, value in backbone.description().items() if name != "config"},
        "parameters": sum(values.numel() for values in backbone.parameters()),
        "weights_digest": digest_file(path),
        "versions": versions(("torch", "transformers", "safetensors")),
    }
    if size is not None:
        card["image_size"] = list(size)
        card["flops_per_image"] = flops(backbone, (len(channels), *size))
    return card
