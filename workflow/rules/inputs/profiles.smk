"""Inputs and params of the rules in profiles.smk."""

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


def layout_of(wildcards):
    """The layout of a dataset with images; tables that entered bring their own metadata."""
    entered = study.entered(wildcards.dataset, wildcards.representation)
    return [] if entered else f"<results>/{wildcards.dataset}/layout.parquet"


def per_plate(ending):
    """Input function: the wells of every plate, or what goes with them."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}/{wildcards.profile}/wells"
        return [f"{folder}/{plate}{ending}" for plate in study.units(wildcards.dataset, wildcards.representation)]

    return paths
