"""Two profiles under one evaluation, unit by unit: by how much the score of one exceeds that of the other."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from phenoloom.core.tables import METADATA
from phenoloom.core.words import count
from phenoloom.evaluation.intervals import bootstrap_difference_of_groups, bootstrap_mean, mean_of_groups

#: Columns of the table of comparisons.
COLUMNS = ["evaluation", "metric", "level", "label", "dataset", "representation", "profile"]
COLUMNS += ["against_representation", "against_profile", "value", "against_value", "difference", "low", "high"]
COLUMNS += ["n", "note"]

#: Resamples where an evaluation has no such option.
BOOTSTRAP = 1000


@dataclass(frozen=True)
class Score:
    """A score that is the mean over units of a column of the details, as the evaluation table labels it.

    known: column that has a value where the unit counts. groups: column within whose values means are taken first.
    """

    label: str
    column: str
    known: str
    groups: str = ""


_PRECISION = Score("mean average precision", "mean_average_precision", "mean_average_precision")
_ACCURACY = Score("accuracy", "hit", "unit")

SCORES = {
    "mean_average_precision": [_PRECISION],
    "nsc": [_ACCURACY],
    "nscb": [_ACCURACY],
    "percent_replicating": [Score("share replicating", "replicating", "median_similarity")],
    "percent_matching": [Score("share matching", "matching", "median_similarity")],
    "activity": [Score("share active", "active", "pvalue"), _PRECISION],
    "held_out_accuracy": [Score("balanced accuracy", "hit", "unit", "label")],
}

#: Columns that name a unit in the details.
_KEYS = ["unit", f"{METADATA}Plate", f"{METADATA}Well"]


def compare(details, against, options, seed=0):
    """Rows (dicts) of the table of comparisons for two profiles, one per score of the metric that both have.

    details, against: details of one evaluation (DataFrames with `unit`) of two profiles; against: of the reference.
    options: the evaluation's config block. Only units that have a value in both count; both values are means over
    these. Interval of the difference: bootstrap of the units' own differences, compounds drawn together where the
    details name them.
    """
    rows = []
    for score in SCORES[options["metric"]]:
        if score.column in details and score.column in against:
            rows.append({"label": score.label, **_compared(details, against, score, options, seed)})
    return rows


def comparison_table(rows):
    """Rows with the columns of COLUMNS as a DataFrame, in the order given."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ["value", "against_value", "difference", "low", "high"]
    return table.astype({**dict.fromkeys(numbers, float), "n": int})


def _compared(details, against, score, options, seed):
    keys = [key for key in _KEYS if key in details and key in against]
    ours, own_notes = _values(details, score, keys, options)
    theirs, _ = _values(against, score, keys, options)
    both = ours.merge(theirs, on=keys, suffixes=("", "_against"))
    known = both[both["value"].notna() & both["value_against"].notna()].reset_index(drop=True)
    alone = [int(part["value"].notna().sum()) - len(known) for part in (ours, theirs)]
    notes = [
        *own_notes,
        *([f"{count(alone[0], 'unit')} only of the profile"] if alone[0] else []),
        *([f"{count(alone[1], 'unit')} only of the reference"] if alone[1] else []),
        *_other_sizes(known),
    ]
    sides = [(known["value"], known["group"]), (known["value_against"], known["group_against"])]
    means = [mean_of_groups(*side) for side in sides]
    given = {"n_bootstrap": options.get("bootstrap", BOOTSTRAP), "seed": seed}
    clusters = np.where(known["cluster"] == "", known[keys].astype(str).agg("\x1f".join, axis=1), known["cluster"])
    if score.groups:
        low, high = bootstrap_difference_of_groups(*sides, clusters, **given)
    else:
        low, high = bootstrap_mean(known["value"] - known["value_against"], clusters, **given)
    return {
        "value": means[0],
        "against_value": means[1],
        "difference": means[0] - means[1],
        "low": low,
        "high": high,
        "n": len(known),
        "note": "; ".join(notes if len(known) else [*notes, "no unit has a value in both"]),
    }


def _values(details, score, keys, options):
    """(units with value, cluster, group and n_profiles, notes); a unit that stands several times is left out."""
    valid = details[score.known].notna()
    if "evaluated" in details:
        valid &= details["evaluated"].eq(True)
    frame = details[keys].copy()
    frame["value"] = pd.to_numeric(details[score.column], errors="coerce").astype(float).where(valid)
    frame["cluster"] = _clusters(details, options)
    frame["group"] = details[score.groups] if score.groups else ""
    frame["n_profiles"] = details.get("n_profiles", np.nan)
    doubled = frame.duplicated(keys, keep=False)
    notes = [f"{count(int(doubled.sum()), 'row')} left out: their unit stands more than once"] if doubled.any() else []
    return frame[~doubled], notes


def _clusters(details, options):
    """Compound of each unit as text, "" where none is known."""
    compound = (options.get("compound") or "Perturbation").removeprefix(METADATA)
    column = next((name for name in ("compound", METADATA + compound) if name in details), None)
    if column is None:
        return np.full(len(details), "", dtype=object)
    return details[column].astype(object).where(details[column].notna(), "").astype(str)


def _other_sizes(known):
    differ = known["n_profiles"].notna() & (known["n_profiles"] != known["n_profiles_against"])
    return [f"{count(int(differ.sum()), 'unit')} with other numbers of wells in the two"] if differ.any() else []
