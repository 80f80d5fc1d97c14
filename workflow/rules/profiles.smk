"""Profiles: tables that enter, cells to wells per plate, wells to profiles of wells and treatments."""

from phenoloom.profiles import chain as chains  # the name chain is Snakemake's own here
from phenoloom.profiles import sources

_entered = sorted({name for dataset in study.datasets() for name in study.representations(dataset) if study.entered(dataset, name)})


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


rule enter:
    """Bring a table that exists already into the form of a representation, its metadata columns mapped."""
    input:
        entering_files,
    output:
        table="<results>/{dataset}/representations/{representation}/{level}/all.parquet",
        ledger="<results>/{dataset}/representations/{representation}/{level}/all.ledger.parquet",
    params:
        block=option("datasets/{dataset}/representations/{representation}"),
        code=code_of("enter", "profiles"),
    wildcard_constraints:
        representation="|".join(_entered) or "(?!)",
        level="cells|sites|wells|treatments",
    log:
        "<logs>/{dataset}/enter/{representation}.{level}.log",
    benchmark:
        "<benchmarks>/{dataset}/enter/{representation}.{level}.tsv"
    threads: 1
    resources:
        mem_mb=memory(2000),
    conda:
        "../envs/profiles.yaml"
    script:
        "../scripts/enter.py"


rule aggregate:
    """Wells of one plate: the steps of the chain up to and including aggregate, annotated with the layout."""
    input:
        table=unit_table,
        layout=layout_of,
    output:
        wells="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.parquet",
        dropped="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.dropped.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.ledger.parquet",
    params:
        steps=lambda wildcards: chains.before_aggregate(config["profiles"][wildcards.profile]),
        level=lambda wildcards: study.level(wildcards.dataset, wildcards.representation),
        code=code_of("aggregate", "profiles"),
    log:
        "<logs>/{dataset}/aggregate/{representation}.{profile}/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/aggregate/{representation}.{profile}/{plate}.tsv"
    threads: 1
    resources:
        mem_mb=memory(2000),
    conda:
        "../envs/profiles.yaml"
    script:
        "../scripts/aggregate.py"


rule profile:
    """Profiles of wells and treatments: the steps after aggregate over all plates, and what they dropped."""
    input:
        wells=per_plate(".parquet"),
        dropped=per_plate(".dropped.parquet"),
        ledgers=per_plate(".ledger.parquet"),
    output:
        wells="<results>/{dataset}/profiles/{representation}/{profile}/wells.parquet",
        treatments="<results>/{dataset}/profiles/{representation}/{profile}/treatments.parquet",
        dropped="<results>/{dataset}/profiles/{representation}/{profile}/dropped.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/ledger.parquet",
    params:
        steps=lambda wildcards: chains.after_aggregate(config["profiles"][wildcards.profile]),
        code=code_of("profile", "profiles"),
    log:
        "<logs>/{dataset}/profile/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/profile/{representation}.{profile}.tsv"
    threads: 1
    resources:
        mem_mb=memory(2000, 20, lambda wildcards: len(study.units(wildcards.dataset, wildcards.representation))),
    conda:
        "../envs/profiles.yaml"
    script:
        "../scripts/profile.py"
