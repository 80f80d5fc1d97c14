"""What is in each well: the layout joined to the wells of a table."""

import numpy as np
import pandas as pd

from phenoloom.core.tables import metadata_columns
from phenoloom.core.wells import normalize_well

KEYS = ["Metadata_Plate", "Metadata_Well"]

#: Columns that every wells table has; text is "" where unknown, the concentration NaN.
STANDARD = (
    "Metadata_Batch",
    "Metadata_Plate",
    "Metadata_Well",
    "Metadata_Perturbation",
    "Metadata_Concentration",
    "Metadata_Unit",
    "Metadata_Control",
    "Metadata_MoA",
)


def with_standard_columns(frame):
    """Copy of a table in which every standard metadata column exists and has its type, standard ones first."""
    frame = frame.copy()
    for name in STANDARD:
        if name == "Metadata_Concentration":
            values = frame.get(name, np.nan)
            frame[name] = pd.to_numeric(pd.Series(values, index=frame.index), errors="coerce").astype(float)
        else:
            frame[name] = as_text(frame[name]) if name in frame else pd.Series("", index=frame.index, dtype=object)
    others = [name for name in metadata_columns(frame.columns) if name not in STANDARD]
    features = [name for name in frame.columns if not name.startswith("Metadata_")]
    return frame[[*STANDARD, *others, *features]]


def as_text(values):
    """Series of stripped text; missing values are "". Whole numbers are written without a decimal point."""
    values = pd.Series(values)
    if isinstance(values.dtype, pd.CategoricalDtype):
        categories = as_text(pd.Series(values.cat.categories))
        codes = values.cat.codes.to_numpy()
        return pd.Series(np.append(categories.to_numpy(object), "")[codes], index=values.index, dtype=object)
    if pd.api.types.is_float_dtype(values):
        whole = values.notna() & (values % 1 == 0) & (values.abs() < 1e15)
        text = values.astype(object).where(~whole, values.where(whole, 0).astype("int64").astype(object)).map(str)
    else:
        text = values.astype(object).where(values.notna(), "").map(str)
    return text.where(values.notna(), "").str.strip().astype(object)


def plain_text(column):
    """Array of stripped text of a column; missing values are "", floats have 12 digits at most."""
    if pd.api.types.is_float_dtype(column):
        return np.array(["" if pd.isna(value) else f"{value:.12g}" for value in column], dtype=object)
    return np.array(["" if pd.isna(value) else str(value).strip() for value in column], dtype=object)


def treatments(table):
    """Array of text: perturbation with concentration and unit, `taxol @ 3 µM`; "" without a perturbation."""

    def words(name):
        column = f"Metadata_{name}"
        return plain_text(table[column]) if column in table else np.full(len(table), "", dtype=object)

    parts = zip(*map(words, ("Perturbation", "Concentration", "Unit")), strict=True)
    names = [
        " @ ".join(filter(None, (perturbation, f"{dose} {unit}".strip() if dose else ""))) if perturbation else ""
        for perturbation, dose, unit in parts
    ]
    return np.array(names, dtype=object)


def canonical_well(name):
    """The well's name as A01, None when it is no well."""
    try:
        return normalize_well(name)
    except ValueError:
        return None


def annotate(wells, layout, ledger):
    """Join a layout to wells on plate and well; `wells` has one row per plate and well, names canonical.

    wells: DataFrame with Metadata_Plate, Metadata_Well. layout: DataFrame of the dataset, None for none.
    Returns a DataFrame with the standard columns and the index of those wells that have one place in the layout, in
    their order. A well with no place, or with contradicting ones, becomes a row of the ledger.
    """
    if layout is None:
        return with_standard_columns(wells)
    layout = tidy_layout(layout, wells["Metadata_Plate"].unique())
    doubled = layout.duplicated(KEYS, keep=False)
    places = layout[~doubled]
    carried = [name for name in wells.columns if name in KEYS or name not in layout.columns]
    joined = wells[carried].merge(places, on=KEYS, how="left", indicator="Metadata_found").set_index(wells.index)
    missing = joined["Metadata_found"] == "left_only"
    contradicted = set(layout.loc[doubled, KEYS].itertuples(index=False, name=None))
    for plate, well in joined.loc[missing, KEYS].itertuples(index=False, name=None):
        if (plate, well) in contradicted:
            reason = f"well {well} of plate {plate} stands in the layout more than once with different contents"
        else:
            reason = f"well {well} of plate {plate} is not in the layout; add it to the plate map to keep it"
        ledger.add(reason, unit="well", plate=plate, well=well)
    return with_standard_columns(joined[~missing].drop(columns="Metadata_found"))


def tidy_layout(layout, plates):
    """Rows of a layout for some plates: plates as text, wells canonical, identical rows once."""
    layout = layout.assign(Metadata_Plate=as_text(layout["Metadata_Plate"]))
    layout = layout[layout["Metadata_Plate"].isin({str(plate) for plate in plates})]
    wells = as_text(layout["Metadata_Well"]).map(lambda name: canonical_well(name) or name)
    return layout.assign(Metadata_Well=wells).drop_duplicates()


def list_empty_wells(layout, plates, present, units, ledger, imaged=None):
    """Record in the ledger every well that the layout has on `plates` and that is not in `present`.

    present: set of (plate, well) with rows. units: what is missing there, for the sentence (cells, sites).
    imaged: (wells with usable images, wells with sites that gave features) of the only plate, None where nobody knows.
    """
    places = tidy_layout(layout, plates)[KEYS].drop_duplicates().sort_values(KEYS)
    for plate, well in places.itertuples(index=False, name=None):
        if (plate, well) not in present:
            reason = _why_empty(f"well {well} of plate {plate}", well, units, imaged)
            ledger.add(reason, unit="well", plate=plate, well=well)


def _why_empty(name, well, units, imaged):
    with_images, measured = imaged or ({well}, {well})
    if well not in with_images:
        return f"{name} has no usable images"
    if well not in measured:
        return f"no site of {name} gave features; the rows of its sites say why"
    return f"{name} has no {units}"
