"""Inputs and params of the rules in evaluation.smk."""

from phenoloom.evaluation import plan, weak_labels


def evaluation_options(wildcards):
    """Options of one evaluation without the patterns that say where it runs, which change nothing in its jobs.

    Wells whose label a network learned from are left out where it is asked for that label.
    """
    block = config["evaluation"][wildcards.evaluation]
    options = {key: value for key, value in block.items() if key not in ("of", "against")}
    model = study.model_of(wildcards.representation)
    if model and weak_labels.scored_when_held_out(study.model(model[0]), options):
        options["samples"] = weak_labels.held_out_only(options["samples"])
    return options


def _compared():
    """Pairs of profiles that are compared. Stops the workflow where a pattern names none."""
    try:
        return plan.comparisons(config["evaluation"], study.evaluations())
    except InputError as error:
        raise WorkflowError(str(error))


#: Options of an evaluation that its comparisons depend on.
COMPARED = ("metric", "level", "compound", "bootstrap")

#: (evaluation, dataset, profile, reference) of every comparison.
compared = _compared()


def options_of_comparisons():
    """Options of every evaluation whose profiles are compared."""
    blocks = {name: config["evaluation"][name] for name, *_ in compared}
    return {name: {key: block[key] for key in COMPARED if key in block} for name, block in blocks.items()}


def details_of(place):
    """Details of the evaluations of all pairs: of their profiles (place 2) or their references (3)."""
    return [f"<results>/evaluation/{pair[0]}/{pair[1]}/{pair[place][0]}/{pair[place][1]}.parquet" for pair in compared]


#: (dataset, representation, profile) of every chain that learns how to make wells of cells.
learned_combinations = [found for found in study.combinations() if found[2] in _learned_chains]


def profiles_beside(wildcards):
    """Tables of wells of a learned aggregation, then those of other chains of the same cells, learned ones last."""
    names = study.profiles_of(wildcards.dataset, wildcards.representation)
    others = sorted((name for name in names if name != wildcards.profile), key=lambda name: name in _learned_chains)
    folder = f"<results>/{wildcards.dataset}/profiles/{wildcards.representation}"
    return [f"{folder}/{name}/wells.parquet" for name in (wildcards.profile, *others)]


def aggregated(file):
    """Paths of one file of the scores of every learned aggregation."""
    return [
        f"<results>/{dataset}/profiles/{representation}/{profile}/aggregation/{file}"
        for dataset, representation, profile in learned_combinations
    ]


def evaluated_profiles(wildcards):
    """The table that an evaluation takes: cells, wells or treatments."""
    level = config["evaluation"][wildcards.evaluation]["level"]
    stage = "cell_profiles" if level == "cells" else "profiles"
    return f"<results>/{wildcards.dataset}/{stage}/{wildcards.representation}/{wildcards.profile}/{level}.parquet"
