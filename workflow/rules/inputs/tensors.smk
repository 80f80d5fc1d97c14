"""Inputs, outputs and resources of the rules in tensors.smk."""


def tensor_files(unit):
    """Outputs of a tensor of one plate or sample."""
    folder = "<results>/{dataset}/tensors/{tensor}"
    return {
        "tensor": f"{folder}/{unit}.npy",
        "rows": f"{folder}/{unit}.items.parquet",
        "ledger": f"{folder}/{unit}.ledger.parquet",
    }


def tensor_channels(wildcards):
    """Channels that a tensor stores."""
    return study.tensor_channels(wildcards.dataset, wildcards.tensor)


def tensor_illumination(wildcards):
    """Illumination functions of a tensor's channels, none where fields stay as they are."""
    dataset = wildcards.dataset
    if not study.dataset(dataset)["tensors"][wildcards.tensor]["illumination"]:
        return []
    return [
        f"<results>/{dataset}/illumination/{wildcards.plate}/{channel}.npy"
        for channel in tensor_channels(wildcards)
        if channel in study.illuminated(dataset)
    ]


def image_megapixels(wildcards):
    """Millions of pixels of one site, all channels."""
    return study.megapixels(wildcards.dataset) * len(tensor_channels(wildcards))
