"""Who teaches a learned aggregation: compounds and plates of training, of validation and of the test.

Source: CytoSummaryNet, van Dijk et al. 2024, stratification and its figure 8.
"""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.metric_learning.splits import TEST, TRAIN, column_name, stream
from phenoloom.profiles.annotation import plain_text, treatments
from phenoloom.profiles.queries import select

VALIDATION = "validation"
#: Columns of a stratification: the side of a well's compound, that of its plate, and what the well serves for.
COMPOUND_SIDE, PLATE_SIDE, SPLIT = "Metadata_CompoundSide", "Metadata_PlateSide", "Metadata_Split"
#: Compounds with fewer wells can be no pair of anything.
FEWEST_WELLS = 2


def stratify(wells, options, seed, ledger):
    """Table of wells with the side of their compound and plate, and `train`, `validation` or `test` for the well.

    wells: DataFrame, Metadata_* of all wells. options: `label` (column of what replicates share), `validation_share` or
    `validation_compounds`, `validation_plates`, `test_plates`, and `samples`, a query for the wells to learn from, such
    as one dose; others are of the test. Compounds are held out whole, whatever their doses.
    A well teaches when its compound and its plate are of training; it chooses the weights when its compound is of
    validation and its plate not of the test; every other one, and every negative control, is of the test.
    Compounds with a single well to learn from are listed in the ledger.
    Raises InputError for unknown names and where fewer than two compounds are left to learn from.
    """
    labels, compound = labels_of(wells, options["label"]), labels_of(wells, "Perturbation")
    plates = plain_text(wells["Metadata_Plate"])
    treated = treated_wells(wells, labels)
    compounds = np.where(np.isin(compound, _validation_compounds(compound[treated], options, seed)), VALIDATION, TRAIN)
    sides = np.full(len(wells), TRAIN, dtype=object)
    for side, key in ((VALIDATION, "validation_plates"), (TEST, "test_plates")):
        unknown = sorted(set(map(str, options[key])) - set(plates))
        if unknown:
            raise InputError(f"{key} names the plate {unknown[0]!r}, of which there is no well")
        sides[np.isin(plates, list(map(str, options[key])))] = side
    chosen = treated & select(wells, options["samples"], "stratification")
    split = np.full(len(wells), TEST, dtype=object)
    split[chosen & (compounds == TRAIN) & (sides == TRAIN)] = TRAIN
    split[chosen & (compounds == VALIDATION) & (sides != TEST)] = VALIDATION
    _list_single(labels, split, ledger)
    if len(set(labels[split == TRAIN])) < 2:
        raise InputError(
            f"a learned aggregation needs at least two compounds to learn from; {len(set(labels[split == TRAIN]))} "
            f"({options['label']}) is left by the stratification"
        )
    found = {COMPOUND_SIDE: np.where(compound == "", "", compounds), PLATE_SIDE: sides, SPLIT: split}
    return wells.assign(**{name: pd.Series(values, wells.index, dtype=object) for name, values in found.items()})


def labels_of(wells, name):
    """Text (n,) of a metadata column; `Treatment` is perturbation, concentration and unit where no column is it."""
    column = column_name(name)
    if name == "Treatment" and column not in wells:
        return treatments(wells)
    if column not in wells:
        raise InputError(f"the wells have no {column}, which the learned aggregation asks for")
    return plain_text(wells[column])


def treated_wells(wells, labels):
    """Which wells (n,) can be like another for what is in them: those with a label, but no negative control."""
    control = plain_text(wells["Metadata_Control"]) if "Metadata_Control" in wells else np.full(len(wells), "")
    return (labels != "") & (control != "negative")


def _validation_compounds(labels, options, seed):
    names = np.unique(labels)
    given = list(map(str, options["validation_compounds"]))
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise InputError(f"validation_compounds names {unknown[0]!r}, of which there is no well")
    if given or not options["validation_share"]:
        return given
    number = min(max(1, round(options["validation_share"] * len(names))), max(0, len(names) - 2))
    return stream(seed, "validation compounds").permutation(names)[:number]


def _list_single(labels, split, ledger):
    for side, what in ((TRAIN, "has no other well to come near"), (VALIDATION, "says nothing of its replicates")):
        names, counts = np.unique(labels[split == side].astype(str), return_counts=True)
        for name in names[counts < FEWEST_WELLS]:
            ledger.add(f"{name} has a single well of {side} and {what}", severity="flagged", unit="compound")
