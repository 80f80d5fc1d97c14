"""A stand-in for the rules that train models, which the workflow does not have yet; part of the cluster tests only.

It asks for a GPU as they will, leaves checkpoints where they will, and resumes as they must. It learns nothing.
"""


rule train_stand_in:
    """Stand in for training: steps that depend on all steps before them, with a checkpoint every few."""
    input:
        for_images("<results>/{dataset}/index/{plate}.parquet"),
    output:
        table="<results>/training/stand_in.parquet",
    log:
        "<logs>/training/stand_in.log",
    benchmark:
        "<benchmarks>/training/stand_in.tsv"
    conda:
        "../workflow/envs/profiles.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=memory(1000),
        runtime=lambda wildcards, attempt: attempt,
    params:
        steps=40,
        seed=config["seed"],
        # Beside the outputs and not declared: Snakemake removes what a failed job declared.
        checkpoints=f"{study.results}/training/checkpoints",
    script:
        "training.py"
