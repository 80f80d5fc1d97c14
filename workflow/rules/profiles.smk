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
    wildcard_constraints:
        profile=one_of(_averaged),
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        # A projection of the covariances of 2,000 features, and their squares.
        mem_mb=memory(1600, 1000, lambda wildcards: chains.projects(config["profiles"][wildcards.profile])),
    params:
        steps=lambda wildcards: chains.before_aggregate(config["profiles"][wildcards.profile]),
        level=lambda wildcards: study.level(wildcards.dataset, wildcards.representation),
        layout=layout_of_wells,
        seed=seed_of_projection,
        code=code_of("aggregate", "profiles"),
    script:
        "../scripts/aggregate.py"


rule cell_sets:
    """Cells of one plate after the steps before deep_sets, well by well, as the network of these reads them."""
    input:
        unpack(files_of_wells),
        table=unit_table,
        tables=tables_of_all_plates,
    output:
        cells="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.npy",
        wells="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.parquet",
        cell_keys="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.keys.parquet",
        dropped="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.dropped.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.ledger.parquet",
    log:
        "<logs>/{dataset}/cell_sets/{representation}.{profile}/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/cell_sets/{representation}.{profile}/{plate}.tsv"
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        mem_mb=memory(1600),
    params:
        steps=lambda wildcards: chains.before_aggregate(config["profiles"][wildcards.profile]),
        layout=layout_of_wells,
        code=code_of("cell_sets", "profiles"),
    script:
        "../scripts/cell_sets.py"


rule deep_sets:
    """Train the network that makes wells of cells: sets of cells of one compound come near each other."""
    input:
        cells=cell_sets_of_all_plates(".npy"),
        wells=cell_sets_of_all_plates(".parquet"),
    output:
        weights="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/model.safetensors",
        card="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/card.json",
        log="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/training.csv",
        wells="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/wells.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/ledger.parquet",
    log:
        "<logs>/{dataset}/deep_sets/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/deep_sets/{representation}.{profile}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: lambda wildcards: learned_step(wildcards)["threads"]
    resources:
        mem_mb=lambda wildcards, attempt: int(attempt * (SNAKEMAKE_MB + learned_step(wildcards)["memory_mb"])),
        runtime=lambda wildcards: int(60 * learned_step(wildcards)["hours"]),
        gpu=1,
    params:
        options=learning_options,
        seed=config["seed"],
        code=code_of("deep_sets", "torch"),
    script:
        "../scripts/deep_sets.py"


rule aggregate_learned:
    """Wells of one plate by the network of a chain's deep_sets; what it needs of the training is its weights."""
    input:
        cells="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.npy",
        cell_wells="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.parquet",
        dropped="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.dropped.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/cell_sets/{plate}.ledger.parquet",
        weights="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/model.safetensors",
        sides="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/wells.parquet",
    output:
        wells="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.parquet",
        dropped="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.dropped.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/wells/{plate}.ledger.parquet",
    log:
        "<logs>/{dataset}/aggregate_learned/{representation}.{profile}/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/aggregate_learned/{representation}.{profile}/{plate}.tsv"
    wildcard_constraints:
        profile=one_of(_learned_chains),
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=memory(2500),
    params:
        code=code_of("aggregate_learned", "torch"),
    script:
        "../scripts/aggregate_learned.py"


rule relevance:
    """Score which cells of a few plates a learned aggregation rests on, and what these are like."""
    input:
        weights="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/model.safetensors",
        cells=cell_sets_of_relevance(".npy"),
        cell_wells=cell_sets_of_relevance(".parquet"),
        cell_keys=cell_sets_of_relevance(".keys.parquet"),
        wells=per_plate(".parquet"),
        tables=tables_of_all_plates,
    output:
        cells="<results>/{dataset}/profiles/{representation}/{profile}/relevance/cells.parquet",
        wells="<results>/{dataset}/profiles/{representation}/{profile}/relevance/wells.parquet",
        features="<results>/{dataset}/profiles/{representation}/{profile}/relevance/features.parquet",
        ledger="<results>/{dataset}/profiles/{representation}/{profile}/relevance/ledger.parquet",
    log:
        "<logs>/{dataset}/relevance/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/relevance/{representation}.{profile}.tsv"
    wildcard_constraints:
        profile=one_of(_learned_chains),
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        # A well's cells at a time, and the profiles of all wells: 384 of 2,048 numbers take 3 MB, some 25 while read.
        mem_mb=memory(
            2500,
            25,
            lambda wildcards: len(study.units(wildcards.dataset, wildcards.representation)),
        ),
    params:
        options=relevance_options,
        plates=config["report"]["relevance"]["plates"],
        blocklist=lambda wildcards: learned_step(wildcards)["blocklist"],
        code=code_of("relevance", "torch"),
    script:
        "../scripts/relevance.py"


rule profile:
    """Profiles of wells and treatments: the steps after aggregate over all plates, and what they dropped."""
    input:
        wells=per_plate(".parquet"),
        dropped=per_plate(".dropped.parquet"),
        ledgers=per_plate(".ledger.parquet"),
        fit_dropped=of_tvn(".dropped.parquet"),
        fit_ledger=ledger_of_fit,
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
            1,
            lambda wildcards: 20 * len(study.units(wildcards.dataset, wildcards.representation))
            + square_mb(wildcards, 10),
        ),
    params:
        steps=lambda wildcards: chains.after_aggregate(config["profiles"][wildcards.profile]),
        seed=seed_of_chain,
        code=code_of("profile", "profiles"),
    script:
        "../scripts/profile.py"
