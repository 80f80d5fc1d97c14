"""Embeddings: the items of every plate or sample through the networks of a model."""


include: "inputs/embeddings.smk"


rule embed:
    """Embed the items of one plate or sample; what it needs of a network is its weights alone."""
    input:
        tensor=tensor_of_representation(".npy"),
        rows=tensor_of_representation(".items.parquet"),
        split=split_of_representation,
        weights=weights_of_representation,
    output:
        table="<results>/{dataset}/representations/{representation}/{level}/{plate}.parquet",
        images="<results>/{dataset}/representations/{representation}/{level}/{plate}.images.parquet",
        ledger="<results>/{dataset}/representations/{representation}/{level}/{plate}.ledger.parquet",
    log:
        "<logs>/{dataset}/embed/{representation}.{level}/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/embed/{representation}.{level}/{plate}.tsv"
    wildcard_constraints:
        representation=one_of(_learned),
        level="cells|sites",
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=memory(3000),
        gpu=1,
    params:
        options=embedding_options,
        model=lambda wildcards: wildcards.representation,
        unit=lambda wildcards: wildcards.plate,
        channels=lambda wildcards: study.model_channels(study.model_of(wildcards.representation)[0]),
        code=code_of("embed", "torch"),
    script:
        "../scripts/embed.py"
