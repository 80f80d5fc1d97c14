"""Quality: focus, saturation, background and foreground of every image, and flags."""


rule quality:
    """Measure the quality of all images of one plate and flag poor ones."""
    input:
        index="<results>/{dataset}/index/{plate}.parquet",
    output:
        images="<results>/{dataset}/quality/{plate}.parquet",
        sites="<results>/{dataset}/quality/{plate}.sites.parquet",
        ledger="<results>/{dataset}/quality/{plate}.ledger.parquet",
    log:
        "<logs>/{dataset}/quality/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/quality/{plate}.tsv"
    conda:
        "../envs/ingest.yaml"
    threads: 2
    resources:
        mem_mb=memory(320, 150, lambda wildcards: study.megapixels(wildcards.dataset)),
        runtime=minutes(20, 0.0025),
    params:
        options=option("datasets/{dataset}/quality"),
        code=code_of("quality", "ingest"),
    script:
        "../scripts/quality.py"
