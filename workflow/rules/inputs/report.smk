"""Inputs of the rules in report.smk."""

import os

from phenoloom.report.spacing import spread


def tables_of_dataset(wildcards):
    """What the counts of a dataset are taken from: the tables of its images, where it has any, and its wells."""
    dataset = wildcards.dataset
    folder = f"<results>/{dataset}"
    found = {
        "wells": [
            f"{folder}/profiles/{representation}/{chain}/wells/{unit}.parquet"
            for representation in study.representations(dataset)
            for chain in study.profiles_of(dataset, representation)[:1]
            for unit in study.units(dataset, representation)
        ]
    }
    if study.has_images(dataset):
        plates = study.plates(dataset)
        found["layout"] = f"{folder}/layout.parquet"
        found["index"] = [f"{folder}/index/{plate}.parquet" for plate in plates]
        found["unusable"] = [f"{folder}/index/{plate}.ledger.parquet" for plate in plates]
        found["quality"] = [f"{folder}/quality/{plate}.parquet" for plate in plates]
        found["sites"] = [f"{folder}/quality/{plate}.sites.parquet" for plate in plates]
        if study.pipeline(dataset):
            cells = f"{folder}/representations/cellprofiler/cells"
            found["measured"] = [f"{cells}/{plate}.images.parquet" for plate in plates]
    return {kind: paths for kind, paths in found.items() if paths}


def montage_plates(dataset):
    """Plates that the montage draws from, spread over the dataset: their number bounds what it reads."""
    return spread(study.plates(dataset), config["report"]["montage"]["plates"])


def tables_of_montage(wildcards):
    """Index, layout, qualities, illumination functions and masks of the plates that the montage draws from."""
    dataset = wildcards.dataset
    folder = f"<results>/{dataset}"
    plates = montage_plates(dataset)
    found = {
        "layout": f"{folder}/layout.parquet",
        "index": [f"{folder}/index/{plate}.parquet" for plate in plates],
        "sites": [f"{folder}/quality/{plate}.sites.parquet" for plate in plates],
        "functions": [
            f"{folder}/illumination/{plate}/{channel}.npy" for plate in plates for channel in study.illuminated(dataset)
        ],
    }
    if study.pipeline(dataset):
        found["measurements"] = [
            f"{folder}/cellprofiler/{plate}/{batch}.h5" for plate in plates for batch in study.batches(dataset, plate)
        ]
    return {kind: paths for kind, paths in found.items() if paths}


def functions_of_dataset(wildcards):
    """All illumination functions of a dataset; none where it corrects none."""
    dataset = wildcards.dataset
    return [
        f"<results>/{dataset}/illumination/{plate}/{channel}.npy"
        for plate in study.plates(dataset)
        for channel in study.illuminated(dataset)
    ]


def ledgers(dataset):
    """The ledgers of all stages of one dataset, in the order of the stages.

    That of the cells holds CellProfiler's failures, that of the profiles those of their plates.
    """
    folder = f"<results>/{dataset}"
    found = []
    if study.has_images(dataset):
        plates = study.plates(dataset)
        found += [f"{folder}/index/{plate}.ledger.parquet" for plate in plates]
        found += [f"{folder}/quality/{plate}.ledger.parquet" for plate in plates]
        if study.illuminated(dataset) and not study.frozen(dataset):
            found += [f"{folder}/illumination/{plate}.ledger.parquet" for plate in plates]
        if study.pipeline(dataset):
            found += [f"{folder}/representations/cellprofiler/cells/{plate}.ledger.parquet" for plate in plates]
    if dataset not in study.plate_datasets():
        return found + _ledgers_of_events(dataset) + _ledgers_of_models(dataset)
    found += _ledgers_of_models(dataset)
    for representation in study.representations(dataset):
        if study.entered(dataset, representation):
            level = study.level(dataset, representation)
            found.append(f"{folder}/representations/{representation}/{level}/all.ledger.parquet")
        chains_of = study.profiles_of(dataset, representation)
        found += [f"{folder}/profiles/{representation}/{profile}/ledger.parquet" for profile in chains_of]
    return found + [path for path in relevance_tables("ledger.parquet") if path.startswith(f"{folder}/")]


def relevance_tables(file):
    """Paths of one file of the relevance of cells of every learned aggregation."""
    return [
        f"<results>/{dataset}/profiles/{representation}/{profile}/relevance/{file}"
        for dataset, representation, profile in learned_combinations
    ]


