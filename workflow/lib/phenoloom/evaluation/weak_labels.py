"""Scores of the very label that a network learned from: of held-out wells only, or said to be none of new wells.

Imports nothing heavy: the DAG is built with it.
"""

from phenoloom.profiles.chain import learned

HELD_OUT = "Metadata_Split == 'test'"


def asks_for_weak_label(model, options):
    """Whether an evaluation asks a network for the label that it was trained with.

    model: block of a model. options: of an evaluation; what it asks for is its `positives` or `label`.
    """
    label = model.get("label")
    return bool(label) and bool(model["train"]["epochs"]) and label in (options.get("positives"), options.get("label"))


def scored_when_held_out(model, options):
    """Whether wells that the network learned from have to be left out of an evaluation, and can be."""
    whole_wells = model.get("split", {}).get("hold_out", "none") not in ("none", "items")
    return asks_for_weak_label(model, options) and whole_wells and options["level"] == "wells"


def held_out_only(samples):
    """The query of an evaluation, limited to wells that the network did not learn from."""
    return f"({samples}) and {HELD_OUT}" if samples else HELD_OUT


def warnings(config):
    """(severity, sentence) for every evaluation that asks a network for labels of wells that it learned from."""
    found = []
    for name, model in config.get("models", {}).items():
        asking = [
            evaluation
            for evaluation, options in config["evaluation"].items()
            if asks_for_weak_label(model, options) and not scored_when_held_out(model, options)
        ]
        if asking:
            found.append(
                (
                    "caution",
                    f"{', '.join(asking)} of {name}: the network learned from {model['label']} of the same wells, so "
                    "that the score says how well it learned them and nothing of new ones.",
                )
            )
    return found + list(_of_chains(config))


def _of_chains(config):
    """The same for chains that learn how to make wells of cells: their networks have seen the labels of whole wells."""
    for name, steps in config.get("profiles", {}).items():
        options = learned(steps)
        if options is None:
            continue
        asking = [
            evaluation
            for evaluation, asked in config["evaluation"].items()
            if options["label"] in (asked.get("positives"), asked.get("label")) and not asked.get("samples")
        ]
        if asking:
            yield (
                "caution",
                f"{', '.join(asking)} of the profile {name}: its network learned from {options['label']} of wells that "
                f"are scored; limit `samples` of the evaluation to {HELD_OUT}, or to plates that it did not see.",
            )
