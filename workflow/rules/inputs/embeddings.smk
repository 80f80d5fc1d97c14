"""Inputs and params of the rule in embeddings.smk."""

#: Representations that networks make.
_learned = [name for dataset in study.datasets() for name in study.learned(dataset)]


def tensor_of_representation(ending):
    """Input function: a file of the tensor behind a learned representation, of one plate or sample."""

    def path(wildcards):
        block = study.model(study.model_of(wildcards.representation)[0])
        return f"<results>/{wildcards.dataset}/tensors/{block['tensor']}/{wildcards.plate}{ending}"

    return path


def split_of_representation(wildcards):
    """Which items the model behind a representation learned from; none where it was not trained here."""
    model, _ = study.model_of(wildcards.representation)
    return f"<results>/{wildcards.dataset}/models/{model}/split.parquet" if study.trained(model) else []


def weights_of_representation(wildcards):
    """Weights of every network of a model, as it ended or after an epoch, in the order of its channels."""
    model, epoch = study.model_of(wildcards.representation)
    file = "model.safetensors" if epoch is None else f"snapshots/epoch{epoch:04d}.safetensors"
    return [f"<results>/{wildcards.dataset}/models/{model}/{part}/{file}" for part in study.parts(model)]


def embedding_options(wildcards):
    """Options of a model that change its embeddings and not its weights: how it normalises stands in these."""
    block = study.model(study.model_of(wildcards.representation)[0])
    return block["embed"]
