"""Targets by name: run one with `snakemake <name>`."""


rule all:
    """Everything: profiles, evaluation, every figure and the report."""
    default_target: True
    input:
        rules.report.output,


rule ingest:
    """Index of all images and the layout of all plates."""
    input:
        for_images("<results>/{dataset}/index/{plate}.parquet"),
        expand("<results>/{dataset}/layout.parquet", dataset=study.image_datasets()),


rule features:
    """Quality, illumination functions and the single-cell tables of all plates."""
    input:
        for_images("<results>/{dataset}/quality/{plate}.parquet"),
        [
            f"<results>/{dataset}/representations/cellprofiler/cells/{plate}.parquet"
            for dataset in study.image_datasets()
            if study.pipeline(dataset)
            for plate in study.plates(dataset)
        ],


rule profiles:
    """Well and treatment profiles of every representation."""
    input:
        [
            f"<results>/{dataset}/profiles/{representation}/{profile}/{level}.parquet"
            for dataset, representation, profile in study.combinations()
            for level in ("wells", "treatments")
        ],


rule evaluation:
    """The evaluation table."""
    input:
        "<results>/evaluation.parquet",
