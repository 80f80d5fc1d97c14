"""Illumination: one function per plate and channel, from all sites of the plate."""


rule illumination:
    """Estimate one illumination function per plate and channel from all sites that quality control kept."""
    input:
        index="<results>/{dataset}/index/{plate}.parquet",
        quality="<results>/{dataset}/quality/{plate}.sites.parquet",
    output:
        function="<results>/{dataset}/illumination/{plate}/{channel}.npy",
        preview=report(
            "<results>/{dataset}/illumination/{plate}/{channel}.png",
            category="Illumination",
            subcategory="{dataset}",
            labels={"plate": "{plate}", "channel": "{channel}"},
        ),
        ledger="<results>/{dataset}/illumination/{plate}/{channel}.ledger.parquet",
    params:
        options=option("datasets/{dataset}/illumination"),
        code=code_of("illumination", "ingest"),
    log:
        "<logs>/{dataset}/illumination/{plate}/{channel}.log",
    benchmark:
        "<benchmarks>/{dataset}/illumination/{plate}/{channel}.tsv"
    threads: 2
    resources:
        mem_mb=memory(400, 80, lambda wildcards: study.megapixels(wildcards.dataset)),
    conda:
        "../envs/ingest.yaml"
    script:
        "../scripts/illumination.py"
