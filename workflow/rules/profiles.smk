"""Profiles: tables that enter, cells to wells per plate, wells to profiles of wells and treatments."""


include: "inputs/profiles.smk"


rule enter:
    """Bring a table that exists already into the form of a representation, its metadata columns mapped."""
    input:
        entering_files,
    output:
        table="<results>/{dataset}/representations/{representation}/{level}/all.parquet",
        ledger="<results>/{dataset}/representations/{representation}/{level}/all.ledger.parquet",
    log:
        "<logs>/{dataset}/enter/{representation}.{level}.log",
    benchmark:
        "<benchmarks>/{dataset}/enter/{representation}.{level}.tsv"
    wildcard_constraints:
        representation="|".join(_entered) or "(?!)",
        level="cells|sites|wells|treatments",
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        block=option("datasets/{dataset}/representations/{representation}"),
        code=code_of("enter", "profiles"),
    script:
        "../scripts/enter.py"


rule tvn:
    """Fit the typical variation normalisation of a chain on the control sites of all plates."""
    input:
        unpack(files_of_fit),
    output:
        fit="<results>/{dataset}/profiles/{representation}/{profile}/tvn.npz",
        dropped="<results>/{dataset}/profiles/{representation}/{profile}/tvn.dropped.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/tvn.ledger.parquet",
    log:
        "<logs>/{dataset}/tvn/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/tvn/{representation}.{profile}.tsv"
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        # One plate's table a block at a time, and a few squares of the number of features: 2,000 take 32 MB each.
        mem_mb=memory(2000),
    params:
        steps=lambda wildcards: chains.fitted_over_plates(config["profiles"][wildcards.profile]),
        level=lambda wildcards: study.level(wildcards.dataset, wildcards.representation),
        layout=layouts_of_fit,
        code=code_of("tvn", "profiles"),
    script:
        "../scripts/tvn.py"


rule aggregate:
    """Wells of one plate: the steps of the chain up to and including aggregate, annotated with the layout."""
    input:
        unpack(files_of_wells_and_fit),
        table=unit_table,
    output:
        wells="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.parquet",
        dropped="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.dropped.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.ledger.parquet",
    log:
        "<logs>/{dataset}/aggregate/{representation}.{profile}/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/aggregate/{representation}.{profile}/{plate}.tsv"
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        mem_mb=memory(1600),
    params:
        steps=lambda wildcards: chains.before_aggregate(config["profiles"][wildcards.profile]),
        level=lambda wildcards: study.level(wildcards.dataset, wildcards.representation),
        layout=layout_of_wells,
        code=code_of("aggregate", "profiles"),
    script:
        "../scripts/aggregate.py"


rule profile:
    """Profiles of wells and treatments: the steps after aggregate over all plates, and what they dropped."""
    input:
        wells=per_plate(".parquet"),
        dropped=per_plate(".dropped.parquet"),
        ledgers=per_plate(".ledger.parquet"),
        tvn_dropped=of_tvn(".dropped.parquet"),
        tvn_ledger=of_tvn(".ledger.parquet"),
    output:
        wells="<results>/{dataset}/profiles/{representation}/{profile}/wells.parquet",
        treatments="<results>/{dataset}/profiles/{representation}/{profile}/treatments.parquet",
        dropped="<results>/{dataset}/profiles/{representation}/{profile}/dropped.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/ledger.parquet",
    log:
        "<logs>/{dataset}/profile/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/profile/{representation}.{profile}.tsv"
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        mem_mb=memory(
            1600,
            20,
            lambda wildcards: len(study.units(wildcards.dataset, wildcards.representation)),
        ),
    params:
        steps=lambda wildcards: chains.after_aggregate(config["profiles"][wildcards.profile]),
        seed=seed_of_chain,
        code=code_of("profile", "profiles"),
    script:
        "../scripts/profile.py"
