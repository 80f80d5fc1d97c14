"""Weights of backbones: our files, Hugging Face folders and hub names, converted DINO checkpoints; no pickles."""

import json
import re
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.networks.backbone import ARCHITECTURES, Backbone
from phenoloom.networks.channels import adapt_filters, imagenet_statistics
from phenoloom.networks.dino_names import from_dino, is_dino

transformers_logging.disable_progress_bar()

KEY = "phenoloom"
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
#: What transformers and safetensors raise for a configuration or a file that they cannot use.
_REFUSALS = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, StrictDataclassError)
_REQUIRED = ("architecture", "config", "channels", "input", "normalize", "dim", "kind")
_FIRST = {
    "vit": "embeddings.patch_embeddings.projection.weight",
    "dinov2": "embeddings.patch_embeddings.projection.weight",
    "swin": "embeddings.patch_embeddings.projection.weight",
    "resnet": "embedder.embedder.convolution.weight",
}


def save(backbone, path, *, channels, normalize, kind, **more):
    """Write a backbone's weights atomically as safetensors; the header says all that embedding needs.

    channels: names of the channels that the backbone sees, in order. normalize: how images are normalised before it.
    kind: of the model. more: further entries of the header, JSON-serialisable. The same weights give the same bytes.
    """
    if len(channels) != backbone.n_channels:
        raise ValueError(f"the backbone sees {backbone.n_channels} channels, and {len(channels)} are named")
    header = {**more, **backbone.description(), "channels": list(channels), "normalize": normalize, "kind": kind}
    tensors = {name: values.detach().cpu().contiguous() for name, values in backbone.network.state_dict().items()}
    with atomic(path) as partial:
        save_file(tensors, partial, metadata={KEY: json.dumps(header, sort_keys=True)})


def read_header(path):
    """Header of one of our weights files as a dict, without reading its tensors; {} for a file of another origin."""
    with _opened(path) as file:
        text = (file.metadata() or {}).get(KEY)
    if text is None:
        return {}
    try:
        header = json.loads(text)
        lacking = [name for name in _REQUIRED if name not in header]
    except (ValueError, TypeError) as error:
        raise InputError(f"the header of {path} is no JSON; save the weights again") from error
    if lacking:
        raise InputError(f"the header of {path} lacks {', '.join(lacking)}; save the weights again")
    return header


def load(path):
    """(Backbone in evaluation mode, header) of one of our weights files.

    Raises InputError for a file that is none, is truncated, is of an architecture unknown here, lacks a tensor or has
    one of another shape, or holds NaN.
    """
    header = read_header(path)
    if not header:
        raise InputError(
            f"{path} has no header of phenoloom; give it as `weights` to a model of kind pretrained, which adopts it"
        )
    if header["architecture"] not in ARCHITECTURES:
        raise InputError(
            f"{path} holds a network {header['architecture']!r}, unknown here; known are {', '.join(ARCHITECTURES)}"
        )
    try:
        backbone = _new(
            _config(header["architecture"], header["config"]),
            header["input"],
            len(header["channels"]),
            header.get("mean"),
            header.get("std"),
        )
    except _REFUSALS as error:
        raise InputError(f"the header of {path} describes no network: {_first_line(error)}") from error
    if backbone.n_channels != len(header["channels"]):
        raise InputError(
            f"the network of {path} has {backbone.n_channels} channels and its header names {len(header['channels'])}; "
            "save the weights again"
        )
    _fill(backbone, _tensors(path), path)
    return backbone.eval(), header


def pretrained(source, n_channels, adapt="average", normalize=None, architecture=None, heads=None):
    """A Backbone in evaluation mode with weights from elsewhere, made for `n_channels` channels.

    source: a folder of Hugging Face (config.json and model.safetensors), a name on its hub, one of our .safetensors,
    or a .safetensors with the names of DINO's checkpoints (heads: its attention heads, dim / 64 unless given).
    adapt: what becomes of an RGB network: `average` or `sum` (channels.adapt_filters), `rgb` (each channel alone
    through the network, vectors side by side) or None (nothing: it takes three channels as they are). A network that
    has `n_channels` already, unless they are RGB, stays as it is, and so does every file of ours.
    normalize: how images are normalised: if to values from 0 to 1, an adapted RGB network gets ImageNet's statistics.
    architecture: the one that is expected, or None.
    Raises InputError, in one sentence, for what cannot be loaded, is another architecture or has other channels.
    """
    path, header = Path(source).expanduser(), {}
    if path.suffix in PICKLES:
        raise InputError(
            f"{source} is a pickle, which can run any code when it is loaded; convert it to .safetensors once, "
            "as docs/reference/weights.md says"
        )
    if path.suffix == ".safetensors":
        header = read_header(path)
        if header:
            return _ours(path, n_channels, architecture)
        config, tensors = _converted(path, heads)
    else:
        config, tensors = _hugging_face(str(source), path)
    _check_architecture(source, config.model_type, architecture)
    input = "rgb" if adapt == "rgb" else "multi"
    was_rgb = config.num_channels == 3
    if input == "rgb" or adapt is None or (config.num_channels == n_channels and not was_rgb):
        _check_channels(source, config.num_channels, 3 if input == "rgb" else n_channels)
    elif was_rgb:
        first = _FIRST[config.model_type]
        tensors[first] = adapt_filters(tensors[first], n_channels, adapt)
        config.num_channels = n_channels
    else:
        _check_channels(source, config.num_channels, n_channels)
    mean, std = imagenet_statistics(normalize, input, n_channels) if was_rgb and adapt is not None else (None, None)
    backbone = _new(config, input, n_channels, mean, std)
    _fill(backbone, tensors, source)
    return backbone.eval()


