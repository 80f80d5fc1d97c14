"""Training: which items a model learns from, and its weights: trained here, or taken over from elsewhere."""


include: "inputs/training.smk"


rule split:
    """Say of every item whether a model may learn from it, and which weak label it has."""
    input:
        rows=items_of_model,
        layout=layout_of_model,
    output:
        split="<results>/{dataset}/models/{model}/split.parquet",
        ledger="<results>/{dataset}/models/{model}/split.ledger.parquet",
    log:
        "<logs>/{dataset}/split/{model}.log",
    benchmark:
        "<benchmarks>/{dataset}/split/{model}.tsv"
    wildcard_constraints:
        model=one_of(study.models()),
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
    params:
        units=units_of_model,
        options=option("models/{model}/split"),
        label=option("models/{model}/label"),
        shuffle=option("models/{model}/shuffle_labels"),
        seed=config["seed"],
        code=code_of("split", "torch"),
    script:
        "../scripts/split.py"


rule adopt:
    """Bring weights that exist already into the form of ours."""
    input:
        weights=local_weights,
    output:
        weights="<results>/{dataset}/models/{model}/all/model.safetensors",
        card="<results>/{dataset}/models/{model}/all/card.json",
    log:
        "<logs>/{dataset}/adopt/{model}.log",
    benchmark:
        "<benchmarks>/{dataset}/adopt/{model}.tsv"
    wildcard_constraints:
        model=one_of([model for model in study.models() if not study.trained(model)]),
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
    params:
        block=lambda wildcards: {
            name: value for name, value in study.model(wildcards.model).items() if name not in ("dataset", "embed")
        },
        channels=channels_of_model,
        code=code_of("adopt", "torch"),
    script:
        "../scripts/adopt.py"


# Which snapshots there are, and which code trains it, depends on the model, so each model has a rule of its own.
for trained_model in filter(study.trained, study.models()):

    rule:
        name:
            f"train_{trained_model}"
        input:
            tensors=lambda wildcards, model=trained_model: tensors_of(model, ".npy"),
            rows=lambda wildcards, model=trained_model: tensors_of(model, ".items.parquet"),
            split=f"<results>/{study.model(trained_model)['dataset']}/models/{trained_model}/split.parquet",
            weights=lambda wildcards, model=trained_model: local_weights_of(model, wildcards.part),
        output:
            **trained_files(trained_model),
        log:
            f"<logs>/{study.model(trained_model)['dataset']}/train/{trained_model}.{{part}}.log",
        benchmark:
            f"<benchmarks>/{study.model(trained_model)['dataset']}/train/{trained_model}.{{part}}.tsv"
        wildcard_constraints:
            part=one_of(study.parts(trained_model)),
        conda:
            "../envs/torch.yaml"
        threads: study.model(trained_model)["train"]["threads"]
        resources:
            mem_mb=lambda wildcards, attempt, model=trained_model: int(
                attempt * (SNAKEMAKE_MB + study.model(model)["train"]["memory_mb"])
            ),
            runtime=lambda wildcards, model=trained_model: int(60 * study.model(model)["train"]["hours"]),
            gpu=study.model(trained_model)["train"]["devices"],
        params:
            block=training_block(trained_model),
            channels=lambda wildcards, model=trained_model: channels_of_part(model, wildcards.part),
            seed=config["seed"],
            code=code_of("train", "torch", [f"phenoloom.models.{study.model(trained_model)['kind']}"]),
        script:
            "../scripts/train.py"
