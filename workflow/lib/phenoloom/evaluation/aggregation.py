"""What a learned aggregation retrieves beside others of the same cells: the average precision of every well that asks.

Source: CytoSummaryNet, van Dijk et al. 2024, model evaluation.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from phenoloom.cell_sets.stratification import COMPOUND_SIDE, PLATE_SIDE
from phenoloom.core.errors import InputError
from phenoloom.evaluation.average_precision import Pairing, average_precisions
from phenoloom.evaluation.similarity import of_rows
from phenoloom.evaluation.units import SEPARATOR, is_control, members, text, units
from phenoloom.metric_learning.splits import TEST
from phenoloom.profiles.queries import select

REPLICATES, MECHANISMS = "replicates", "MoA"
#: Where a query looks: at the wells of its plate, or at those of all plates of its side.
PLATE, SIDE = "plate", "side"
#: Wells that find a partner on their plate, as a share of those that find one on their side, below which plates are
#: too small to look at one by one.
ON_PLATE = 0.5

#: Columns of the table of queries.
COLUMNS = ["task", "candidates", "profile", "batch", "plate", "well", "plate_side", "compound", "compound_side"]
COLUMNS += ["label", "average_precision"]

_DISTANCE = "cosine"


@dataclass(frozen=True)
class Wells:
    """Treated wells that all profiles have.

    table: DataFrame (n rows) of batch, plate, well, compound, compound_side, plate_side, label (what replicates share)
    and mechanism; text, "" where not known. values: {profile: ((n, d) finite floats, how to compare rows)}; (n, n)
    similarities where that is `precomputed`. left_out: Series, number of treated wells by plate that a profile lacks.
    """

    table: pd.DataFrame
    values: dict
    left_out: pd.Series


def shared_wells(profiles, learned, options):
    """Wells that are compared.

    profiles: {name: DataFrame of wells}. learned: name of the one whose table says who taught. options: `label` and
    `samples` of its step deep_sets. A well that `samples` left out, such as one of another dose, taught nothing: it
    counts as one of a test plate.
    Raises InputError where a profile has a well twice, and for one that holds no values.
    """
    chosen = {name: units(table, "", _DISTANCE) for name, table in profiles.items()}
    keys = {name: _keys(one.table, name) for name, one in chosen.items()}
    table = _described(chosen[learned].table, options)
    kept = _treated(chosen[learned].table, options["label"])
    for own in keys.values():
        kept &= keys[learned].isin(own)
    rows = keys[learned][kept]
    values = {name: (one.values_of(keys[name].get_indexer(rows)), one.distance) for name, one in chosen.items()}
    treated = [_keys(part, name)[_treated(part, options["label"])] for name, part in profiles.items()]
    lacking = treated[0].append(treated[1:]).unique().difference(rows)
    left_out = lacking.get_level_values(0).value_counts()
    return Wells(table[kept].reset_index(drop=True), values, left_out)


def average_precision_of_wells(wells):
    """DataFrame with the columns of COLUMNS: one row per task, profile, well that asks and label that it asks for.

    wells: Wells. Replicates share their label; wells of one mechanism are of other compounds. Candidates are all
    treated wells, with a mechanism or without. A well without another of its label has no row.
    """
    parts = [pd.DataFrame(columns=COLUMNS).astype({"average_precision": float})]
    for task in (REPLICATES, MECHANISMS):
        membership, names = _labels(wells.table, task)
        if not names:
            continue
        candidates, groups = _candidates(wells.table, membership, task)
        for rows in groups:
            pairing = _pairing(wells.table, membership, rows, task)
            for name, (values, distance) in wells.values.items():
                (found,) = average_precisions(of_rows(values, rows, distance), pairing, distance)
                found = found[found["average_precision"].notna()]
                part = wells.table.iloc[rows[found["row"]]].reset_index(drop=True)
                part["label"] = np.array(names, dtype=object)[found["label"]]
                part["average_precision"] = found["average_precision"].to_numpy()
                parts.append(part.assign(task=task, candidates=candidates, profile=name)[COLUMNS])
    filled = [part for part in parts if len(part)]
    return pd.concat(filled or parts[:1], ignore_index=True)


def _keys(table, name):
    """Index of (plate, well) of a profile's rows."""
    keys = pd.MultiIndex.from_arrays([text(table, "Plate"), text(table, "Well")])
    if keys.has_duplicates:
        plate, well = keys[keys.duplicated()][0]
        raise InputError(f"the profile {name} has well {well} of plate {plate} twice; keep one row per well")
    return keys


def _treated(table, label):
    return (_compounds(table, label) != "") & ~is_control(table)


def _compounds(table, label):
    """Perturbation of each well; where it is not known, what its replicates share stands for it."""
    perturbations = text(table, "Perturbation")
    return np.where(perturbations == "", text(table, label), perturbations)


def _described(table, options):
    taught = select(table, options["samples"], "samples of the step deep_sets")
    columns = {
        "batch": text(table, "Batch"),
        "plate": text(table, "Plate"),
        "well": text(table, "Well"),
        "compound": _compounds(table, options["label"]),
        "compound_side": text(table, COMPOUND_SIDE),
        "plate_side": np.where(taught, text(table, PLATE_SIDE), TEST),
        "label": text(table, options["label"]),
        "mechanism": text(table, "MoA"),
    }
    return pd.DataFrame(columns, dtype=object)


def _labels(table, task):
    """Membership (n, L) bool and the names of labels."""
    return members(table["label"], None) if task == REPLICATES else members(table["mechanism"], SEPARATOR)


def _candidates(table, membership, task):
    """PLATE or SIDE, and the rows of each group of wells that are candidates of each other."""
    on_side = table["plate_side"].to_numpy()
    # A plate on which some wells taught and others did not is two.
    on_plate = pd.factorize(pd.MultiIndex.from_arrays([table["plate"], on_side]))[0]
    partners = {PLATE: on_plate, SIDE: on_side}
    found = {name: _with_partner(table, membership, groups, task) for name, groups in partners.items()}
    candidates = PLATE if found[PLATE] >= ON_PLATE * found[SIDE] else SIDE
    groups = pd.Series(partners[candidates], table.index)
    return candidates, [np.asarray(rows) for rows in table.groupby(groups, sort=False).indices.values()]


def _with_partner(table, membership, groups, task):
    """How many wells have a positive in their group."""
    row, label = np.nonzero(membership)
    pairs = pd.DataFrame({"row": row, "label": label, "group": np.asarray(groups)[row]})
    pairs["partner"] = row if task == REPLICATES else table["compound"].to_numpy()[row]
    several = pairs.groupby(["group", "label"])["partner"].transform("nunique") > 1
    return pairs.loc[several, "row"].nunique()


def _pairing(table, membership, rows, task):
    own = membership[rows]
    everywhere = np.zeros(len(rows), dtype=np.int32)
    return Pairing(
        labels=own,
        query=own.any(axis=1),
        negative=np.ones(len(rows), dtype=bool),
        compound=pd.factorize(table["compound"].to_numpy()[rows])[0],
        positives_within_compound=task == REPLICATES,
        positive_same=everywhere,
        negative_same=everywhere,
    )
