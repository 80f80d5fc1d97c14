"""Figures and report: counts per well and plate, every figure with its data, the ledger, run times, one HTML page."""


include: "inputs/report.smk"


rule dataset_summary:
    """Count what was laid out, imaged, kept and measured, per well and per plate of one dataset."""
    input:
        unpack(tables_of_dataset),
    output:
        plates="<results>/{dataset}/summary/plates.parquet",
        wells="<results>/{dataset}/summary/wells.parquet",
        quality="<results>/{dataset}/summary/quality.parquet",
    log:
        "<logs>/{dataset}/dataset_summary.log",
    benchmark:
        "<benchmarks>/{dataset}/dataset_summary.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(400, 10, lambda wildcards: len(study.plates(wildcards.dataset))),
    params:
        features=config["report"]["plates"]["features"],
        code=code_of("dataset_summary", "report"),
    script:
        "../scripts/dataset_summary.py"


rule sample_summary:
    """Count the events found, lost and kept of each sample of a dataset of single cells, and the cells of each label."""
    input:
        unpack(events_of_dataset),
    output:
        samples="<results>/{dataset}/summary/samples.parquet",
        labels="<results>/{dataset}/summary/labels.parquet",
        lost="<results>/{dataset}/summary/lost.parquet",
    log:
        "<logs>/{dataset}/sample_summary.log",
    benchmark:
        "<benchmarks>/{dataset}/sample_summary.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(300, 0.0005, lambda wildcards: study.n_events(wildcards.dataset)),
    params:
        label=config["report"]["cells"]["label"],
        code=code_of("sample_summary", "report"),
    script:
        "../scripts/sample_summary.py"


