"""Weights of a learned aggregation: one safetensors file that says what the network is like; imports no training."""

import json

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from phenoloom.cell_sets.network import DeepSets
from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic

#: Where the description of a network stands in the header of its weights.
HEADER = "phenoloom"


def save(network, path):
    """Write a DeepSets as safetensors, what it is like in the header."""
    told = {"features": network.n_features, "rho": list(network.options["rho"])}
    told |= {name: network.options[name] for name in ("phi", "precision")}
    tensors = {name: values.detach().contiguous() for name, values in network.state_dict().items()}
    with atomic(path) as partial:
        save_file(tensors, partial, metadata={HEADER: json.dumps(told, sort_keys=True)})


def load(path):
    """The DeepSets of a file that `save` wrote. Raises InputError where it is none."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            told = json.loads(file.metadata()[HEADER])
        network = DeepSets(told["features"], told)
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} holds no weights of a learned aggregation ({error}); train it again") from error
    return network.eval()
