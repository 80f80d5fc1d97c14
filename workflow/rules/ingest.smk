"""Ingest: manifests of batches of sites, the index of a plate, the layout of all plates, and what is wrong with both.

`python -m phenoloom prepare` writes manifests of images that exist already before the DAG is built, and rewrites only
those that differ; the rule here is for images that a rule makes, and for plates of a declared geometry.
"""


include: "inputs/ingest.smk"


rule index:
    """Index the images of one batch of sites: its manifest, on which every later job of the batch depends."""
    input:
        unpack(images_of_batch),
    output:
        index="<results>/{dataset}/index/{plate}/{batch}.parquet",
        ledger="<results>/{dataset}/index/{plate}/{batch}.ledger.parquet",
    log:
        "<logs>/{dataset}/index/{plate}/{batch}.log",
    benchmark:
        "<benchmarks>/{dataset}/index/{plate}/{batch}.tsv"
    wildcard_constraints:
        dataset=indexed_by_jobs,
    conda:
        "../envs/ingest.yaml"
    threads: 1
    resources:
        mem_mb=memory(
            200,
            0.1,
            lambda wildcards: study.n_sites(wildcards.dataset, wildcards.plate),
        ),
    params:
        place=lambda wildcards, input: input.get("images") or plate_row(wildcards)[2],
        batch=lambda wildcards: plate_row(wildcards)[0],
        sites=simulated(lambda wildcards: study.sites(wildcards.dataset, wildcards.plate, wildcards.batch)),
        shape=simulated(lambda wildcards: study.image_shape(wildcards.dataset)[::-1]),
        geometry=option("datasets/{dataset}/geometry"),
        size=lambda wildcards: study.batch_size(wildcards.dataset),
        channels=option("datasets/{dataset}/channels"),
        images=option("datasets/{dataset}/images"),
        folder=f"{study.results}/{{dataset}}/index",
        code=code_of("index", "ingest"),
    script:
        "../scripts/index.py"


rule plate_index:
    """Join the manifests of one plate, and their ledgers."""
    input:
        batches=per_batch("index", ".parquet"),
        ledgers=per_batch("index", ".ledger.parquet"),
    output:
        index="<results>/{dataset}/index/{plate}.parquet",
        ledger="<results>/{dataset}/index/{plate}.ledger.parquet",
    log:
        "<logs>/{dataset}/plate_index/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/plate_index/{plate}.tsv"
    wildcard_constraints:
        dataset=indexed_by_jobs,
    conda:
        "../envs/ingest.yaml"
    threads: 1
    resources:
        mem_mb=memory(
            220,
            0.05,
            lambda wildcards: study.n_sites(wildcards.dataset, wildcards.plate),
        ),
    params:
        code=code_of("plate_index", "ingest"),
    script:
        "../scripts/plate_index.py"


rule layout:
    """Join plate maps, barcodes, annotations and controls into one row per well."""
    input:
        unpack(files_of_layout),
    output:
        layout="<results>/{dataset}/layout.parquet",
    log:
        "<logs>/{dataset}/layout.log",
    benchmark:
        "<benchmarks>/{dataset}/layout.tsv"
    conda:
        "../envs/ingest.yaml"
    threads: 1
    resources:
        mem_mb=memory(250),
    params:
        layout=lambda wildcards: {
            key: study.dataset(wildcards.dataset).get(key)
            for key in ("barcodes", "platemap_columns", "annotations", "controls", "exclude_plates")
        },
        code=code_of("layout", "ingest"),
    script:
        "../scripts/layout.py"


rule preflight:
    """List everything wrong with the inputs and what the run will take; reads headers, no pixels.

    The list itself is not declared as output: it must survive the errors that it reports.
    """
    output:
        passed=touch("<results>/preflight.passed"),
    log:
        "<logs>/preflight.log",
    benchmark:
        "<benchmarks>/preflight.tsv"
    conda:
        "../envs/ingest.yaml"
    threads: 4
    resources:
        mem_mb=memory(600),
    params:
        config=lambda wildcards: dict(config),
        folder=lambda wildcards, output: os.path.dirname(output.passed),
        # The folders of images are no inputs, so only the hour tells that they must be looked at again.
        asked=lambda wildcards: time.time(),
        code=code_of("preflight", "ingest"),
    script:
        "../scripts/preflight.py"
