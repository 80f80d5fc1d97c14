"""Illumination: one function per plate and channel, from all sites of the plate."""

from phenoloom.illumination import frozen

# Here, not in a function of an input: Snakemake takes no notice of what that raises where the job's output exists.
for illuminated_dataset in study.image_datasets():
    if frozen.unsettled(f"{study.results}/{illuminated_dataset}/illumination", study.frozen(illuminated_dataset)):
        raise WorkflowError(
            f"the illumination functions of dataset {illuminated_dataset} are declared anew: `make prepare STUDY=...` (or "
            "`python -m phenoloom prepare CONFIG`) puts them in their place"
        )

# One job estimates all channels of a plate, so that reading is all it costs; which channels there are depends on the
# dataset, so each dataset has a rule of its own. Functions that a study declares are in place before the DAG is built.
for illuminated_dataset in [dataset for dataset in study.image_datasets() if not study.frozen(dataset)]:

    rule:
        name:
            f"illumination_{illuminated_dataset}"
        input:
            index=f"<results>/{illuminated_dataset}/index/{{plate}}.parquet",
            quality=f"<results>/{illuminated_dataset}/quality/{{plate}}.sites.parquet",
        output:
            functions=[
                f"<results>/{illuminated_dataset}/illumination/{{plate}}/{channel}.npy"
                for channel in study.channels(illuminated_dataset)
            ],
            previews=[
                f"<results>/{illuminated_dataset}/illumination/{{plate}}/{channel}.png"
                for channel in study.channels(illuminated_dataset)
            ],
            ledger=f"<results>/{illuminated_dataset}/illumination/{{plate}}.ledger.parquet",
        log:
            f"<logs>/{illuminated_dataset}/illumination/{{plate}}.log",
        benchmark:
            f"<benchmarks>/{illuminated_dataset}/illumination/{{plate}}.tsv"
        conda:
            "../envs/ingest.yaml"
        threads: 2
        resources:
            mem_mb=memory(
                320,
                80,
                lambda wildcards, dataset=illuminated_dataset: study.megapixels(dataset),
            ),
            runtime=minutes(20, 0.002, illuminated_dataset),
        params:
            options={
                key: value
                for key, value in config["datasets"][illuminated_dataset]["illumination"].items()
                if key != "functions"
            },
            channels=study.channels(illuminated_dataset),
            # Snakemake remembers the estimate, not that declared functions lay in its place meanwhile.
            released=lambda wildcards, folder=f"{study.results}/{illuminated_dataset}/illumination": (
                frozen.released(folder, wildcards.plate)
            ),
            code=code_of("illumination", "ingest"),
        script:
            "../scripts/illumination.py"
