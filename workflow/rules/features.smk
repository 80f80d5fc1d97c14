"""Features: CellProfiler over batches of sites, and the single-cell table of each plate."""

import glob
import json

from phenoloom.cellprofiler import pipeline as pipelines


def pipeline_of(wildcards):
    """The .cppipe of a dataset."""
    return study.pipeline(wildcards.dataset)["pipeline"]


def illuminated(wildcards):
    """Channels whose illumination function the pipeline asks for."""
    block = study.pipeline(wildcards.dataset)
    try:
        return pipelines.illuminated_channels(block["pipeline"], study.channels(wildcards.dataset), block["images"])
    except ValueError as error:
        raise WorkflowError(str(error))


def illumination_functions(wildcards):
    """Paths of the illumination functions that the pipeline asks for."""
    return [
        f"<results>/{wildcards.dataset}/illumination/{wildcards.plate}/{channel}.npy" for channel in illuminated(wildcards)
    ]


def extra_files(wildcards):
    """Files that the pipeline gets besides the images of the sites; patterns are resolved."""
    block = study.pipeline(wildcards.dataset)
    fixed = [entry["file"] for entry in block["images"].values() if isinstance(entry, dict) and "file" in entry]
    patterns = [*block["files"], *block["metadata_files"]]
    return fixed + [path for pattern in patterns for path in sorted(glob.glob(pattern)) or [pattern]]


def runner_options(wildcards):
    """The options that change what the runner computes, as JSON."""
    block = study.pipeline(wildcards.dataset)
    names = ("images", "metadata", "files", "metadata_files", "masks", "seconds_limit")
    return json.dumps({name: block[name] for name in names}, sort_keys=True)


def per_batch(ending):
    """Input function: a file of every batch of a plate."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/cellprofiler/{wildcards.plate}"
        return [f"{folder}/{batch}{ending}" for batch in study.batches(wildcards.dataset, wildcards.plate)]

    return paths


#: What the pipelines write themselves (images, tables) is kept only where a study asks for it.
_files = (
    {"files": "<results>/{dataset}/cellprofiler/{plate}/{batch}.output.zip"}
    if any((study.pipeline(dataset) or {}).get("keep_output") for dataset in study.datasets())
    else {}
)


rule cellprofiler:
    """Run the CellProfiler pipeline over one batch of sites; a site that fails goes to the ledger."""
    input:
        index="<results>/{dataset}/index/{plate}/{batch}.parquet",
        pipeline=pipeline_of,
        illumination=illumination_functions,
        extra=extra_files,
    output:
        measurements="<results>/{dataset}/cellprofiler/{plate}/{batch}.h5",
        ledger="<results>/{dataset}/cellprofiler/{plate}/{batch}.ledger.jsonl",
        **_files,
    params:
        channels=lambda wildcards: study.channels(wildcards.dataset),
        illuminated=illuminated,
        options=runner_options,
        code=code_of("cellprofiler", "cellprofiler"),
    log:
        "<logs>/{dataset}/cellprofiler/{plate}/{batch}.log",
    benchmark:
        "<benchmarks>/{dataset}/cellprofiler/{plate}/{batch}.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: int(
            attempt
            * (
                study.pipeline(wildcards.dataset)["memory_mb"]
                + 60 * study.megapixels(wildcards.dataset) * len(study.channels(wildcards.dataset))
            )
        ),
        runtime=lambda wildcards, attempt: int(
            attempt
            * (
                10
                + study.n_sites(wildcards.dataset, wildcards.plate, wildcards.batch)
                * study.pipeline(wildcards.dataset)["seconds_per_site"]
                / 20
            )
        ),
    conda:
        "../envs/cellprofiler.yaml"
    shell:
        "python {workflow.basedir:q}/workflow/scripts/cellprofiler.py --index {input.index:q} --pipeline {input.pipeline:q} "
        "--channels {params.channels:q} --illuminated {params.illuminated:q} --illumination {input.illumination:q} "
        "--options {params.options:q} --output {output.measurements:q} --ledger {output.ledger:q} "
        + ("--files {output.files:q} " if _files else "")
        + "> {log:q} 2>&1"


rule cells:
    """Join the compartments of one plate's cells into its single-cell table."""
    input:
        batches=per_batch(".h5"),
        failures=per_batch(".ledger.jsonl"),
        quality="<results>/{dataset}/quality/{plate}.sites.parquet",
    output:
        cells="<results>/{dataset}/representations/cellprofiler/cells/{plate}.parquet",
        images="<results>/{dataset}/representations/cellprofiler/cells/{plate}.images.parquet",
        ledger="<results>/{dataset}/representations/cellprofiler/cells/{plate}.ledger.parquet",
    params:
        options=option("datasets/{dataset}/cells"),
        coverage=config["coverage"],
        code=code_of("cells", "profiles"),
    log:
        "<logs>/{dataset}/cells/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/cells/{plate}.tsv"
    threads: 1
    resources:
        mem_mb=memory(1500, 0.2, lambda wildcards: study.n_sites(wildcards.dataset, wildcards.plate)),
    conda:
        "../envs/profiles.yaml"
    script:
        "../scripts/cells.py"