def files_of_relevance(wildcards):
    """Relevance of cells, and of a dataset with images what their pictures are cut from."""
    dataset = wildcards.dataset
    folder = f"<results>/{dataset}"
    scored = f"{folder}/profiles/{wildcards.representation}/{wildcards.profile}/relevance"
    found = {kind: f"{scored}/{kind}.parquet" for kind in ("cells", "wells", "features")}
    if study.entered(dataset, wildcards.representation) or not study.pipeline(dataset):
        return found
    plates = plates_of_relevance(wildcards)
    return found | {
        "index": [f"{folder}/index/{plate}.parquet" for plate in plates],
        "tables": [f"{folder}/representations/cellprofiler/cells/{plate}.parquet" for plate in plates],
        "functions": [
            f"{folder}/illumination/{plate}/{channel}.npy" for plate in plates for channel in study.illuminated(dataset)
        ],
        "measurements": [
            f"{folder}/cellprofiler/{plate}/{batch}.h5" for plate in plates for batch in study.batches(dataset, plate)
        ],
    }


def _ledgers_of_models(dataset):
    """The ledgers of the tensors, models and embeddings of a dataset."""
    folder, models = f"<results>/{dataset}", study.models(dataset)
    units = study.samples(dataset) or study.plates(dataset)
    found = [
        f"{folder}/tensors/{tensor}/{unit}.ledger.parquet"
        for tensor in dict.fromkeys(study.model(model)["tensor"] for model in models)
        for unit in units
    ]
    found += [f"{folder}/models/{model}/split.ledger.parquet" for model in filter(study.trained, models)]
    found += [
        f"{folder}/models/{model}/{part}/ledger.parquet"
        for model in filter(study.trained, models)
        for part in study.parts(model)
    ]
    return found + [
        f"{folder}/representations/{representation}/{study.level(dataset, representation)}/{unit}.ledger.parquet"
        for representation in study.learned(dataset)
        for unit in units
    ]


def _ledgers_of_events(dataset):
    """The ledgers of a dataset of single events, or of one put together from such."""
    folder = f"<results>/{dataset}"
    found = []
    for stage in ("manifests", "events"):
        found += [f"{folder}/{stage}/{sample}.ledger.parquet" for sample in study.samples(dataset)]
    if study.merged(dataset):
        found.append(f"{folder}/representations/classical/cells/all.ledger.parquet")
    return found + [
        f"{folder}/cell_profiles/{representation}/{profile}/ledger.parquet"
        for name, representation, profile in study.cell_combinations()
        if name == dataset
    ]


def logs_of_training(wildcards):
    """Logs of the training of every network of a dataset."""
    return [
        f"<results>/{wildcards.dataset}/models/{model}/{part}/training.csv"
        for model in filter(study.trained, study.models(wildcards.dataset))
        for part in study.parts(model)
    ]


#: {representation: (model, epoch)} of the models with snapshots, their ends among them.
representations_by_epoch = {
    name: (model, epoch or study.model(model)["train"]["epochs"])
    for dataset in study.datasets()
    for name in study.learned(dataset)
    for model, epoch in [study.model_of(name)]
    if study.model(model).get("snapshots")
}

#: (dataset, model, part) of every network.
networks = [
    (study.model(model)["dataset"], model, part)
    for model in study.models()
    for part in (study.parts(model) if study.trained(model) else ["all"])
]

#: Cards of all networks.
cards_of_models = [f"<results>/{dataset}/models/{model}/{part}/card.json" for dataset, model, part in networks]


#: Cards of all learned aggregations.
cards_of_aggregations = [
    f"<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/card.json"
    for dataset, representation, profile in learned_combinations
]


def cell_datasets():
    """(dataset, representation) of every table of single cells."""
    return [
        (dataset, representation)
        for dataset in study.datasets()
        if dataset not in study.plate_datasets()
        for representation in study.representations(dataset)
    ]


def events_of_dataset(wildcards):
    """Tables of the cells of a dataset, and their ledgers; one put together from others has none of its own."""
    dataset = wildcards.dataset
    folder = f"<results>/{dataset}"
    if study.merged(dataset):
        return {"cells": [f"{folder}/representations/classical/cells/all.parquet"]}
    samples = study.samples(dataset)
    stages = ("manifests", "events")
    return {
        "cells": [f"{folder}/events/{sample}.parquet" for sample in samples],
        "ledgers": [f"{folder}/{stage}/{sample}.ledger.parquet" for stage in stages for sample in samples],
    }


