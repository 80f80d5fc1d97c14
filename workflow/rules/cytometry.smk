"""Cytometry: images of single events to stacks, their classical features, and profiles of single cells.

`python -m phenoloom prepare` writes the manifest of each sample's files before the DAG is built.
"""


include: "inputs/cytometry.smk"


rule manifest:
    """List the files of a sample: which image is which event, channel or montage, with size and digest of each."""
    output:
        manifest="<results>/{dataset}/manifests/{sample}.parquet",
        ledger="<results>/{dataset}/manifests/{sample}.ledger.parquet",
    log:
        "<logs>/{dataset}/manifest/{sample}.log",
    benchmark:
        "<benchmarks>/{dataset}/manifest/{sample}.tsv"
    wildcard_constraints:
        dataset=listed_by_jobs,
    conda:
        "../envs/cytometry.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
    params:
        row=lambda wildcards: study.sample_row(wildcards.dataset, wildcards.sample),
        block=lambda wildcards: {name: study.dataset(wildcards.dataset)[name] for name in ("channels", "events")},
        code=code_of("manifest", "cytometry"),
    script:
        "../scripts/manifest.py"


rule events:
    """Join a sample's images to the instrument's events, take off the background and put them on one canvas."""
    input:
        manifest="<results>/{dataset}/manifests/{sample}.parquet",
    output:
        events="<results>/{dataset}/events/{sample}.parquet",
        stack="<results>/{dataset}/stacks/{sample}.npy",
        frames="<results>/{dataset}/stacks/{sample}.frames.parquet",
        ledger="<results>/{dataset}/events/{sample}.ledger.parquet",
    log:
        "<logs>/{dataset}/events/{sample}.log",
    benchmark:
        "<benchmarks>/{dataset}/events/{sample}.tsv"
    conda:
        "../envs/cytometry.yaml"
    threads: 2
    resources:
        mem_mb=memory(400, 1, events_memory),
        runtime=event_minutes(10, 0.0002),
    params:
        row=lambda wildcards: study.sample_row(wildcards.dataset, wildcards.sample),
        block=events_block,
        code=code_of("events", "cytometry"),
    script:
        "../scripts/events.py"


rule crop_features:
    """Measure classical image features of every event of a sample, per channel and between channels."""
    input:
        stack="<results>/{dataset}/stacks/{sample}.npy",
        frames="<results>/{dataset}/stacks/{sample}.frames.parquet",
        events="<results>/{dataset}/events/{sample}.parquet",
    output:
        cells="<results>/{dataset}/representations/classical/cells/{sample}.parquet",
    log:
        "<logs>/{dataset}/crop_features/{sample}.log",
    benchmark:
        "<benchmarks>/{dataset}/crop_features/{sample}.tsv"
    conda:
        "../envs/cytometry.yaml"
    threads: 2
    resources:
        mem_mb=memory(700),
        runtime=event_minutes(10, 0.0005),
    params:
        channels=lambda wildcards: study.channels(wildcards.dataset),
        options=option("datasets/{dataset}/features/classical"),
        rescale=option("datasets/{dataset}/crops/rescale"),
        code=code_of("crop_features", "cytometry"),
    script:
        "../scripts/crop_features.py"


rule merge_features:
    """Put the classical features of several datasets together, under the roles of their channels."""
    input:
        unpack(merged_tables),
    output:
        cells="<results>/{dataset}/representations/classical/cells/all.parquet",
        ledger="<results>/{dataset}/representations/classical/cells/all.ledger.parquet",
    log:
        "<logs>/{dataset}/merge_features.log",
    benchmark:
        "<benchmarks>/{dataset}/merge_features.tsv"
    wildcard_constraints:
        dataset=_merged,
    conda:
        "../envs/cytometry.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
    params:
        merge=option("datasets/{dataset}/merge"),
        channels=lambda wildcards: {name: study.channels(name) for name in study.merged(wildcards.dataset)},
        code=code_of("merge_features", "cytometry"),
    script:
        "../scripts/merge_features.py"


rule cell_profile:
    """Fit a chain of steps at the level of cells on its training split, and apply it to all cells of a dataset."""
    input:
        cells=cell_tables,
    output:
        cells="<results>/{dataset}/cell_profiles/{representation}/{profile}/cells.parquet",
        model="<results>/{dataset}/cell_profiles/{representation}/{profile}/model.npz",
        dropped="<results>/{dataset}/cell_profiles/{representation}/{profile}/dropped.parquet",
        ledger="<results>/{dataset}/cell_profiles/{representation}/{profile}/ledger.parquet",
    log:
        "<logs>/{dataset}/cell_profile/{representation}.{profile}.log",
    benchmark:
        "<benchmarks>/{dataset}/cell_profile/{representation}.{profile}.tsv"
    conda:
        "../envs/cytometry.yaml"
    threads: 2
    resources:
        mem_mb=memory(2500, 0.003, lambda wildcards: study.n_events(wildcards.dataset)),
        runtime=lambda wildcards, attempt: attempt * 120,
    params:
        steps=option("cell_profiles/{profile}"),
        seed=config["seed"],
        code=code_of("cell_profile", "cytometry"),
    script:
        "../scripts/cell_profile.py"


rule anndata:
    """Write the cells of a dataset as AnnData: features, metadata, and embedding, map and clusters of every profile."""
    input:
        cells=cell_tables,
        profiles=cell_profiles_of("cells.parquet"),
        models=cell_profiles_of("model.npz"),
    output:
        "<results>/{dataset}/anndata/{representation}.h5ad",
    log:
        "<logs>/{dataset}/anndata/{representation}.log",
    benchmark:
        "<benchmarks>/{dataset}/anndata/{representation}.tsv"
    conda:
        "../envs/cytometry.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 0.002, lambda wildcards: study.n_events(wildcards.dataset)),
        runtime=lambda wildcards, attempt: attempt * (30 + 5 * len(config["cell_profiles"])),
    params:
        chains=chains_of_cells,
        channels=lambda wildcards: roles_of(wildcards.dataset),
        options=map_options,
        seed=config["seed"],
        code=code_of("anndata_file", "cytometry"),
    script:
        "../scripts/anndata_file.py"