rule figure_plate_heatmaps:
    """Draw layout, cells, quality and features of the wells of one dataset, plate by plate."""
    input:
        wells="<results>/{dataset}/summary/wells.parquet",
        quality="<results>/{dataset}/summary/quality.parquet",
    output:
        report(
            directory("<results>/figures/{dataset}/plate_heatmaps"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/plate_heatmaps.rst",
            category="Plates",
            subcategory="{dataset}",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/{dataset}/figure_plate_heatmaps.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_plate_heatmaps.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(400, 5, lambda wildcards: len(study.plates(wildcards.dataset))),
    params:
        options=config["report"]["plates"],
        channels=lambda wildcards: study.channels(wildcards.dataset),
        code=code_of("figure_plate_heatmaps", "report"),
    script:
        "../scripts/figure_plate_heatmaps.py"


rule figure_illumination:
    """Draw the illumination functions of one dataset and how strong they are."""
    input:
        functions=functions_of_dataset,
    output:
        report(
            directory("<results>/figures/{dataset}/illumination"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/illumination.rst",
            category="Illumination",
            subcategory="{dataset}",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/{dataset}/figure_illumination.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_illumination.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        # One function at a time as float32, with a copy of its finite pixels; small pictures of all of them.
        mem_mb=memory(350, 16, lambda wildcards: study.megapixels(wildcards.dataset)),
    params:
        channels=lambda wildcards: study.channels(wildcards.dataset),
        code=code_of("figure_illumination", "report"),
    script:
        "../scripts/figure_illumination.py"


rule figure_montage:
    """Show the same few fields of each perturbation with the outlines of the objects, and every channel by itself."""
    input:
        unpack(tables_of_montage),
    output:
        report(
            directory("<results>/figures/{dataset}/montage"),
            patterns=["{name}.png"],
            caption="../../resources/captions/montage.rst",
            category="Montage",
            subcategory="{dataset}",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/{dataset}/figure_montage.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_montage.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 30, lambda wildcards: study.megapixels(wildcards.dataset)),
    params:
        options=config["report"]["montage"],
        channels=option("datasets/{dataset}/channels"),
        n_plates=lambda wildcards: len(study.plates(wildcards.dataset)),
        code=code_of("figure_montage", "report"),
    script:
        "../scripts/figure_montage.py"


rule figure_umap:
    """Map the well profiles in two dimensions, coloured by batch, plate, perturbation and MoA."""
    input:
        wells="<results>/{dataset}/profiles/{representation}/{profile}/wells.parquet",
    output:
        report(
            directory("<results>/figures/{dataset}/umap/{representation}/{profile}"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/umap.rst",
            category="Maps",
            subcategory="{dataset}",
            labels={"representation": "{representation}", "profile": "{profile}"},
        ),
    log:
        "<logs>/{dataset}/figure_umap/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_umap/{representation}.{profile}.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(
            1500,
            1,
            lambda wildcards: 10 * len(study.units(wildcards.dataset, wildcards.representation))
            + square_mb(wildcards, 6),
        ),
    params:
        options=config["report"]["umap"],
        seed=config["seed"],
        code=code_of("figure_umap", "report"),
    script:
        "../scripts/figure_umap.py"


rule figure_cells:
    """Map the cells of a dataset by every cell profile, and show features and pictures of classes and clusters."""
    input:
        unpack(figure_of_cells),
    output:
        report(
            directory("<results>/figures/{dataset}/cells/{representation}"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/cells.rst",
            category="Cells",
            subcategory="{dataset}",
            labels={"representation": "{representation}", "figure": "{name}"},
        ),
    log:
        "<logs>/{dataset}/figure_cells/{representation}.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_cells/{representation}.tsv"
    conda:
        "../envs/cytometry.yaml"
    threads: 1
    resources:
        mem_mb=memory(1200, 0.0005, lambda wildcards: study.n_events(wildcards.dataset)),
    params:
        options=config["report"]["cells"],
        chains=chains_of_cells,
        kinds=kinds_of,
        seed=config["seed"],
        code=code_of("figure_cells", "cytometry"),
    script:
        "../scripts/figure_cells.py"


rule figure_training:
    """Draw loss, learning rate and speed of all trainings of a dataset."""
    input:
        logs=logs_of_training,
    output:
        report(
            directory("<results>/figures/{dataset}/training"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/training.rst",
            category="Models",
            subcategory="{dataset}",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/{dataset}/figure_training.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_training.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(400),
    params:
        code=code_of("figure_training", "report"),
    script:
        "../scripts/figure_training.py"


rule over_training:
    """Scores of models by epoch: at the end, on average, and at the best epoch, which the labels chose."""
    input:
        table="<results>/evaluation.parquet",
    output:
        table="<results>/over_training.parquet",
        csv=report("<results>/over_training.csv", category="Models"),
        figures=report(
            directory("<results>/figures/over_training"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/over_training.rst",
            category="Models",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/over_training.log",
    benchmark:
        "<benchmarks>/over_training.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(400),
    params:
        snapshots=representations_by_epoch,
        code=code_of("over_training", "report"),
    script:
        "../scripts/over_training.py"


rule figure_attention:
    """Show where the heads of a network look, for a few items; the arrays lie beside the weights."""
    input:
        weights="<results>/{dataset}/models/{model}/{part}/model.safetensors",
        tensors=lambda wildcards: tensors_of(wildcards.model, ".npy"),
        rows=lambda wildcards: tensors_of(wildcards.model, ".items.parquet"),
    output:
        figures=report(
            directory("<results>/figures/{dataset}/attention/{model}/{part}"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/attention.rst",
            category="Models",
            subcategory="{dataset}",
            labels={"model": "{model}", "network": "{part}", "figure": "{name}"},
        ),
        arrays="<results>/{dataset}/models/{model}/{part}/attention.npz",
    log:
        "<logs>/{dataset}/figure_attention/{model}.{part}.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_attention/{model}.{part}.tsv"
    wildcard_constraints:
        model=one_of(study.models()),
        part="[A-Za-z0-9_-]+",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
    params:
        embed=option("models/{model}/embed"),
        number=config["report"]["attention"]["items"],
        model=lambda wildcards: wildcards.model,
        part=lambda wildcards: wildcards.part,
        seed=config["seed"],
        code=code_of("figure_attention", "torch"),
    script:
        "../scripts/figure_attention.py"


rule figure_relevance:
    """Draw which cells a learned aggregation rests on: features that go with relevance, and cells of either end."""
    input:
        unpack(files_of_relevance),
    output:
        report(
            directory("<results>/figures/{dataset}/relevance/{representation}/{profile}"),
            patterns=["{name}.png"],
            caption="../../resources/captions/relevance.rst",
            category="Learned aggregation",
            subcategory="{dataset}",
            labels={"representation": "{representation}", "profile": "{profile}", "figure": "{name}"},
        ),
    log:
        "<logs>/{dataset}/figure_relevance/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_relevance/{representation}.{profile}.tsv"
    wildcard_constraints:
        profile=one_of(_learned_chains),
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        # A field in all channels at a time, as it is and corrected.
        mem_mb=memory(1200, 60, lambda wildcards: study.megapixels(wildcards.dataset)),
    params:
        options=config["report"]["relevance"],
        colours=config["report"]["montage"]["channels"],
        channels=option("datasets/{dataset}/channels"),
        seed=config["seed"],
        code=code_of("figure_relevance", "report"),
    script:
        "../scripts/figure_relevance.py"


rule figure_evaluation:
    """Draw all scores with their intervals and nulls, and what lies behind each of them."""
    input:
        table="<results>/evaluation.parquet",
        comparison="<results>/comparison.parquet",
        details=evaluations(".parquet"),
        profiles=drawn_profiles,
    output:
        report(
            directory("<results>/figures/evaluation"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/evaluation.rst",
            category="Evaluation",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/figure_evaluation.log",
    benchmark:
        "<benchmarks>/figure_evaluation.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
    params:
        evaluations=config["evaluation"],
        chains=config["cell_profiles"],
        code=code_of("figure_evaluation", "report"),
    script:
        "../scripts/figure_evaluation.py"


rule figure_aggregation:
    """Draw what a learned aggregation retrieves beside other profiles of the same cells, and how it was trained."""
    input:
        plates="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/plates.parquet",
        strata="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/strata.parquet",
        mechanisms="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/mechanisms.parquet",
        compounds="<results>/{dataset}/profiles/{representation}/{profile}/aggregation/compounds.parquet",
        wells=lambda wildcards: profiles_beside(wildcards)[:2],
        log="<results>/{dataset}/profiles/{representation}/{profile}/deep_sets/training.csv",
    output:
        report(
            directory("<results>/figures/{dataset}/aggregation/{representation}/{profile}"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/aggregation.rst",
            category="Evaluation",
            subcategory="{dataset}",
            labels={"representation": "{representation}", "profile": "{profile}", "figure": "{name}"},
        ),
    log:
        "<logs>/{dataset}/figure_aggregation/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/figure_aggregation/{representation}.{profile}.tsv"
    wildcard_constraints:
        profile=one_of(_learned_chains),
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(
            1500,
            20,
            lambda wildcards: len(study.units(wildcards.dataset, wildcards.representation)),
        ),
    params:
        options=config["report"]["umap"],
        seed=config["seed"],
        code=code_of("figure_aggregation", "report"),
    script:
        "../scripts/figure_aggregation.py"


rule ledger:
    """Join the ledgers of all stages: everything that could not be used, where and why."""
    input:
        [path for dataset in study.datasets() for path in ledgers(dataset)],
        evaluations(".ledger.parquet"),
    output:
        "<results>/ledger.parquet",
    log:
        "<logs>/ledger.log",
    benchmark:
        "<benchmarks>/ledger.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(300),
    params:
        excluded={dataset: study.excluded(dataset) for dataset in study.datasets()},
        code=code_of("ledger", "report"),
    script:
        "../scripts/ledger.py"


rule run_times:
    """Gather time and memory of all jobs up to the evaluation from Snakemake's benchmark tables.

    The tables are not inputs: those of a stage that did not run again stay as they are. What ends the stages is an input
    instead, so that their tables are written by then. Figures are not among them, for they are made from this table and
    its like and must not change it when they are made again.
    """
    input:
        ledger="<results>/ledger.parquet",
        scores="<results>/evaluation.parquet",
        comparison="<results>/comparison.parquet",
        counts=[f"<results>/{dataset}/summary/plates.parquet" for dataset in study.plate_datasets()],
        samples=counted("samples.parquet"),
        aggregation=aggregated("strata.parquet"),
    output:
        table="<results>/run_times.parquet",
    log:
        "<logs>/run_times.log",
    benchmark:
        "<benchmarks>/run_times.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(350),
    params:
        folder=f"{study.results}/benchmarks",
        datasets=study.datasets(),
        code=code_of("run_times", "report"),
    script:
        "../scripts/run_times.py"


rule figure_run_times:
    """Draw time and memory of all stages."""
    input:
        table="<results>/run_times.parquet",
    output:
        report(
            directory("<results>/figures/run_times"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/run_times.rst",
            category="Run",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/figure_run_times.log",
    benchmark:
        "<benchmarks>/figure_run_times.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(350),
    params:
        code=code_of("figure_run_times", "report"),
    script:
        "../scripts/figure_run_times.py"


rule report:
    """One self-contained HTML page with every figure and table."""
    input:
        **figure_folders,
        plates=[f"<results>/{dataset}/summary/plates.parquet" for dataset in study.plate_datasets()],
        counts=[f"<results>/{dataset}/summary/wells.parquet" for dataset in study.plate_datasets()],
        wells=profiled("wells.parquet"),
        treatments=profiled("treatments.parquet"),
        dropped=profiled("dropped.parquet"),
        samples=counted("samples.parquet"),
        labels=counted("labels.parquet"),
        lost=counted("lost.parquet"),
        cards=cards_of_models,
        aggregation_strata=aggregated("strata.parquet"),
        aggregation_sizes=aggregated("sizes.parquet"),
        aggregation_cards=cards_of_aggregations,
        relevance_wells=relevance_tables("wells.parquet"),
        relevance_features=relevance_tables("features.parquet"),
        cell_profiles=cell_profiled("cells.parquet"),
        cells_dropped=cell_profiled("dropped.parquet"),
        scores="<results>/evaluation.parquet",
        comparison="<results>/comparison.parquet",
        ledger="<results>/ledger.parquet",
        run_times="<results>/run_times.parquet",
        template=of_checkout("resources/report/report.html.j2"),
        aggregation_template=of_checkout("resources/report/aggregation.html.j2"),
        relevance_template=of_checkout("resources/report/relevance.html.j2"),
        style=of_checkout("resources/report/report.css"),
        behaviour=of_checkout("resources/report/report.js"),
        # Only listed: a changed pin reruns the rules that use it, and so the report; a comment reruns nothing.
        environments=ancient([of_checkout(f"workflow/envs/{name}.yaml") for name in environments_of_study]),
    output:
        report(
            "<results>/report.html",
            caption="../../resources/captions/report.rst",
            category="Report",
        ),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(600),
    params:
        config=config,
        code=code_of("report", "report"),
    script:
        "../scripts/report.py"
