"""Inputs and params of the rules in profiles.smk."""

import functools

from phenoloom.core.names import encode
from phenoloom.ingest.layouts import laid_out
from phenoloom.profiles import chain as chains  # the name chain is Snakemake's own here
from phenoloom.profiles import sources

_entered = sorted(
    {name for dataset in study.datasets() for name in study.representations(dataset) if study.entered(dataset, name)}
)


def entering_files(wildcards):
    """Files behind an entered representation, each of them an input."""
    try:
        return sources.files(study.dataset(wildcards.dataset)["representations"][wildcards.representation])
    except InputError as error:
        raise WorkflowError(f"dataset {wildcards.dataset}, representation {wildcards.representation}: {error}")


def unit_table(wildcards):
    """Table of one plate (or the pseudo plate `all`) of a representation."""
    level = study.level(wildcards.dataset, wildcards.representation)
    return f"<results>/{wildcards.dataset}/representations/{wildcards.representation}/{level}/{wildcards.plate}.parquet"


def files_of_wells(wildcards):
    """Tables that say what is in the wells of one plate, so that another plate's map or row reruns nothing here, and
    which of them have images and features.

    Tables that entered bring their own metadata.
    """
    dataset = wildcards.dataset
    if study.entered(dataset, wildcards.representation):
        return {}
    table = unit_table(wildcards)
    imaged = {
        "index": f"<results>/{dataset}/index/{wildcards.plate}.parquet",
        "measured": table.removesuffix(".parquet") + ".images.parquet",
    }
    if study.simulated(dataset):
        return {"truth": f"{study.results}/{dataset}/truth.parquet", **imaged}
    annotations = study.dataset(dataset).get("annotations")
    return {
        **imaged,
        "map": _laid_out(dataset)[wildcards.plate][1],
        "annotations": [annotations["table"]] if annotations else [],
    }


def layout_of_wells(wildcards):
    """What turns the map of one plate into its layout: its row of the table of plates, and how to read the map."""
    dataset = wildcards.dataset
    if study.entered(dataset, wildcards.representation) or study.simulated(dataset):
        return None
    block = study.dataset(dataset)
    names = ("platemap_columns", "annotations", "controls")
    return {"row": _laid_out(dataset)[wildcards.plate][0], **{name: block.get(name) for name in names}}


@functools.cache
def _laid_out(dataset):
    """{encoded plate: (its row of the table of plates, path of its map)}. Stops the workflow where a map is missing."""
    try:
        return {encode(row["plate"]): (row, path) for row, path in laid_out(study.dataset(dataset), dataset)}
    except InputError as error:
        raise WorkflowError(str(error))


def per_plate(ending):
    """Input function: the wells of every plate, or what goes with them."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}/{wildcards.profile}/wells"
        return [f"{folder}/{plate}{ending}" for plate in study.units(wildcards.dataset, wildcards.representation)]

    return paths
