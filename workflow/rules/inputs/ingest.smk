"""Inputs and params of the rules in ingest.smk."""

import os
import time

from phenoloom.ingest import geometry, layouts


def plate_row(wildcards):
    """(batch, plate, images, platemap) of a plate; images of simulated ones are the folder of the batch."""
    return study.plate_row(wildcards.dataset, wildcards.plate)


def images_of_batch(wildcards):
    """The simulator's folder of a batch; images from elsewhere are seen through their manifests only."""
    if study.simulated(wildcards.dataset):
        return {"images": f"{study.results}/{wildcards.dataset}/images/{wildcards.plate}/{wildcards.batch}"}
    return {}


def simulated(value):
    """Params function: a value for images that a rule makes, None for those of a declared geometry, from which the
    script takes it.
    """
    return lambda wildcards: (value(wildcards) if study.simulated(wildcards.dataset) else None)


def files_of_layout(wildcards):
    """Tables that say what is in the wells of a dataset."""
    block = study.dataset(wildcards.dataset)
    if study.simulated(wildcards.dataset):
        return {"truth": f"{study.results}/{wildcards.dataset}/truth.parquet"}
    rows = geometry.plate_rows(block["plates"], wildcards.dataset, study.excluded(wildcards.dataset))
    maps, _ = layouts.plate_maps(rows, block.get("barcodes"))
    tables = [block[key]["table"] for key in ("barcodes", "annotations") if block.get(key)]
    return {
        "plates": block["plates"],
        "maps": sorted(set(maps.values())),
        "tables": tables,
    }


def per_batch(stage, ending):
    """Input function: a file of every batch of a plate."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/{stage}/{wildcards.plate}"
        return [f"{folder}/{batch}{ending}" for batch in study.batches(wildcards.dataset, wildcards.plate)]

    return paths


#: Constraint of the wildcard `dataset`. What `prepare` indexed needs no jobs: half the DAG of a large study.
indexed_by_jobs = "|".join(study.indexed_by_jobs()) or "(?!)"
