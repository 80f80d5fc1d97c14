"""Tensors: images that networks read, one array per plate or sample with an index row per item."""


include: "inputs/tensors.smk"


rule tensor_fields:
    """Correct and resize the fields of one plate and store them as one array."""
    input:
        index="<results>/{dataset}/index/{plate}.parquet",
        quality="<results>/{dataset}/quality/{plate}.sites.parquet",
        illumination=tensor_illumination,
    output:
        **tensor_files("{plate}"),
    log:
        "<logs>/{dataset}/tensors/{tensor}/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/tensors/{tensor}/{plate}.tsv"
    wildcard_constraints:
        tensor=one_of(study.tensors("fields")),
        dataset=one_of(study.plate_datasets()),
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=memory(500, 100, image_megapixels),
        runtime=minutes(20, 0.004),
    params:
        options=option("datasets/{dataset}/tensors/{tensor}"),
        channels=tensor_channels,
        code=code_of("tensor_fields", "torch"),
    script:
        "../scripts/tensor_fields.py"


rule tensor_crops:
    """Cut the cells of one plate out of its corrected fields and store them as one array."""
    input:
        index="<results>/{dataset}/index/{plate}.parquet",
        quality="<results>/{dataset}/quality/{plate}.sites.parquet",
        illumination=tensor_illumination,
        cells="<results>/{dataset}/representations/cellprofiler/cells/{plate}.parquet",
    output:
        **tensor_files("{plate}"),
    log:
        "<logs>/{dataset}/tensors/{tensor}/{plate}.log",
    benchmark:
        "<benchmarks>/{dataset}/tensors/{tensor}/{plate}.tsv"
    wildcard_constraints:
        tensor=one_of(study.tensors("crops")),
        dataset=one_of(study.plate_datasets()),
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=memory(500, 100, image_megapixels),
        runtime=minutes(20, 0.004),
    params:
        options=option("datasets/{dataset}/tensors/{tensor}"),
        channels=tensor_channels,
        seed=config["seed"],
        code=code_of("tensor_crops", "torch"),
    script:
        "../scripts/tensor_crops.py"


rule tensor_events:
    """Store the events of one sample as one array of integers."""
    input:
        stack="<results>/{dataset}/stacks/{sample}.npy",
        frames="<results>/{dataset}/stacks/{sample}.frames.parquet",
        events="<results>/{dataset}/events/{sample}.parquet",
    output:
        **tensor_files("{sample}"),
    log:
        "<logs>/{dataset}/tensors/{tensor}/{sample}.log",
    benchmark:
        "<benchmarks>/{dataset}/tensors/{tensor}/{sample}.tsv"
    wildcard_constraints:
        tensor="[A-Za-z0-9_-]+",
        dataset=one_of(study.event_datasets()),
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=memory(500),
        runtime=event_minutes(10, 0.0001),
    params:
        options=option("datasets/{dataset}/tensors/{tensor}"),
        channels=tensor_channels,
        code=code_of("tensor_events", "torch"),
    script:
        "../scripts/tensor_events.py"
