"""What an evaluation gives: a row per unit, rows for the evaluation table, and what it could not use."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: Columns that an evaluation fills in its summary; the script adds where the profile comes from.
SUMMARY_COLUMNS = ["label", "value", "low", "high", "null", "pvalue", "n", "note"]

#: Columns of the evaluation table.
COLUMNS = ["dataset", "representation", "profile", "evaluation", "metric", "level", *SUMMARY_COLUMNS]

_DESCRIBING = ("Metadata_Perturbation", "Metadata_Concentration", "Metadata_Unit", "Metadata_MoA")


@dataclass(frozen=True)
class Result:
    """details: DataFrame, one row per unit. summary: list of dicts (see `row`). left_out: rows of the profile, with
    `note`.
    """

    details: pd.DataFrame
    summary: list
    left_out: pd.DataFrame


def row(label, value, n, low=np.nan, high=np.nan, null=np.nan, pvalue=np.nan, note=()):
    """One row of a summary. value: the figure; low, high: its interval; null: what shuffled labels give; n: of how
    many.
    """
    return {
        "label": label,
        "value": float(value),
        "low": float(low),
        "high": float(high),
        "null": float(null),
        "pvalue": float(pvalue),
        "n": int(n),
        "note": "; ".join(note) if not isinstance(note, str) else note,
    }


def describe(details, table, unit_of_row):
    """Add to details (column `unit`) those describing metadata columns that are the same in all rows of each unit.

    table: the profiles' metadata. unit_of_row: (n,) the unit of each of its rows, '' for none.
    """
    unit_of_row = np.asarray(unit_of_row, dtype=object)
    for name in _DESCRIBING:
        if name not in table:
            continue
        known = pd.DataFrame({"unit": unit_of_row, "value": table[name].to_numpy()})[unit_of_row != ""]
        grouped = known.groupby("unit")["value"]
        if len(known) and (grouped.nunique(dropna=False) == 1).all():
            details[name] = details["unit"].map(grouped.first())
    return details


def with_left_out(details, units, name):
    """Add to details a row with its reason for every unit all of whose profiles were left out. name: of the unit's
    column.
    """
    from phenoloom.evaluation.units import text

    if not len(units.left_out):
        return details
    lost = pd.DataFrame({"unit": text(units.left_out, name), "note": units.left_out["note"]})
    lost = lost[(lost["unit"] != "") & ~lost["unit"].isin(set(details["unit"]))].drop_duplicates("unit")
    if not len(lost):
        return details
    return pd.concat([details, lost], ignore_index=True)
