"""Figures and report: counts per well and plate, every figure with its data, the ledger, run times, one HTML page."""

from phenoloom.report.spacing import spread


def tables_of_dataset(wildcards):
    """What the counts of a dataset are taken from: the tables of its images, where it has any, and its wells."""
    dataset = wildcards.dataset
    folder = f"<results>/{dataset}"
    chain = next(iter(study.profiles()), None)
    found = {
        "wells": [
            f"{folder}/profiles/{representation}/{chain}/wells/{unit}.parquet"
            for representation in study.representations(dataset)
            if chain
            for unit in study.units(dataset, representation)
        ]
    }
    if study.has_images(dataset):
        plates = study.plates(dataset)
        found["layout"] = f"{folder}/layout.parquet"
        found["index"] = [f"{folder}/index/{plate}.parquet" for plate in plates]
        found["quality"] = [f"{folder}/quality/{plate}.parquet" for plate in plates]
        found["sites"] = [f"{folder}/quality/{plate}.sites.parquet" for plate in plates]
        if study.pipeline(dataset):
            cells = f"{folder}/representations/cellprofiler/cells"
            found["measured"] = [f"{cells}/{plate}.images.parquet" for plate in plates]
    return {kind: paths for kind, paths in found.items() if paths}


def montage_plates(dataset):
    """Plates that the montage draws from, spread over the dataset: their number bounds what it reads."""
    return spread(study.plates(dataset), config["report"]["montage"]["plates"])


def tables_of_montage(wildcards):
    """Index, layout, qualities, illumination functions and masks of the plates that the montage draws from."""
    dataset = wildcards.dataset
    folder = f"<results>/{dataset}"
    plates = montage_plates(dataset)
    found = {
        "layout": f"{folder}/layout.parquet",
        "index": [f"{folder}/index/{plate}.parquet" for plate in plates],
        "sites": [f"{folder}/quality/{plate}.sites.parquet" for plate in plates],
        "functions": [
            f"{folder}/illumination/{plate}/{channel}.npy"
            for plate in plates
            for channel in study.illuminated(dataset)
        ],
    }
    if study.pipeline(dataset):
        found["measurements"] = [
            f"{folder}/cellprofiler/{plate}/{batch}.h5"
            for plate in plates
            for batch in study.batches(dataset, plate)
        ]
    return {kind: paths for kind, paths in found.items() if paths}


def functions_of_dataset(wildcards):
    """All illumination functions of a dataset; none where it corrects none."""
    dataset = wildcards.dataset
    return [
        f"<results>/{dataset}/illumination/{plate}/{channel}.npy"
        for plate in study.plates(dataset)
        for channel in study.illuminated(dataset)
    ]


def ledgers(dataset):
    """The ledgers of all stages of one dataset, in the order of the stages.

    That of the cells holds CellProfiler's failures, that of the profiles those of their plates.
    """
    folder = f"<results>/{dataset}"
    found = []
    if study.has_images(dataset):
        plates = study.plates(dataset)
        batches = [
            (plate, batch)
            for plate in plates
            for batch in study.batches(dataset, plate)
        ]
        found += [
            f"{folder}/index/{plate}/{batch}.ledger.parquet" for plate, batch in batches
        ]
        found += [f"{folder}/quality/{plate}.ledger.parquet" for plate in plates]
        if study.illuminated(dataset):
            found += [
                f"{folder}/illumination/{plate}.ledger.parquet" for plate in plates
            ]
        if study.pipeline(dataset):
            found += [
                f"{folder}/representations/cellprofiler/cells/{plate}.ledger.parquet"
                for plate in plates
            ]
    for representation in study.representations(dataset):
        if study.entered(dataset, representation):
            level = study.level(dataset, representation)
            found.append(
                f"{folder}/representations/{representation}/{level}/all.ledger.parquet"
            )
        found += [
            f"{folder}/profiles/{representation}/{profile}/ledger.parquet"
            for profile in study.profiles()
        ]
    return found


def evaluations(ending):
    """Paths of all evaluations, with an ending."""
    return [
        f"<results>/evaluation/{evaluation}/{dataset}/{representation}/{profile}{ending}"
        for evaluation, dataset, representation, profile in study.evaluations()
    ]


