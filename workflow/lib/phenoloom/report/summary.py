"""Counts of a dataset: what was laid out, imaged, kept and measured, per well and per plate, and what looks wrong."""

import numpy as np
import pandas as pd

from phenoloom.core.words import count
from phenoloom.report.style import natural, share

WELL = ["Metadata_Plate", "Metadata_Well"]
#: What is known of a well from the plate map.
LAYOUT = [
    "Metadata_Batch",
    *WELL,
    "Metadata_Perturbation",
    "Metadata_Concentration",
    "Metadata_Unit",
    "Metadata_Control",
    "Metadata_MoA",
]
COUNTS = ["Sites", "Sites_Excluded", "Sites_Measured", "Images", "Images_Flagged", "Cells"]


def with_layout_columns(frame):
    """The frame with every column of LAYOUT, missing ones empty (concentration: NaN); text is text."""
    frame = frame.copy()
    for name in LAYOUT:
        if name == "Metadata_Concentration":
            frame[name] = pd.to_numeric(frame.get(name, pd.Series(np.nan, frame.index)), errors="coerce").astype(float)
        else:
            text = frame.get(name, pd.Series("", frame.index))
            frame[name] = text.where(text.notna(), "").astype(str)
    return frame


def treatment(frame):
    """Perturbation with its concentration, as text: 'taxol @ 0.3 uM'. One entry per row of a layout."""
    number = [f" @ {value:g}" if value == value else "" for value in frame["Metadata_Concentration"]]
    unit = [f" {text}" if text and dose else "" for text, dose in zip(frame["Metadata_Unit"], number, strict=True)]
    return pd.Series(
        [name + dose + text for name, dose, text in zip(frame["Metadata_Perturbation"], number, unit, strict=True)],
        frame.index,
        dtype=object,
    )


def role(frame):
    """'negative control', 'positive control' or 'treated' for each row of a layout; '' without a perturbation."""
    control = frame["Metadata_Control"]
    known = frame["Metadata_Perturbation"] != ""
    return pd.Series(
        np.select(
            [control == "negative", control == "positive", known],
            ["negative control", "positive control", "treated"],
            "",
        ),
        frame.index,
    )


def count_wells(layout, index=None, quality=None, sites=None, measured=None, cells=None, unusable=None):
    """Counts per well of one plate: the layout's wells and those with images or cells, with the columns COUNTS.

    index: image index rows. quality: one row per image with Metadata_Flags. sites: one row per site with
    Metadata_Excluded. measured: one row per site that gave features. cells: one row per well with
    Metadata_Count_Cells. unusable: ledger of the index, whose lost sites are sites of the plate too. Any of them may
    be None: its counts are NaN (unknown), while a well that a given table lacks counts 0.
    """
    wells = with_layout_columns(layout).drop_duplicates(WELL)
    counted = {}
    if index is not None:
        named = index.rename(columns={"plate": WELL[0], "well": WELL[1], "batch": "Metadata_Batch"})
        counted["Sites"] = _all_sites(named, unusable).groupby(WELL).size()
        counted["Images"] = named.groupby(WELL).size()
    if quality is not None:
        flagged = quality["Metadata_Flags"].fillna("") != ""
        counted["Images_Flagged"] = flagged.groupby([quality[name] for name in WELL]).sum()
    if sites is not None:
        excluded = sites["Metadata_Excluded"].astype(bool)
        counted["Sites_Excluded"] = excluded.groupby([sites[name] for name in WELL]).sum()
    if measured is not None:
        counted["Sites_Measured"] = measured.drop_duplicates([*WELL, "Metadata_Site"]).groupby(WELL).size()
    if cells is not None and "Metadata_Count_Cells" in cells:
        counted["Cells"] = cells.groupby(WELL)["Metadata_Count_Cells"].sum()
    counts = pd.DataFrame(counted).rename_axis(WELL).reset_index() if counted else pd.DataFrame(columns=WELL)
    merged = wells.merge(counts, on=WELL, how="outer", sort=False) if len(counts) else wells
    merged = with_layout_columns(merged)
    batch = next((value for value in merged["Metadata_Batch"] if value), "")
    merged.loc[merged["Metadata_Batch"] == "", "Metadata_Batch"] = batch
    for name in COUNTS:
        known = merged.get(name, pd.Series(np.nan, merged.index)).astype(float)
        merged[name] = known.fillna(0.0) if name in counted or name in merged and name in counts else known
    imaged = merged["Sites"] > 0 if "Sites" in counted else pd.Series(True, merged.index)
    merged.loc[~imaged, ["Sites_Measured", "Cells", "Images_Flagged", "Sites_Excluded"]] = np.nan
    return merged[[*LAYOUT, *COUNTS]].sort_values(WELL, kind="stable").reset_index(drop=True)


def _all_sites(indexed, unusable):
    """Different sites of a plate: those of the index and those that the index lost."""
    keys = [*WELL, "site"]
    found = [indexed[keys].astype(str)]
    if unusable is not None:
        lost = unusable[(unusable["severity"] == "lost") & (unusable["unit"] == "site")]
        found.append(lost.rename(columns={"plate": WELL[0], "well": WELL[1]})[keys].dropna().astype(str))
    return pd.concat(found).drop_duplicates()