def figure_of_cells(wildcards):
    """AnnData and stacks of a dataset, and the model whose scaling is shown."""
    dataset, representation = wildcards.dataset, wildcards.representation
    folder = f"<results>/{dataset}"
    profile = next(iter(study.profiles_of(dataset, representation)), None)
    found = {
        "cells": f"{folder}/anndata/{representation}.h5ad",
        "model": [f"{folder}/cell_profiles/{representation}/{profile}/model.npz"] if profile else [],
        "stacks": [f"{folder}/stacks/{sample}.npy" for sample in study.samples(dataset)],
    }
    return {kind: paths for kind, paths in found.items() if paths}


def kinds_of(wildcards):
    """{channel: fluorescence or brightfield} of a dataset, in the order of its stacks."""
    block = study.dataset(wildcards.dataset).get("channels") or {}
    return {name: (channel or {}).get("kind", "fluorescence") for name, channel in block.items()}


def evaluations(ending):
    """Paths of all evaluations, with an ending."""
    return [
        f"<results>/evaluation/{evaluation}/{dataset}/{representation}/{profile}{ending}"
        for evaluation, dataset, representation, profile in study.evaluations()
    ]


def drawn_profiles(_):
    """Tables of profiles whose own values a figure of the evaluation draws."""
    drawn = ("dose_response", "control_separation")
    found = [
        f"<results>/{dataset}/profiles/{representation}/{profile}/{config['evaluation'][evaluation]['level']}.parquet"
        for evaluation, dataset, representation, profile in study.evaluations()
        if config["evaluation"][evaluation]["metric"] in drawn
    ]
    return list(dict.fromkeys(found))


def cell_profiled(file):
    """Paths of one file of every profile of single cells."""
    return [
        f"<results>/{dataset}/cell_profiles/{representation}/{profile}/{file}"
        for dataset, representation, profile in study.cell_combinations()
    ]


def counted(file):
    """Paths of one table of counts of every dataset of single cells."""
    return [
        f"<results>/{dataset}/summary/{file}" for dataset in study.datasets() if dataset not in study.plate_datasets()
    ]


def profiled(file):
    """Paths of one file of every set of profiles."""
    return [
        f"<results>/{dataset}/profiles/{representation}/{profile}/{file}"
        for dataset, representation, profile in study.combinations()
    ]


def figures(kind):
    """Folders with the figures of one kind, of every dataset that has images."""
    return [f"<results>/figures/{dataset}/{kind}" for dataset in study.image_datasets()]


def of_checkout(path):
    """A file of the checkout, from the working directory: a study that moves with its checkout reruns nothing."""
    return os.path.relpath(f"{workflow.basedir}/{path}")


#: Environments whose pins the report lists.
environments_of_study = [
    *("ingest", "cellprofiler", "profiles"),
    *(["cytometry"] if cell_datasets() else []),
    *(["torch"] if study.models() else []),
    "report",
]

#: Folders with figures, by the part of the report that shows them.
figure_folders = {
    "plate_heatmaps": [f"<results>/figures/{dataset}/plate_heatmaps" for dataset in study.plate_datasets()],
    "illumination": figures("illumination"),
    "montage": figures("montage"),
    "maps": [
        f"<results>/figures/{dataset}/umap/{representation}/{profile}"
        for dataset, representation, profile in study.combinations()
    ],
    "training": [
        f"<results>/figures/{dataset}/training"
        for dataset in dict.fromkeys(study.model(model)["dataset"] for model in filter(study.trained, study.models()))
    ]
    + (["<results>/figures/over_training"] if representations_by_epoch else []),
    "relevance": [
        f"<results>/figures/{dataset}/relevance/{representation}/{profile}"
        for dataset, representation, profile in learned_combinations
    ],
    "attention": [f"<results>/figures/{dataset}/attention/{model}/{part}" for dataset, model, part in networks],
    "cells": [f"<results>/figures/{dataset}/cells/{representation}" for dataset, representation in cell_datasets()],
    "aggregation": [
        f"<results>/figures/{dataset}/aggregation/{representation}/{profile}"
        for dataset, representation, profile in learned_combinations
    ],
    "evaluation": ["<results>/figures/evaluation"],
    "run": ["<results>/figures/run_times"],
}
