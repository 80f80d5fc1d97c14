"""Inputs and params of the rules in ingest.smk."""

import os
import time

from phenoloom.core.names import encode
from phenoloom.ingest import geometry, layouts
from phenoloom.simulate import design


def plate_row(wildcards):
    """(batch, plate, images, platemap) of a plate; images of simulated ones are the folder of the batch."""
    block = study.dataset(wildcards.dataset)
    if study.simulated(wildcards.dataset):
        images = f"{study.results}/{wildcards.dataset}/images/{wildcards.plate}"
        rows = [(batch, plate, images, "") for batch, plate in design.plates(block["simulate"])]
    else:
        rows = geometry.read_plates(block["plates"], wildcards.dataset)
    return next(row for row in rows if encode(row[1]) == wildcards.plate)


def images_of_batch(wildcards):
    """The simulator's folder of a batch; images from elsewhere are seen through their manifests only."""
    if study.simulated(wildcards.dataset):
        return {"images": f"{study.results}/{wildcards.dataset}/images/{wildcards.plate}/{wildcards.batch}"}
    return {}


def simulated(value):
    """Params function: a value for images that a rule makes, None for images from elsewhere, which `prepare` may have
    seen meanwhile: what it found is no change of parameters.
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
