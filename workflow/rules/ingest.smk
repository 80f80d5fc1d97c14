"""Ingest: manifests of batches of sites, the index of a plate, the layout of all plates, and what is wrong with both.

`python -m phenoloom prepare` writes manifests of images that exist already before the DAG is built, and rewrites only
those that differ; the rule here is for images that a rule makes, and for plates of a declared geometry.
"""

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
    return lambda wildcards: value(wildcards) if study.simulated(wildcards.dataset) else None


def files_of_layout(wildcards):
    """Tables that say what is in the wells of a dataset."""
    block = study.dataset(wildcards.dataset)
    if study.simulated(wildcards.dataset):
        return {"truth": f"{study.results}/{wildcards.dataset}/truth.parquet"}
    rows = geometry.plate_rows(block["plates"], wildcards.dataset)
    maps, _ = layouts.plate_maps(rows, block.get("barcodes"))
    tables = [block[key]["table"] for key in ("barcodes", "annotations") if block.get(key)]
    return {"plates": block["plates"], "maps": sorted(set(maps.values())), "tables": tables}


rule index:
    """Index the images of one batch of sites: its manifest, on which every later job of the batch depends."""
    input:
        unpack(images_of_batch),
    output:
        index="<results>/{dataset}/index/{plate}/{batch}.parquet",
        ledger="<results>/{dataset}/index/{plate}/{batch}.ledger.parquet",
    params:
        place=lambda wildcards, input: input.get("images") or plate_row(wildcards)[2],
        batch=lambda wildcards: plate_row(wildcards)[0],
        sites=simulated(lambda wildcards: study.sites(wildcards.dataset, wildcards.plate, wildcards.batch)),
        shape=simulated(lambda wildcards: study.image_shape(wildcards.dataset)[::-1]),
        geometry=option("datasets/{dataset}/geometry"),
        size=lambda wildcards: geometry.batch_size(study.dataset(wildcards.dataset)),
        channels=option("datasets/{dataset}/channels"),
        images=option("datasets/{dataset}/images"),
        folder=f"{study.results}/{{dataset}}/index",
        code=code_of("index", "ingest"),
    log:
        "<logs>/{dataset}/index/{plate}/{batch}.log",
    benchmark:
        "<benchmarks>/{dataset}/index/{plate}/{batch}.tsv"
    threads: 1
    resources:
        mem_mb=memory(400, 0.1, lambda wildcards: study.n_sites(wildcards.dataset, wildcards.plate)),
    conda:
        "../envs/ingest.yaml"
    script:
        "../scripts/index.py"


rule plate_index:
    """Join the manifests of one plate."""
    input:
        batches=lambda wildcards: [
            f"{study.results}/{wildcards.dataset}/index/{wildcards.plate}/{batch}.parquet"
            for batch in study.batches(wildcards.dataset, wildcards.plate)
        ],
    output:
        index="<results>/{dataset}/index/{plate}.parquet",
    params:
        code=code_of("plate_index", "ingest"),
    log:
        "<logs>/{dataset}/plate_index/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/plate_index/{plate}.tsv"
    threads: 1
    resources:
        mem_mb=memory(300, 0.05, lambda wildcards: study.n_sites(wildcards.dataset, wildcards.plate)),
    conda:
        "../envs/ingest.yaml"
    script:
        "../scripts/plate_index.py"


rule layout:
    """Join plate maps, barcodes, annotations and controls into one row per well."""
    input:
        unpack(files_of_layout),
    output:
        layout="<results>/{dataset}/layout.parquet",
    params:
        layout=lambda wildcards: {
            key: study.dataset(wildcards.dataset).get(key)
            for key in ("barcodes", "platemap_columns", "annotations", "controls")
        },
        code=code_of("layout", "ingest"),
    log:
        "<logs>/{dataset}/layout.log",
    benchmark:
        "<benchmarks>/{dataset}/layout.tsv"
    threads: 1
    resources:
        mem_mb=memory(500),
    conda:
        "../envs/ingest.yaml"
    script:
        "../scripts/layout.py"


rule preflight:
    """List everything wrong with the inputs and what the run will take; reads headers, no pixels.

    The list itself is not declared as output: it must survive the errors that it reports.
    """
    output:
        passed=touch("<results>/preflight.passed"),
    params:
        config=lambda wildcards: dict(config),
        folder=study.results,
        # The folders of images are no inputs, so only the hour tells that they must be looked at again.
        asked=lambda wildcards: time.time(),
        code=code_of("preflight", "ingest"),
    log:
        "<logs>/preflight.log",
    benchmark:
        "<benchmarks>/preflight.tsv"
    threads: 4
    resources:
        mem_mb=memory(1000),
    conda:
        "../envs/ingest.yaml"
    script:
        "../scripts/preflight.py"
