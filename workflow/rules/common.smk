"""What all rules share: the checked config, the study, and helpers for params, code fingerprints and resources."""

from pathlib import Path

from phenoloom.config.loading import complete, read_yaml
from phenoloom.config.study import Study
from phenoloom.core.code import fingerprint
from phenoloom.core.errors import InputError
from phenoloom.core.names import PATTERN

try:
    for path in workflow.configfiles:
        read_yaml(path)  # Snakemake's own loader keeps the last of two equal keys without a word
    completed = complete(dict(config), ", ".join(map(str, workflow.configfiles)) or "the config")
except InputError as error:
    raise WorkflowError(str(error))

config.clear()  # so that its keys come in the schema's order, whatever the order in the file
config.update(completed)


pathvars:
    results=f"results/{config['study']}",
    logs=f"results/{config['study']}/logs",
    benchmarks=f"results/{config['study']}/benchmarks",


SCRIPTS = f"{workflow.basedir}/workflow/scripts"
study = Study(config, f"results/{config['study']}")


wildcard_constraints:
    dataset="[A-Za-z0-9_-]+",
    channel="[A-Za-z0-9_-]+",
    representation="[A-Za-z0-9_-]+",
    profile="[A-Za-z0-9_-]+",
    evaluation="[A-Za-z0-9_-]+",
    plate=PATTERN,
    sample=PATTERN,
    batch="[0-9]{4,9}",


def option(path):
    """Params function: the value at a config path such as `datasets/{dataset}/illumination`, None where absent."""

    def look_up(wildcards):
        value = config
        for part in path.split("/"):
            value = value.get(part.format(**dict(wildcards.items()))) if value is not None else None
        return value

    return look_up


def code_of(script, environment, modules=()):
    """Fingerprint of a rule: its script, the library code that it imports, and the pins of its environment.

    modules: those that the script imports by a name of the config.
    """
    pins = sorted(Path(f"{workflow.basedir}/workflow/envs").glob(f"{environment}[.-]*"))
    return fingerprint(f"{SCRIPTS}/{script}.py", pins=pins, modules=modules)


#: On a cluster a job's allocation holds two processes of Snakemake beside the job's own: the one that was submitted and
#: the job step that it starts. They were measured to take 415 to 430 MB together (docs/reference/memory.md).
SNAKEMAKE_MB = 450


def memory(base_mb, per_item_mb=0, items=None):
    """Resources function: MB of a job, base + items x per_item from the study's counts, and Snakemake's own on top; more
    at each attempt.
    """

    def mem_mb(wildcards, attempt=1):
        return int(attempt * (SNAKEMAKE_MB + base_mb + (per_item_mb * items(wildcards) if items else 0)))

    return mem_mb


def minutes(base, per_megapixel=0, dataset=None):
    """Resources function: minutes a job of a plate may take, several times what was measured; more at each attempt.

    dataset: that of the plate where the rule has no such wildcard.
    """

    def runtime(wildcards, attempt=1):
        name = dataset or wildcards.dataset
        sites = study.n_sites(name, wildcards.plate, getattr(wildcards, "batch", None))
        return int(attempt * (base + per_megapixel * sites * len(study.channels(name)) * study.megapixels(name)))

    return runtime


def for_images(path):
    """Paths for every plate of every dataset with images: `{dataset}` and `{plate}` filled in."""
    return [
        path.format(dataset=dataset, plate=plate)
        for dataset in study.image_datasets()
        for plate in study.plates(dataset)
    ]


def one_of(names):
    """Constraint of a wildcard: one of some names, nothing where there are none."""
    return "|".join(names) or "(?!)"
