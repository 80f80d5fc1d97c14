"""Inputs and params of the rules in profiles.smk."""

import functools

from phenoloom.cell_sets.chosen import chosen_plates
from phenoloom.core.names import decode, encode
from phenoloom.ingest.layouts import laid_out
from phenoloom.profiles import chain as chains  # the name chain is Snakemake's own here
from phenoloom.profiles import sources

_entered = sorted(
    {name for dataset in study.datasets() for name in study.representations(dataset) if study.entered(dataset, name)}
)


#: Chains by how they make wells of cells: by a network that learns to, or by a statistic of each feature.
_learned_chains = [name for name, steps in config["profiles"].items() if chains.learned(steps) is not None]
_averaged = [name for name in config["profiles"] if name not in _learned_chains]

#: Options of the step deep_sets that its network does not depend on.
_NOT_OF_NETWORK = ("threads", "memory_mb", "hours", "minimum_cells", "blocklist")

#: Keys of a dataset that say how its plate maps are read.
LAYOUT_OPTIONS = ("platemap_columns", "annotations", "controls")


def entering_files(wildcards):
    """Files behind an entered representation, each of them an input."""
    try:
        return sources.files(study.dataset(wildcards.dataset)["representations"][wildcards.representation])
    except InputError as error:
        raise WorkflowError(f"dataset {wildcards.dataset}, representation {wildcards.representation}: {error}")


def unit_table(wildcards):
    """Table of one plate (or the pseudo plate `all`) of a representation."""
    level = study.level(wildcards.dataset, wildcards.representation)
    return f"<results>/{wildcards.dataset}/representations/{wildcards.representation}/{level}/{wildcards.plate}.parquet"


def files_of_wells(wildcards):
    """Tables that say what is in the wells of one plate, so that another plate's map or row reruns nothing here, and
    which of them have images and features.

    Tables that entered bring their own metadata.
    """
    dataset = wildcards.dataset
    if study.entered(dataset, wildcards.representation):
        return {}
    table = unit_table(wildcards)
    imaged = {
        "index": f"<results>/{dataset}/index/{wildcards.plate}.parquet",
        "measured": table.removesuffix(".parquet") + ".images.parquet",
    }
    if study.simulated(dataset):
        return {"truth": f"{study.results}/{dataset}/truth.parquet", **imaged}
    annotations = study.dataset(dataset).get("annotations")
    return {
        **imaged,
        "map": _laid_out(dataset)[wildcards.plate][1],
        "annotations": [annotations["table"]] if annotations else [],
    }


def files_of_wells_and_fit(wildcards):
    """files_of_wells, and what a step tvn of the chain fitted over all plates."""
    found = files_of_wells(wildcards)
    if chains.fitted_over_plates(config["profiles"][wildcards.profile]):
        found["tvn"] = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}/{wildcards.profile}/tvn.npz"
    return found


def files_of_fit(wildcards):
    """Tables of all plates of a representation, and what is in their wells."""
    dataset, representation = wildcards.dataset, wildcards.representation
    folder = f"<results>/{dataset}/representations/{representation}/{study.level(dataset, representation)}"
    found = {"tables": [f"{folder}/{unit}.parquet" for unit in study.units(dataset, representation)]}
    if study.entered(dataset, representation):
        return found
    if study.simulated(dataset):
        return {**found, "truth": f"{study.results}/{dataset}/truth.parquet"}
    annotations = study.dataset(dataset).get("annotations")
    return {
        **found,
        "maps": [_laid_out(dataset)[plate][1] for plate in study.plates(dataset)],
        "annotations": [annotations["table"]] if annotations else [],
    }


def layouts_of_fit(wildcards):
    """As layout_of_wells, with the rows of all plates."""
    dataset = wildcards.dataset
    if study.entered(dataset, wildcards.representation) or study.simulated(dataset):
        return None
    rows = [_laid_out(dataset)[plate][0] for plate in study.plates(dataset)]
    return {"rows": rows, **{name: study.dataset(dataset).get(name) for name in LAYOUT_OPTIONS}}


