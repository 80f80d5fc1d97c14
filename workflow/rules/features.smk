"""Features: CellProfiler over batches of sites, and the single-cell table of each plate."""


include: "inputs/features.smk"


rule cellprofiler:
    """Run the CellProfiler pipeline over one batch of sites; a site that fails goes to the ledger."""
    input:
        index="<results>/{dataset}/index/{plate}/{batch}.parquet",
        pipeline=pipeline_of,
        illumination=illumination_functions,
        extra=extra_files,
    output:
        **_files,
        measurements="<results>/{dataset}/cellprofiler/{plate}/{batch}.h5",
        ledger="<results>/{dataset}/cellprofiler/{plate}/{batch}.ledger.jsonl",
    log:
        "<logs>/{dataset}/cellprofiler/{plate}/{batch}.log",
    benchmark:
        "<benchmarks>/{dataset}/cellprofiler/{plate}/{batch}.tsv"
    conda:
        "../envs/cellprofiler.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: int(
            attempt
            * (
                SNAKEMAKE_MB
                + study.pipeline(wildcards.dataset)["memory_mb"]
                + 60 * study.megapixels(wildcards.dataset) * len(study.channels(wildcards.dataset))
            )
        ),
        runtime=lambda wildcards, attempt: int(
            attempt
            * (
                10
                + study.n_sites(wildcards.dataset, wildcards.plate, wildcards.batch)
                * study.seconds_per_site(wildcards.dataset)
                / 20
            )
        ),
    params:
        channels=lambda wildcards: study.channels(wildcards.dataset),
        illuminated=illuminated,
        options=runner_options,
        code=code_of("cellprofiler", "cellprofiler"),
    shell:
        f"python {shlex.quote(SCRIPTS)}/cellprofiler.py "
        "--index {input.index:q} --pipeline {input.pipeline:q} "
        "--channels {params.channels:q} --illuminated {params.illuminated:q} --illumination {input.illumination:q} "
        "--options {params.options:q} --output {output.measurements:q} --ledger {output.ledger:q} "
        + ("--files {output.files:q} " if _files else "")
        + "> {log:q} 2>&1"


rule cells:
    """Join the compartments of one plate's cells into its single-cell table."""
    input:
        batches=per_batch("cellprofiler", ".h5"),
        failures=per_batch("cellprofiler", ".ledger.jsonl"),
        unusable="<results>/{dataset}/index/{plate}.ledger.parquet",
        quality="<results>/{dataset}/quality/{plate}.sites.parquet",
    output:
        cells="<results>/{dataset}/representations/cellprofiler/cells/{plate}.parquet",
        images="<results>/{dataset}/representations/cellprofiler/cells/{plate}.images.parquet",
        ledger="<results>/{dataset}/representations/cellprofiler/cells/{plate}.ledger.parquet",
    log:
        "<logs>/{dataset}/cells/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/cells/{plate}.tsv"
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        mem_mb=memory(
            1600,
            0.2,
            lambda wildcards: study.n_sites(wildcards.dataset, wildcards.plate),
        ),
        runtime=minutes(20, 0.0005),
    params:
        options=option("datasets/{dataset}/cells"),
        coverage=config["coverage"],
        code=code_of("cells", "profiles"),
    script:
        "../scripts/cells.py"