def _ours(path, n_channels, architecture):
    backbone, header = load(path)
    _check_architecture(path, header["architecture"], architecture)
    if backbone.input == "rgb":
        other = _new(backbone.config, "rgb", n_channels, header.get("mean"), header.get("std"))
        other.network = backbone.network
        return other.eval()
    _check_channels(path, backbone.n_channels, n_channels)
    return backbone


def _converted(path, heads):
    tensors = _tensors(path)
    if not is_dino(tensors):
        raise InputError(
            f"{path} has neither a header of phenoloom nor the tensor names of DINO; give the Hugging Face folder that "
            "it lies in, with its config.json"
        )
    try:
        return from_dino(tensors, heads)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _hugging_face(source, path):
    """(configuration, tensors) of a folder or a hub name, by transformers, from safetensors only."""
    local = path.is_dir()
    if not local and (path.exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source)):
        raise InputError(f"{source} is no folder, .safetensors file or name on the Hugging Face hub; correct `weights`")
    if local:
        for name in ("config.json", "model.safetensors"):
            if not (path / name).is_file() and not (path / f"{name}.index.json").is_file():
                pickled = " (pytorch_model.bin is a pickle; docs/reference/weights.md says how to convert it)"
                hint = pickled if (path / "pytorch_model.bin").is_file() and name != "config.json" else ""
                raise InputError(f"the folder {source} has no {name}{hint}; give a folder of Hugging Face with both")
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=local, trust_remote_code=False)
        if config.model_type not in ARCHITECTURES:
            raise InputError(
                f"{source} holds a network {config.model_type!r}, unknown here; known are {', '.join(ARCHITECTURES)}"
            )
        options = {"add_pooling_layer": False} if config.model_type == "vit" else {}
        with torch.random.fork_rng(devices=[]):
            model, loaded = ARCHITECTURES[config.model_type][1].from_pretrained(
                source,
                config=config,
                local_files_only=local,
                use_safetensors=True,
                attn_implementation="eager",  # which every architecture has; only the tensors are kept
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except InputError:
        raise
    except _REFUSALS as error:
        where = "" if local else ", neither as a folder here nor from the Hugging Face hub"
        mend = "save or copy it again" if local else "copy its folder to this machine and give its path"
        raise InputError(f"{source} cannot be loaded{where} ({_first_line(error)}); {mend}") from error
    if loaded["missing_keys"]:
        raise InputError(
            f"{source} lacks the tensor {min(loaded['missing_keys'])} of a {config.model_type}; save or copy it again"
        )
    config, tensors = _config(config.model_type, config.to_dict()), model.state_dict()
    if config.model_type == "dinov2":  # of masked pre-training, and never used here
        config.use_mask_token = False
        tensors.pop("embeddings.mask_token", None)
    return config, tensors


def _config(architecture, values):
    """Configuration from a header: what it would make transformers fetch or run is left out."""
    values = {name: value for name, value in values.items() if not name.startswith("_") and "attn_impl" not in name}
    return ARCHITECTURES[architecture][0].from_dict(values)


def _new(config, *given):
    """A Backbone whose initial weights, about to be replaced, draw nothing from the caller's generator."""
    with torch.random.fork_rng(devices=[]):
        return Backbone(config, *given)


def _fill(backbone, tensors, source):
    """Put tensors into a backbone. Raises InputError where one is missing, too many, of another shape or not finite."""
    wanted = backbone.network.state_dict()
    for name, values in wanted.items():
        if name not in tensors:
            raise InputError(f"{source} lacks the tensor {name} of a {backbone.architecture}; save the weights again")
        if tensors[name].shape != values.shape:
            raise InputError(
                f"the tensor {name} of {source} has the shape {tuple(tensors[name].shape)} and the network needs "
                f"{tuple(values.shape)}; its header or config.json belongs to other weights"
            )
        if tensors[name].is_floating_point() and not tensors[name].isfinite().all():
            raise InputError(f"the tensor {name} of {source} holds NaN or infinite values; train or fetch it again")
    more = sorted(set(tensors) - set(wanted))
    if more:
        raise InputError(f"{source} holds the tensor {more[0]}, which a {backbone.architecture} of its sizes has not")
    backbone.network.load_state_dict(tensors)


def _check_architecture(source, found, expected):
    expected = "resnet" if expected == "resnet50" else expected
    if expected is not None and found != expected:
        raise InputError(f"{source} holds a {found} and the model's network is a {expected}; change one of them")


def _check_channels(source, found, wanted):
    if found != wanted:
        raise InputError(
            f"the network of {source} sees {found} channels and is to see {wanted}; choose other weights, channels or "
            "way to adapt"
        )


def _tensors(path):
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no mapping)


def _opened(path):
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path of the weights")
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is no whole safetensors file ({_first_line(error)}); train, copy or convert it again"
        ) from error


def _first_line(error):
    return str(error).strip().split("\n", 1)[0].rstrip(".:") or type(error).__name__
