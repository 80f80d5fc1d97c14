"""Wells to treatments: one row per perturbation and concentration over all plates."""

import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns, metadata_columns
from phenoloom.profiles.annotation import as_text
from phenoloom.profiles.similarities import OWN, is_similarity, mean_blocks, similarity_of, with_similarity

#: What a study gets that has no consensus step.
DEFAULT = {"operation": "mean", "by": ["Perturbation", "Concentration"], "first": None}

#: Columns of single wells, which a treatment has not.
_OF_WELLS = ("Metadata_Plate", "Metadata_Well", "Metadata_Count_Sites", OWN)


def treatments(wells, options, ledger):
    """Consensus of wells by `pycytominer.consensus`; wells of all plates and batches form one treatment.

    wells: one row per well. options: operation (mean, median, modz), by (metadata names without prefix; the unit of
    the concentration always counts with it) and first: {by, operation} that joins the wells of a treatment on one plate
    (batch) before, None for no such step. Controls are treatments of their own. Metadata that all wells of a
    treatment share is carried; Metadata_Batch lists the batches ("b1|b2"), Metadata_Batches, Metadata_Plates and
    Metadata_Wells count them, Metadata_Count_Cells is summed. Rows are sorted by the keys. Similarities between wells
    (step fuse) become their means between treatments.
    """
    keys = _keys(wells, options["by"])
    named = as_text(wells[keys[0]]) != ""
    if not named.all():
        ledger.add(
            f"{int((~named).sum())} wells have no {keys[0]} and belong to no treatment",
            severity="flagged",
            unit="well",
            count=int((~named).sum()),
        )
    wells = wells[named]
    if wells.empty:
        raise InputError(
            f"no well has a {keys[0]}, so that there are no treatments; map it in the plate map or the config"
        )
    features = feature_columns(wells)
    labels = wells.groupby(keys, sort=True, dropna=False).ngroup().rename("Metadata_Treatment_Number")
    if is_similarity(wells):
        described = _describe(wells, labels, keys, ledger).reset_index(drop=True)
        return with_similarity(described, mean_blocks(similarity_of(wells), labels.to_numpy()))
    values = wells[features].assign(Metadata_Treatment_Number=labels)
    if options["first"]:
        values = _joined(values, wells, options["first"])
    values = _consensus(values, options, features)
    described = _describe(wells, labels, keys, ledger)
    return pd.concat([described, values], axis="columns").reset_index(drop=True)


def _joined(numbered, wells, options):
    """One row per treatment and place (`by`) instead of one per well."""
    places = [as_text(wells[key]) for key in _columns(wells, options["by"])]
    groups = numbered.groupby([numbered["Metadata_Treatment_Number"], *places], sort=True)
    features = numbered.columns.drop("Metadata_Treatment_Number")
    joined = getattr(groups[list(features)], options["operation"])()
    numbers = joined.index.get_level_values(0)
    return joined.reset_index(drop=True).assign(Metadata_Treatment_Number=numbers)


def _columns(wells, names):
    keys = [f"Metadata_{name}" for name in names]
    missing = [key for key in keys if key not in wells.columns]
    if missing:
        known = ", ".join(name.removeprefix("Metadata_") for name in metadata_columns(wells.columns))
        raise InputError(f"step consensus: the wells have no {missing[0]}; by takes names out of {known}")
    return keys


def _keys(wells, by):
    keys = _columns(wells, by)
    if "Metadata_Concentration" in keys and "Metadata_Unit" in wells.columns and "Metadata_Unit" not in keys:
        keys.append("Metadata_Unit")
    return keys


def _consensus(numbered, options, features):
    """(treatments, features) DataFrame with the treatment's number as index."""
    from pycytominer import consensus

    result = consensus(
        numbered,
        replicate_columns=["Metadata_Treatment_Number"],
        operation=options["operation"],
        features=features,
    )
    return result.set_index("Metadata_Treatment_Number")[features].sort_index()


def _describe(wells, labels, keys, ledger):
    """Metadata of each treatment, the keys first; the treatment's number is the index."""
    firsts = ~labels.duplicated()
    frame = wells.loc[firsts, keys].set_axis(labels[firsts], axis="index").sort_index()
    groups = wells.groupby(labels, sort=True)
    for name in metadata_columns(wells.columns):
        if name in keys or name in _OF_WELLS:
            continue
        if name == "Metadata_Count_Cells":
            frame[name] = groups[name].sum(min_count=1)
        elif name in ("Metadata_Batch", "Metadata_MoA", "Metadata_Control"):
            frame[name] = groups[name].agg(_listed)
        elif (groups[name].nunique(dropna=False) == 1).all():
            frame[name] = groups[name].agg(lambda values: values.iloc[0])
    frame["Metadata_Batches"] = groups["Metadata_Batch"].nunique()
    frame["Metadata_Plates"] = groups["Metadata_Plate"].nunique()
    frame["Metadata_Wells"] = groups.size()
    for name in ("Metadata_MoA", "Metadata_Control"):
        for number in frame.index[groups[name].nunique() > 1]:
            treatment = " ".join(str(frame.loc[number, key]) for key in keys)
            reason = f"the wells of treatment {treatment} have several values of {name}: {frame.loc[number, name]}"
            ledger.add(reason, severity="flagged", unit="treatment")
    return frame


def _listed(values):
    """The different values, sorted and joined by a bar; wells without one do not count."""
    return "|".join(sorted(filter(None, set(as_text(values)))))
