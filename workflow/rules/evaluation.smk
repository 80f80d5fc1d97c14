"""Evaluation: every metric of the config on every profile that it names, and one table of all."""


include: "inputs/evaluation.smk"


rule evaluate:
    """Run one evaluation on one profile: a table per unit and the rows of the evaluation table."""
    input:
        profiles=evaluated_profiles,
    output:
        details="<results>/evaluation/{evaluation}/{dataset}/{representation}/{profile}.parquet",
        summary="<results>/evaluation/{evaluation}/{dataset}/{representation}/{profile}.summary.parquet",
        ledger="<results>/evaluation/{evaluation}/{dataset}/{representation}/{profile}.ledger.parquet",
    log:
        "<logs>/{dataset}/evaluation/{evaluation}/{representation}/{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/evaluation/{evaluation}/{representation}/{profile}.tsv"
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        # A block of similarities and its ranks take some 300 MB; the profiles of a plate 384 x 2,000 values, copied.
        mem_mb=memory(
            1000,
            1,
            lambda wildcards: 60 * len(study.units(wildcards.dataset, wildcards.representation))
            + square_mb(wildcards, 4),
        ),
    params:
        options=evaluation_options,
        seed=config["seed"],
        code=code_of("evaluate", "profiles"),
    script:
        "../scripts/evaluate.py"


rule evaluation_table:
    """Join the summaries of all evaluations into one table, as Parquet and CSV."""
    input:
        summaries=[
            f"<results>/evaluation/{evaluation}/{dataset}/{representation}/{profile}.summary.parquet"
            for evaluation, dataset, representation, profile in study.evaluations()
        ],
    output:
        parquet="<results>/evaluation.parquet",
        csv=report("<results>/evaluation.csv", category="Evaluation"),
    log:
        "<logs>/evaluation_table.log",
    benchmark:
        "<benchmarks>/evaluation_table.tsv"
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        mem_mb=memory(300),
    params:
        code=code_of("evaluation_table", "profiles"),
    script:
        "../scripts/evaluation_table.py"


rule comparison:
    """Compare profiles with a reference, unit by unit, in every evaluation that is a mean over units."""
    input:
        details=details_of(2),
        against=details_of(3),
    output:
        parquet="<results>/comparison.parquet",
        csv=report("<results>/comparison.csv", category="Evaluation"),
    log:
        "<logs>/comparison.log",
    benchmark:
        "<benchmarks>/comparison.tsv"
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
    params:
        pairs=compared,
        options=options_of_comparisons(),
        seed=config["seed"] if compared else 0,
        code=code_of("comparison", "profiles"),
    script:
        "../scripts/comparison.py"


rule aggregation_scores:
    """What a learned aggregation retrieves beside other profiles of the same cells, plate by plate, and what both store."""
    input:
        wells=profiles_beside,
        # For their sizes; the wells come of them.
        arrays=cell_sets_of_all_plates(".npy"),
        tables=tables_of_all_plates,
    output:
        plates="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/plates.parquet",
        strata="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/strata.parquet",
        csv=report(
            "<results>/{dataset}/profiles/{representation}/{profile}/aggregation/strata.csv",
            category="Evaluation",
            labels={"representation": "{representation}", "profile": "{profile}"},
        ),
        mechanisms="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/mechanisms.parquet",
        compounds="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/compounds.parquet",
        sizes="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/sizes.parquet",
    log:
        "<logs>/{dataset}/aggregation_scores/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/aggregation_scores/{representation}.{profile}.tsv"
    wildcard_constraints:
        profile=one_of(_learned_chains),
    conda:
        "../envs/profiles.yaml"
    threads: 1
    resources:
        # The wells of all profiles, 384 x 2,000 values a plate, copied; a block of similarities and its ranks.
        mem_mb=memory(
            1200,
            25,
            lambda wildcards: len(study.units(wildcards.dataset, wildcards.representation))
            * len(study.profiles_of(wildcards.dataset, wildcards.representation)),
        ),
    params:
        options=lambda wildcards: {name: learned_step(wildcards)[name] for name in ("label", "samples")},
        seed=config["seed"],
        code=code_of("aggregation_scores", "profiles"),
    script:
        "../scripts/aggregation_scores.py"