def of_tvn(ending):
    """Input function: what the fit of a step tvn over all plates says, none where the chain has no such step."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}/{wildcards.profile}"
        fitted = chains.fitted_over_plates(config["profiles"][wildcards.profile])
        return [f"{folder}/tvn{ending}"] if fitted else []

    return paths


def learned_step(wildcards):
    """Options of the step deep_sets of a chain."""
    return chains.learned(config["profiles"][wildcards.profile])


def learning_options(wildcards):
    """Options of the step deep_sets that change its network."""
    return {name: value for name, value in learned_step(wildcards).items() if name not in _NOT_OF_NETWORK}


def tables_of_all_plates(wildcards):
    """Tables of all plates of a representation, whose shared features a learned aggregation reads."""
    dataset, representation = wildcards.dataset, wildcards.representation
    folder = f"<results>/{dataset}/representations/{representation}/{study.level(dataset, representation)}"
    return [f"{folder}/{unit}.parquet" for unit in study.units(dataset, representation)]


def cell_sets_of_all_plates(ending):
    """Input function: the cells of every plate as a learned aggregation reads them, or what goes with them."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}/{wildcards.profile}/cell_sets"
        return [f"{folder}/{plate}{ending}" for plate in study.units(wildcards.dataset, wildcards.representation)]

    return paths


def relevance_options(wildcards):
    """Options of the step deep_sets that the relevance of cells depends on."""
    return {name: learned_step(wildcards)[name] for name in ("label", "temperature", "test_plates")}


def plates_of_relevance(wildcards):
    """Tables whose cells are scored: those of a few plates, or the one of a table that entered, however many it holds."""
    units = study.units(wildcards.dataset, wildcards.representation)
    if study.entered(wildcards.dataset, wildcards.representation):
        return units
    number, test_plates = config["report"]["relevance"]["plates"], learned_step(wildcards)["test_plates"]
    return list(map(encode, chosen_plates(map(decode, units), test_plates, number)))


def cell_sets_of_relevance(ending):
    """Input function: the cells of the plates whose cells are scored, or what goes with them."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}/{wildcards.profile}/cell_sets"
        return [f"{folder}/{plate}{ending}" for plate in plates_of_relevance(wildcards)]

    return paths


def ledger_of_fit(wildcards):
    """Ledger of what a chain fits or learns over all plates, none where it does neither."""
    if wildcards.profile in _learned_chains:
        folder = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}/{wildcards.profile}"
        return [f"{folder}/deep_sets/ledger.parquet"]
    return of_tvn(".ledger.parquet")(wildcards)


def seed_of_projection(wildcards):
    """The study's seed for chains that project covariances at random."""
    return config["seed"] if chains.projects(config["profiles"][wildcards.profile]) else 0


def square_mb(wildcards, squares):
    """MB of so many arrays of wells by wells, for a chain that fuses; of ten plates of 384 wells at least."""
    if not chains.fuses(config["profiles"].get(wildcards.profile, [])):
        return 0
    plates = max(10, len(study.units(wildcards.dataset, wildcards.representation)))
    return squares * 8 * (384 * plates) ** 2 / 1e6


def seed_of_chain(wildcards):
    """The study's seed for chains with a step that draws, so that another seed reruns no other chain."""
    drawing = any("harmonize" in step for step in config["profiles"][wildcards.profile])
    return config["seed"] if drawing else 0


def layout_of_wells(wildcards):
    """What turns the map of one plate into its layout: its row of the table of plates, and how to read the map."""
    dataset = wildcards.dataset
    if study.entered(dataset, wildcards.representation) or study.simulated(dataset):
        return None
    block = study.dataset(dataset)
    return {"row": _laid_out(dataset)[wildcards.plate][0], **{name: block.get(name) for name in LAYOUT_OPTIONS}}


@functools.cache
def _laid_out(dataset):
    """{encoded plate: (its row of the table of plates, path of its map)}. Stops the workflow where a map is missing."""
    try:
        return {encode(row["plate"]): (row, path) for row, path in laid_out(study.dataset(dataset), dataset)}
    except InputError as error:
        raise WorkflowError(str(error))


def per_plate(ending):
    """Input function: the wells of every plate, or what goes with them."""

    def paths(wildcards):
        folder = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}/{wildcards.profile}/wells"
        return [f"{folder}/{plate}{ending}" for plate in study.units(wildcards.dataset, wildcards.representation)]

    return paths
