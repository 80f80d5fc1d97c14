import math


rule simulate:
    """Make the images of one batch of sites of the demo study."""
    output:
        images=directory("<results>/{dataset}/images/{plate}/{batch}"),
    log:
        "<logs>/{dataset}/simulate/{plate}/{batch}.log",
    benchmark:
        "<benchmarks>/{dataset}/simulate/{plate}/{batch}.tsv"
    conda:
        "../envs/ingest.yaml"
    threads: 1
    resources:
        # One site is held at a time: about 60 planes of 4 bytes a pixel on top of the interpreter.
        mem_mb=memory(
            400,
            240e-6,
            lambda wildcards: math.prod(study.image_shape(wildcards.dataset)),
        ),
        runtime=minutes(20, 0.005),
    params:
        options=option("datasets/{dataset}/simulate"),
        sites=lambda wildcards: study.sites(wildcards.dataset, wildcards.plate, wildcards.batch),
        code=code_of("simulate", "ingest"),
    script:
        "../scripts/simulate.py"


rule simulation_truth:
    """Write what the demo study plants in each well, to be compared with what the workflow finds."""
    output:
        truth="<results>/{dataset}/truth.parquet",
    log:
        "<logs>/{dataset}/simulation_truth.log",
    benchmark:
        "<benchmarks>/{dataset}/simulation_truth.tsv"
    conda:
        "../envs/ingest.yaml"
    threads: 1
    resources:
        mem_mb=memory(250),
    params:
        options=option("datasets/{dataset}/simulate"),
        code=code_of("simulation_truth", "ingest"),
    script:
        "../scripts/simulation_truth.py"
