"""phenoloom: from raw images to profiles, evaluation and one report. The stages lie in workflow/rules."""

import os
import sys

from snakemake.utils import min_version

min_version("9.27")

LIBRARY = os.path.join(workflow.basedir, "workflow", "lib")
sys.path.insert(0, LIBRARY)
# Script jobs run in processes of their own, on a cluster on another node.
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")])))


# The default must not be loaded under another study: Snakemake merges configs deeply.
if "study" not in config:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/quality.smk"
include: "workflow/rules/illumination.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/profiles.smk"
include: "workflow/rules/cytometry.smk"
include: "workflow/rules/tensors.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/embeddings.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"


rule all:
    """Everything: profiles, evaluation, every figure and the report."""
    default_target: True
    input:
        "<results>/report.html",


rule ingest:
    """Index of all images and the layout of all plates."""
    input:
        for_images("<results>/{dataset}/index/{plate}.parquet"),
        expand("<results>/{dataset}/layout.parquet", dataset=study.image_datasets()),


rule features:
    """Quality, illumination functions and the single-cell tables of all plates and samples."""
    input:
        for_images("<results>/{dataset}/quality/{plate}.parquet"),
        [
            f"<results>/{dataset}/representations/cellprofiler/cells/{plate}.parquet"
            for dataset in study.image_datasets()
            if study.pipeline(dataset)
            for plate in study.plates(dataset)
        ],
        [
            f"<results>/{dataset}/representations/classical/cells/{unit}.parquet"
            for dataset in study.datasets()
            if dataset not in study.plate_datasets() and "classical" in study.representations(dataset)
            for unit in study.units(dataset, "classical")
        ],


rule embeddings:
    """Embeddings of all plates and samples by every model."""
    input:
        [
            f"<results>/{dataset}/representations/{representation}/{study.level(dataset, representation)}/{unit}.parquet"
            for dataset in study.datasets()
            for representation in study.learned(dataset)
            for unit in study.units(dataset, representation)
        ],


rule profiles:
    """Well, treatment and single-cell profiles of every representation."""
    input:
        [
            f"<results>/{dataset}/profiles/{representation}/{profile}/{level}.parquet"
            for dataset, representation, profile in study.combinations()
            for level in ("wells", "treatments")
        ],
        [
            f"<results>/{dataset}/cell_profiles/{representation}/{profile}/cells.parquet"
            for dataset, representation, profile in study.cell_combinations()
        ],


rule figures:
    """Every figure with its data."""
    input:
        [folder for folders in figure_folders.values() for folder in folders],


rule evaluation:
    """The evaluation table."""
    input:
        "<results>/evaluation.parquet",