def drawn_profiles(_):
    """Tables of profiles whose own values a figure of the evaluation draws."""
    drawn = ("dose_response", "control_separation")
    found = [
        f"<results>/{dataset}/profiles/{representation}/{profile}/{config['evaluation'][evaluation]['level']}.parquet"
        for evaluation, dataset, representation, profile in study.evaluations()
        if config["evaluation"][evaluation]["metric"] in drawn
    ]
    return list(dict.fromkeys(found))


def profiled(file):
    """Paths of one file of every set of profiles."""
    return [
        f"<results>/{dataset}/profiles/{representation}/{profile}/{file}"
        for dataset, representation, profile in study.combinations()
    ]


def figures(kind):
    """Folders with the figures of one kind, of every dataset that has images."""
    return [f"<results>/figures/{dataset}/{kind}" for dataset in study.image_datasets()]


figure_folders = {
    "plate_heatmaps": [
        f"<results>/figures/{dataset}/plate_heatmaps" for dataset in study.datasets()
    ],
    "illumination": figures("illumination"),
    "montage": figures("montage"),
    "maps": [
        f"<results>/figures/{dataset}/umap/{representation}/{profile}"
        for dataset, representation, profile in study.combinations()
    ],
    "evaluation": ["<results>/figures/evaluation"],
}


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
        mem_mb=memory(600, 10, lambda wildcards: len(study.plates(wildcards.dataset))),
    params:
        features=config["report"]["plates"]["features"],
        code=code_of("dataset_summary", "report"),
    script:
        "../scripts/dataset_summary.py"


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
        mem_mb=memory(600, 5, lambda wildcards: len(study.plates(wildcards.dataset))),
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
        mem_mb=memory(600, 16, lambda wildcards: study.megapixels(wildcards.dataset)),
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
        mem_mb=memory(1200, 30, lambda wildcards: study.megapixels(wildcards.dataset)),
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
            10,
            lambda wildcards: len(
                study.units(wildcards.dataset, wildcards.representation)
            ),
        ),
    params:
        options=config["report"]["umap"],
        seed=config["seed"],
        code=code_of("figure_umap", "report"),
    script:
        "../scripts/figure_umap.py"


rule figure_evaluation:
    """Draw all scores with their intervals and nulls, and what lies behind each of them."""
    input:
        table="<results>/evaluation.parquet",
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
        code=code_of("figure_evaluation", "report"),
    script:
        "../scripts/figure_evaluation.py"


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
        mem_mb=memory(500),
    params:
        code=code_of("ledger", "report"),
    script:
        "../scripts/ledger.py"


rule run_times:
    """Gather time and memory of all jobs from Snakemake's benchmark tables.

    The tables are not inputs: those of a stage that did not run again stay as they are. All that comes before the report
    is an input instead, so that its tables are written by then.
    """
    input:
        "<results>/ledger.parquet",
        [folder for folders in figure_folders.values() for folder in folders],
    output:
        table="<results>/run_times.parquet",
        figures=report(
            directory("<results>/figures/run_times"),
            patterns=["{name}.svg"],
            caption="../../resources/captions/run_times.rst",
            category="Run",
            labels={"figure": "{name}"},
        ),
    log:
        "<logs>/run_times.log",
    benchmark:
        "<benchmarks>/run_times.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(600),
    params:
        folder=f"{study.results}/benchmarks",
        datasets=study.datasets(),
        code=code_of("run_times", "report"),
    script:
        "../scripts/run_times.py"


rule report:
    """One self-contained HTML page with every figure and table."""
    input:
        **figure_folders,
        run="<results>/figures/run_times",
        plates=[
            f"<results>/{dataset}/summary/plates.parquet"
            for dataset in study.datasets()
        ],
        counts=[
            f"<results>/{dataset}/summary/wells.parquet"
            for dataset in study.datasets()
        ],
        wells=profiled("wells.parquet"),
        treatments=profiled("treatments.parquet"),
        dropped=profiled("dropped.parquet"),
        scores="<results>/evaluation.parquet",
        ledger="<results>/ledger.parquet",
        run_times="<results>/run_times.parquet",
        template=f"{workflow.basedir}/resources/report/report.html.j2",
        style=f"{workflow.basedir}/resources/report/report.css",
        behaviour=f"{workflow.basedir}/resources/report/report.js",
        environments=[
            f"{workflow.basedir}/workflow/envs/{name}.yaml"
            for name in ("ingest", "cellprofiler", "profiles", "report")
        ],
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
        mem_mb=memory(1000),
    params:
        config=config,
        code=code_of("report", "report"),
    script:
        "../scripts/report.py"