def count_plates(wells):
    """One row per plate from the rows of :func:`count_wells`: sums, numbers of names, and the coverage.

    Coverage is the share of the plate's sites that gave features; NaN where there are no images.
    """
    rows = []
    order = wells[["Metadata_Batch", "Metadata_Plate"]].drop_duplicates("Metadata_Plate").to_numpy().tolist()
    groups = dict(tuple(wells.groupby("Metadata_Plate", sort=False)))
    for _, plate in sorted(order, key=lambda row: (natural(row[0]), natural(row[1]))):
        group = groups[plate]
        named = group[group["Metadata_Perturbation"] != ""]
        totals = {name: group[name].sum(min_count=1) for name in COUNTS}
        rows.append(
            {
                "Metadata_Batch": group["Metadata_Batch"].iloc[0],
                "Metadata_Plate": plate,
                "Wells": len(group),
                "Wells_Imaged": float((group["Sites"] > 0).sum()) if group["Sites"].notna().any() else np.nan,
                "Wells_Empty": float((group["Cells"] == 0).sum()) if group["Cells"].notna().any() else np.nan,
                "Wells_Unlabelled": int((group["Metadata_Perturbation"] == "").sum()),
                "Wells_Negative": int((group["Metadata_Control"] == "negative").sum()),
                "Wells_Positive": int((group["Metadata_Control"] == "positive").sum()),
                "Perturbations": named["Metadata_Perturbation"].nunique(),
                "Treatments": treatment(named).nunique(),
                **totals,
                "Coverage": totals["Sites_Measured"] / totals["Sites"] if totals["Sites"] > 0 else np.nan,
            }
        )
    columns = ["Metadata_Batch", "Metadata_Plate", "Wells", "Wells_Imaged", "Wells_Empty", "Wells_Unlabelled"]
    columns += ["Wells_Negative", "Wells_Positive", "Perturbations", "Treatments", *COUNTS, "Coverage"]
    return pd.DataFrame(rows, columns=columns)


def well_quality(quality):
    """Median of every Quality_* measure per well and channel, of one plate's image qualities."""
    measures = [name for name in quality.columns if name.startswith("Quality_")]
    keys = [*WELL, "Metadata_Channel"]
    numbers = quality[measures].apply(pd.to_numeric, errors="coerce").astype("float32")
    return pd.concat([quality[keys], numbers], axis=1).groupby(keys, sort=True).median().reset_index()


def dataset_warnings(dataset, plates, wells, coverage):
    """What a reader should know before trusting a dataset, as a list of (severity, sentence); serious ones first.

    coverage: the share of sites below which a plate counts as failed.
    """
    found = []

    def say(severity, selected, sentence):
        names = [str(name) for name in plates.loc[selected, "Metadata_Plate"]]
        if names:
            listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            found.append((severity, f"{dataset}: {count(len(names), 'plate')} {sentence} ({listed})."))

    if plates.empty:
        return [("serious", f"{dataset}: it has no plates or wells to count.")]
    say("serious", plates["Coverage"] < coverage, f"below the required coverage of {share(coverage)} of the sites")
    say("serious", plates["Cells"] == 0, "without a single cell")
    say("caution", plates["Wells_Negative"] == 0, "without negative controls")
    say(
        "caution",
        plates["Sites_Excluded"] > 0.2 * plates["Sites"],
        "with more than a fifth of the sites excluded for their quality",
    )
    say("caution", plates["Wells_Unlabelled"] > 0, "with wells that have images or cells but no entry in the plate map")
    unimaged = plates["Wells"] - plates["Wells_Imaged"]
    say(
        "caution",
        unimaged > 0,
        f"with wells in the plate map but no images, {int(unimaged.clip(lower=0).sum()):,} in all",
    )
    say(
        "note",
        plates["Wells_Empty"] > 0,
        f"with wells in which no cell was kept, {int(plates['Wells_Empty'].sum()):,} in all",
    )
    if plates["Metadata_Batch"].nunique() == 1 and len(plates) > 1:
        found.append(("note", f"{dataset}: all plates are of one batch, so that batch effects cannot be judged."))
    treated = wells[(wells["Metadata_Perturbation"] != "") & (wells["Metadata_Control"] != "negative")]
    replicates = treatment(treated).value_counts()
    single = int((replicates == 1).sum())
    if single:
        found.append(
            (
                "note",
                f"{dataset}: {single:,} of {count(len(replicates), 'treatment')} stand in one well only, no replicate.",
            )
        )
    order = {"serious": 0, "caution": 1, "note": 2}
    return sorted(found, key=lambda row: order[row[0]])


def known_wells(tables):
    """One row per well from the well tables of several representations: the first known value of each column."""
    tables = [table for table in tables if len(table) and set(WELL) <= set(table.columns)]
    if not tables:
        return pd.DataFrame(columns=WELL)
    joined = pd.concat([table.assign(**{name: table[name].astype(str) for name in WELL}) for table in tables])
    return joined.groupby(WELL, sort=False).first().reset_index()


def summarize(plates, features=()):
    """(plates, wells, quality) of a dataset. Counts per plate and per well, and quality per well and channel.

    plates: iterable of dicts with the tables of one plate as :func:`count_wells` takes them (layout, and index,
    quality, sites, measured, cells, or None). features: columns of `cells` that go into the table of wells.
    """
    wells, qualities = [], []
    for tables in plates:
        counted = count_wells(**tables)
        cells, quality = tables.get("cells"), tables.get("quality")
        found = [name for name in features if cells is not None and name in cells]
        if found:
            counted = counted.merge(cells[[*WELL, *found]].drop_duplicates(WELL), on=WELL, how="left")
        wells.append(counted)
        if quality is not None and len(quality):
            qualities.append(well_quality(quality))
    empty = pd.DataFrame(columns=[*LAYOUT, *COUNTS]).astype(
        {name: float for name in ["Metadata_Concentration", *COUNTS]}
    )
    table = pd.concat(wells, ignore_index=True) if wells else empty
    quality = (
        pd.concat(qualities, ignore_index=True) if qualities else pd.DataFrame(columns=[*WELL, "Metadata_Channel"])
    )
    return count_plates(table), table, quality
