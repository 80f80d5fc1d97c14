"""One evaluation of one profile, by the name of its metric."""

import inspect

from phenoloom.evaluation.cell_neighbours import held_out_accuracy
from phenoloom.evaluation.clustering import clusters
from phenoloom.evaluation.control_separation import control_separation
from phenoloom.evaluation.dose_response import dose_response
from phenoloom.evaluation.neighbours import nsc, nscb
from phenoloom.evaluation.replicability import percent_matching, percent_replicating
from phenoloom.evaluation.retrieval import activity, mean_average_precision

METRICS = {
    "mean_average_precision": mean_average_precision,
    "nsc": nsc,
    "nscb": nscb,
    "percent_replicating": percent_replicating,
    "percent_matching": percent_matching,
    "activity": activity,
    "control_separation": control_separation,
    "dose_response": dose_response,
    "clusters": clusters,
    "held_out_accuracy": held_out_accuracy,
}

#: Keys of an evaluation's config that are no option of its metric.
GENERAL = ("metric", "level", "of", "against")


def evaluate(table, options, seed=0):
    """Result of the metric `options["metric"]` on a table of profiles; the other options go to the metric.

    table: DataFrame with Metadata_* and feature columns at any level. options: an evaluation's config block.
    """
    metric = METRICS[options["metric"]]
    given = {key: value for key, value in options.items() if key not in GENERAL}
    return metric(table, **given, seed=seed)


def options_of(metric):
    """Options of a metric and their defaults, without table and seed."""
    parameters = inspect.signature(METRICS[metric]).parameters
    return {name: item.default for name, item in parameters.items() if name not in ("table", "seed")}
