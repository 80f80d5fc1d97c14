"""What cannot work in the blocks `tensors` and `models` of a config, and the presets of models."""

import copy
import difflib


def with_presets(config, presets):
    """The config with each model's preset beneath what the study gives itself.

    presets: {name: block of a model}. Names that are unknown are left to the schema.
    """
    config = copy.deepcopy(config)
    models = config.get("models")
    if isinstance(models, dict):
        for name, block in models.items():
            if isinstance(block, dict) and block.get("preset") in presets:
                models[name] = _beneath(presets[block["preset"]], block)
    return config


def _beneath(default, given):
    merged = dict(copy.deepcopy(default))
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _beneath(merged[key], value) if both else value
    return merged


def problems(config):
    """Sentences about what the schema cannot say of tensors and models."""
    yield from _tensor_problems(config["datasets"])
    for name, block in config["models"].items():
        yield from (f"models.{name}: {text}" for text in _model_problems(name, block, config))


def _tensor_problems(datasets):
    kinds = {}
    for dataset, block in datasets.items():
        for name, tensor in block["tensors"].items():
            place = f"datasets.{dataset}.tensors.{name}"
            events = bool(block.get("samples"))
            if not (events or block.get("plates") or block.get("simulate")):
                yield f"{place}: the dataset has no images"
            elif events and tensor["items"] == "fields":
                yield f"{place}: single events have no fields; choose items: crops"
            elif not events:
                if kinds.setdefault(name, tensor["items"]) != tensor["items"]:
                    yield f"{place}: another dataset has fields, or crops, under this name; choose another name"
                if tensor["items"] == "crops" and not block["features"].get("cellprofiler"):
                    yield f"{place}: crops lie around cells that features.cellprofiler finds, which the dataset lacks"
                if tensor["items"] == "crops" and not tensor["size"]:
                    yield f"{place}: missing key 'size', the height and width of a crop in pixels"
            known = block.get("channels") or {}
            yield from (
                _unknown(f"{place}.channels", one, known) for one in tensor["channels"] or [] if one not in known
            )
            if tensor["percentiles"][0] >= tensor["percentiles"][1]:
                yield f"{place}.percentiles: the first must be below the second"


def _model_problems(name, block, config):
    dataset = config["datasets"].get(block["dataset"])
    if dataset is None:
        yield _unknown("dataset", block["dataset"], config["datasets"])
        return
    if name in dataset["representations"]:
        yield f"dataset {block['dataset']} has a representation of this name; choose another"
    if block["tensor"] not in dataset["tensors"]:
        yield _unknown("tensor", block["tensor"], dataset["tensors"])
        return
    stored = dataset["tensors"][block["tensor"]]["channels"] or list(dataset["channels"] or {})
    seen = block["channels"] or stored
    yield from (_unknown("channels", one, stored) for one in seen if one not in stored)
    if block["kind"] == "pretrained":
        return
    if block["adapt"] == "sum" and block["weights"] and len(seen) > 1 and not block["per_channel"]:
        yield "adapt: sum is for one channel; choose average or rgb, or set per_channel"
    if block["kind"] == "contrastive" and not block["label"]:
        if block["loss"]["separation"]:
            yield "loss.separation: clusters are those of a label; name one"
        if block["loss"]["pretrain_epochs"]:
            yield "loss.pretrain_epochs: without a label there is nothing to go on to"
    if block["network"]["architecture"] == "pixels" and block["train"]["epochs"]:
        yield "train.epochs: pixels have nothing to learn; set 0"
    yield from _view_problems(block)
    yield from _start_problems(name, block, config["models"])
    late = [epoch for epoch in block["snapshots"] if epoch > block["train"]["epochs"]]
    if late:
        yield f"snapshots: epoch {late[0]} comes after the last, {block['train']['epochs']}"


#: What a model has in common with the one whose weights it starts from. With another split it would have seen, by way
#: of these, what it holds out.
_SHARED_WITH_START = ("dataset", "channels", "per_channel", "normalize", "split")


def _start_problems(name, block, models):
    start = models.get(block["weights"])
    if start is None:
        return
    chain = [name]
    while chain[-1] in models:
        chain.append(models[chain[-1]].get("weights"))
        if chain[-1] in chain[:-1]:
            yield f"weights: {' starts from '.join(chain)}; let one of them start from none"
            return
    if start["kind"] == "pretrained":
        yield f"weights: {block['weights']} is not trained here; give the weights that it takes over"
        return
    other = [key for key in _SHARED_WITH_START if block[key] != start[key]]
    if not other and _stratified_by(block) != _stratified_by(start):
        other = ["split: what is drawn follows the weak label where split.stratify is left out"]
    if other:
        yield f"weights: {block['weights']} has another {other[0]}; both need the same"
    # True labels in the weights would reach the control that learns from labels in random order.
    if start.get("label") and any(start.get(key) != block.get(key) for key in ("label", "shuffle_labels")):
        yield f"weights: {block['weights']} has learned from the labels {start['label']}; start from one without labels"


def _stratified_by(block):
    """What a split that is drawn item by item, or well by well, holds out in equal shares; None for others."""
    split = block["split"]
    drawn = split["hold_out"] in ("items", "Well") and not split["groups"]
    return (split["stratify"] or block.get("label")) if drawn else None


def _view_problems(block):
    for key in ("global_scale", "local_scale"):
        low, high = block["views"][key]
        if low > high:
            yield f"views.{key}: the first must not be above the second"
    patch = block["network"]["patch"]
    if block["network"]["architecture"] in ("vit", "dinov2") and not block["weights"]:
        for key in ("global_size", "local_size"):
            if block["views"][key] % patch:
                yield f"views.{key}: {block['views'][key]} is no multiple of the patch, {patch}"


def _unknown(place, name, known):
    near = difflib.get_close_matches(str(name), list(known), 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
    return f"{place}: there is no {name!r}; {hint}"
