"""Inputs, outputs and params of the rules in training.smk and embeddings.smk."""

import os

#: Options of a model that do not change what it learns.
_NOT_LEARNED = ("dataset", "tensor", "embed", "split", "shuffle_labels", "channels", "per_channel")

#: Options of training that say what a job may take.
_RESOURCES = ("threads", "memory_mb", "hours")


def units_of_model(wildcards):
    """Plates or samples of a model's dataset."""
    dataset = study.model(wildcards.model)["dataset"]
    return study.samples(dataset) if dataset in study.event_datasets() else study.plates(dataset)


def tensors_of(model, ending):
    """Files of the tensor that a model reads, one per plate or sample."""
    block = study.model(model)
    dataset = block["dataset"]
    units = study.samples(dataset) if dataset in study.event_datasets() else study.plates(dataset)
    return [f"<results>/{dataset}/tensors/{block['tensor']}/{unit}{ending}" for unit in units]


def items_of_model(wildcards):
    """Index rows of all items of a model's tensor."""
    return tensors_of(wildcards.model, ".items.parquet")


def layout_of_model(wildcards):
    """What is in the wells of a model's dataset; nothing for single events, which bring their labels."""
    dataset = wildcards.dataset
    if dataset in study.event_datasets():
        return []
    return f"<results>/{dataset}/{'truth' if study.simulated(dataset) else 'layout'}.parquet"


def local_weights_of(model, part):
    """Files of the weights that a network starts from, where they lie on this file system: inputs like any other."""
    given, other = study.model(model).get("weights"), study.starts_from(model)
    if other:
        return [f"<results>/{study.model(model)['dataset']}/models/{other}/{part}/model.safetensors"]
    if not given or not os.path.exists(given):
        return []
    return [given] if os.path.isfile(given) else [f"{given}/{name}" for name in ("config.json", "model.safetensors")]


def local_weights(wildcards):
    """Files of the weights that a model takes over."""
    return local_weights_of(wildcards.model, "all")


def channels_of_part(model, part):
    """Channels that one network of a model sees."""
    return study.model_channels(model) if part == "all" else [part]


def channels_of_model(wildcards):
    """Channels that a model sees."""
    return study.model_channels(wildcards.model)


def training_block(model):
    """Options of a model that change its weights."""
    block = study.model(model)
    kept = {name: value for name, value in block.items() if name not in _NOT_LEARNED}
    kept["train"] = {name: value for name, value in block["train"].items() if name not in _RESOURCES}
    return kept


def trained_files(model):
    """Outputs of the training of one network of a model."""
    folder = f"<results>/{study.model(model)['dataset']}/models/{model}/{{part}}"
    files = {
        "weights": f"{folder}/model.safetensors",
        "card": f"{folder}/card.json",
        "log": f"{folder}/training.csv",
        "ledger": f"{folder}/ledger.parquet",
    }
    epochs = study.model(model)["snapshots"]
    if epochs:
        files["snapshots"] = [f"{folder}/snapshots/epoch{epoch:04d}.safetensors" for epoch in sorted(epochs)]
    return files
