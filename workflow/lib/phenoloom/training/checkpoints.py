"""Checkpoints of training in safetensors: the last and the one before it, whole files or none, no pickles."""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from phenoloom.core.files import atomic

KEY = "phenoloom"
LAST, PREVIOUS = "last.safetensors", "previous.safetensors"
_LEARNER, _OPTIMIZER = "learner.", "optimizer."

log = logging.getLogger("phenoloom")


def fingerprint(origin):
    """Name of a training by its params, code and inputs: with others a checkpoint is of no use."""
    told = json.dumps([origin[name] for name in ("params", "code", "inputs")], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def prepare(checkpoints, fingerprint):
    """Folder of the checkpoints of this run, made if need be; those of runs with another fingerprint are removed."""
    folder = Path(checkpoints) / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other)
    return folder


def save(folder, learner, optimizer, state):
    """Write the last checkpoint; what was the last becomes the one before it.

    state: JSON-serialisable dict, with `step`, the number of steps that are done.
    """
    tensors = {_LEARNER + name: values for name, values in learner.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{number}.{name}": value for name, value in values.items()}
    tensors = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
    last = Path(folder) / LAST
    if last.exists():
        os.replace(last, last.with_name(PREVIOUS))
    with atomic(last) as partial:
        save_file(tensors, partial, metadata={KEY: json.dumps(state, sort_keys=True)})


def find(folder):
    """(path, state) of the newest whole checkpoint, or (None, None). A damaged one is passed over with a warning."""
    for name in (LAST, PREVIOUS):
        path = Path(folder) / name
        if not path.exists():
            continue
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                state = json.loads(file.metadata()[KEY])
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            log.warning("the checkpoint %s is damaged (%s); training goes on from the one before it", name, error)
        else:
            return path, state
    return None, None


def restore(path, learner, optimizer=None):
    """Give a learner, and its optimizer if there is one, the tensors of a checkpoint."""
    tensors = load_file(path)
    learner.load_state_dict(
        {name.removeprefix(_LEARNER): values for name, values in tensors.items() if name.startswith(_LEARNER)}
    )
    if optimizer is None:
        return
    state = {}
    for name, values in tensors.items():
        if name.startswith(_OPTIMIZER):
            number, what = name.removeprefix(_OPTIMIZER).split(".", 1)
            state.setdefault(int(number), {})[what] = values
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def remove(folder):
    """Remove the checkpoints; logs and snapshots beside them stay."""
    for name in (LAST, PREVIOUS):
        (Path(folder) / name).unlink(missing_ok=True)
