"""The networks of a model: one of all channels, or one per channel."""

from dataclasses import dataclass

from phenoloom.core.errors import InputError
from phenoloom.networks import weights
from phenoloom.networks.backbone import Backbone


@dataclass(frozen=True)
class Part:
    """One network: its backbone in evaluation mode, the channels it sees, and how images are normalised for it."""

    backbone: Backbone
    channels: tuple
    normalize: str


def load_parts(paths):
    """The parts of a model from their weights files, in order. Raises InputError where they are normalised unlike."""
    parts = []
    for path in paths:
        backbone, header = weights.load(path)
        parts.append(Part(backbone, tuple(header["channels"]), header["normalize"]))
        if parts[-1].normalize != parts[0].normalize:
            raise InputError(
                f"{path} is for images with normalize: {parts[-1].normalize} and {paths[0]} for {parts[0].normalize}; "
                "train all channels of a model alike"
            )
    return parts
