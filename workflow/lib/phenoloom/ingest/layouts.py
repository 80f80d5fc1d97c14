"""What is in each well: plate maps, barcode tables, annotations and controls become one table of wells."""

from pathlib import Path

import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import METADATA, read_text_table
from phenoloom.core.wells import normalize_well, position
from phenoloom.ingest.geometry import PLATE_COLUMNS, find_path, plate_rows

#: Columns that every layout has, in order, and what may stand for them in a plate map.
KNOWN = {
    "Well": ("well", "well_position", "well_name", "wellposition"),
    "Perturbation": ("perturbation", "compound", "treatment"),
    "Concentration": ("concentration", "dose"),
    "Unit": ("unit", "units", "concentration_unit"),
    "Control": ("control", "control_type"),
    "MoA": ("moa", "mechanism", "mechanism_of_action"),
}

#: Words that say what a control is where the config maps no values of its own.
NEGATIVE, POSITIVE = ("negative", "negcon", "neg"), ("positive", "poscon", "pos")

#: Words for an absent value in plate maps of labs. "NA" of an annotation is absent, "na" of a compound could be sodium.
ABSENT = ("", "NA", "N/A", "NaN", "nan", "NULL")


def read_layout(block, dataset=None):
    """Layout of all plates of a dataset from its config block.

    Returns a DataFrame, one row per well of each plate's map: Metadata_Batch, Plate, Well, Perturbation, Concentration
    (float, NaN without one), Unit, Control (negative, positive or ""), MoA ("" unknown), and every other column of
    plate map, annotations and table of plates as Metadata_<its name>. Names pass through as they are.
    Raises InputError naming every plate without a map, and the file and the well of anything else.
    """
    laid = laid_out(block, dataset)
    read = {path: read_platemap(path, block) for path in sorted({path for _, path in laid})}
    layout = pd.concat([layout_of_plate(read[path], row) for row, path in laid], ignore_index=True)
    texts = [name for name in layout.columns if name != f"{METADATA}Concentration"]
    layout[texts] = layout[texts].fillna("")
    return layout


def laid_out(block, dataset=None):
    """[(row, path of its plate map)] for each plate of a dataset's config block, in the order of its table.

    A row is a dict of text: batch, plate, and every column of the table of plates that has no meaning of its own, ""
    where it is empty. Raises InputError naming every plate without a map.
    """
    rows = plate_rows(block["plates"], dataset, block.get("exclude_plates") or ())
    maps, problems = plate_maps(rows, block.get("barcodes"))
    if problems:
        raise InputError("\n  ".join([f"{block['plates']}: plate maps are missing:", *problems]))
    own = dict.fromkeys(name for row in rows for name in row if name not in PLATE_COLUMNS)
    names = ("batch", "plate", *own)
    return [({name: row.get(name, "") for name in names}, maps[row["plate"]]) for row in rows]


def layout_of_plate(platemap, row):
    """Layout of one plate: its map (read_platemap) with the columns of its row (laid_out)."""
    frame = platemap.copy()
    frame.insert(0, f"{METADATA}Batch", row["batch"])
    frame.insert(1, f"{METADATA}Plate", row["plate"])
    for name, value in row.items():
        if metadata_name(name) not in frame and name not in PLATE_COLUMNS:
            frame[metadata_name(name)] = value
    return frame


def plate_maps(rows, barcodes=None):
    """({plate: path of its map}, [sentence for each plate without one]) from rows of the table of plates."""
    named = _barcode_maps(barcodes) if barcodes else {}
    found, problems = {}, []
    for row in rows:
        plate, path = row["plate"], row["platemap"]
        if not path and barcodes:
            if plate not in named:
                problems.append(f"plate {plate}: {barcodes['table']} has no such barcode")
                continue
            path = _map_file(barcodes["platemaps"], named[plate])
            if path is None:
                problems.append(f"plate {plate}: {barcodes['platemaps']} has no map called {named[plate]}")
                continue
        if not path:
            problems.append(f"plate {plate}: the column platemap is empty and there is no barcode table")
        elif not Path(path).is_file():
            problems.append(f"plate {plate}: the plate map {path} does not exist")
        else:
            found[plate] = path
    return found, problems


def _barcode_maps(barcodes):
    """{plate: name of its map} of a barcode table; a plate may be listed again with the same map."""
    path = barcodes["table"]
    frame = read_text_table(path)
    names = {name.casefold(): name for name in frame.columns}
    missing = [name for name in ("Assay_Plate_Barcode", "Plate_Map_Name") if name.casefold() not in names]
    if missing:
        raise InputError(f"{path} lacks the column {', '.join(missing)}; is it a barcode table?")
    pairs = frame[[names["assay_plate_barcode"], names["plate_map_name"]]].drop_duplicates()
    plates = pairs.iloc[:, 0]
    doubled = sorted(plates[plates.duplicated()].unique())
    if doubled:
        raise InputError(f"{path} gives the plate {', '.join(doubled)} two different maps; keep one")
    return dict(zip(plates, pairs.iloc[:, 1], strict=True))


def _map_file(folder, name):
    for suffix in ("", ".txt", ".tsv", ".csv"):
        path = Path(folder) / f"{name}{suffix}"
        if path.is_file():
            return str(path)
    return None


def read_platemap(path, block=None):
    """One plate map as Metadata_* columns, sorted by well. block: dataset's config, for mapped columns, annotations
    and controls. Raises InputError naming file and well for a well that is none or that comes twice.
    """
    block = block or {}
    frame = read_text_table(path)
    if frame.columns.duplicated().any():
        doubled = ", ".join(frame.columns[frame.columns.duplicated()])
        raise InputError(f"{path} has the column {doubled} twice; rename one")
    if block.get("annotations"):
        frame = _annotate(frame, path, block["annotations"])
    mapped = block.get("platemap_columns") or {}
    columns = {known: _column(frame, path, known, mapped.get(known)) for known in KNOWN}
    if columns["Well"] is None:
        raise InputError(f"{path} has no column well; it has {', '.join(frame.columns)}")
    if columns["Perturbation"] is None:
        raise InputError(
            f"{path} has no column perturbation; name the one that holds it as platemap_columns.Perturbation "
            f"(it has {', '.join(frame.columns)})"
        )
    layout = pd.DataFrame({f"{METADATA}Well": _wells(frame[columns["Well"]], path)})
    layout[f"{METADATA}Perturbation"] = frame[columns["Perturbation"]]
    layout[f"{METADATA}Concentration"] = _concentrations(frame, columns["Concentration"], path)
    layout[f"{METADATA}Unit"] = frame[columns["Unit"]] if columns["Unit"] else ""
    layout[f"{METADATA}Control"] = _controls(frame, path, columns["Control"], block.get("controls") or {})
    layout[f"{METADATA}MoA"] = _known_only(frame[columns["MoA"]]) if columns["MoA"] else ""
    # "Control vehicle" is no mechanism that others could share.
    layout.loc[layout[f"{METADATA}Control"] == "negative", f"{METADATA}MoA"] = ""
    # A negative control is often an empty cell; it still needs a name to be grouped by.
    empty = (layout[f"{METADATA}Perturbation"] == "") & (layout[f"{METADATA}Control"] == "negative")
    if "solvent" in frame:
        layout.loc[empty, f"{METADATA}Perturbation"] = frame.loc[empty, "solvent"]
    layout.loc[empty & (layout[f"{METADATA}Perturbation"] == ""), f"{METADATA}Perturbation"] = "negative control"
    for name in frame.columns:
        if name != columns["Well"] and metadata_name(name) not in layout:
            layout[metadata_name(name)] = frame[name]
    order = sorted(layout.index, key=lambda number: position(layout.at[number, f"{METADATA}Well"]))
    return layout.loc[order].reset_index(drop=True)


def metadata_name(name):
    """Name of a user's column in a layout: Metadata_ before it, a known word in its usual writing."""
    own = name.removeprefix(METADATA)
    known = {alias: word for word, aliases in KNOWN.items() for alias in aliases[:1]}
    return METADATA + known.get(own.casefold(), own)


def _annotate(frame, path, block):
    keys = [block["by"]] if isinstance(block["by"], str) else list(block["by"])
    table = read_text_table(block["table"])
    for name, where in ((path, frame), (block["table"], table)):
        missing = [key for key in keys if key not in where]
        if missing:
            raise InputError(f"{name} lacks the column {', '.join(missing)} that annotations.by joins by")
    # JUMP leaves the key of DMSO empty in one table and writes NA in the other.
    frame, table = frame.copy(), table.copy()
    for key in keys:
        frame[key], table[key] = _known_only(frame[key]), _known_only(table[key])
    table = table.drop_duplicates()
    doubled = table[table.duplicated(keys)]
    if len(doubled):
        raise InputError(f"{block['table']} has rows that differ for {doubled.iloc[0][keys[0]]!r}; keep one")
    more = [name for name in table.columns if name in keys or name not in frame]
    return frame.merge(table[more], on=keys, how="left").fillna("")


def _column(frame, path, known, mapped):
    if mapped is not None:
        if mapped not in frame:
            raise InputError(
                f"{path} has no column {mapped!r} (platemap_columns.{known}); it has {', '.join(frame.columns)}"
            )
        return mapped
    names = {name.removeprefix(METADATA).casefold(): name for name in frame.columns}
    return next((names[alias] for alias in KNOWN[known] if alias in names), None)


def _wells(column, path):
    wells = []
    for line, text in enumerate(column, start=2):
        try:
            wells.append(normalize_well(text))
        except ValueError as error:
            raise InputError(f"{path}, line {line}: {error}") from error
    doubled = sorted({well for well in wells if wells.count(well) > 1}, key=position)
    if doubled:
        more = f" and {len(doubled) - 8} more" if len(doubled) > 8 else ""
        raise InputError(f"{path} lists the well {', '.join(doubled[:8])}{more} more than once; keep one line per well")
    return wells


def _concentrations(frame, column, path):
    if column is None:
        return float("nan")
    texts = frame[column].where(~frame[column].isin(ABSENT), "")
    values = pd.to_numeric(texts, errors="coerce").astype(float)
    wrong = texts[(texts != "") & values.isna()]
    if len(wrong):
        raise InputError(f"{path}, line {wrong.index[0] + 2}: the concentration {wrong.iloc[0]!r} is no number")
    return values


def _controls(frame, path, column, values):
    """Text negative, positive or "" for each row, by mapped values or by the words that labs use."""
    negative, positive = values.get("negative") or (), values.get("positive") or ()
    column = values.get("column") or column
    if column is None:
        if negative or positive:
            raise InputError(f"{path} has no column for controls; name it as controls.column")
        return ""
    if column not in frame:
        raise InputError(f"{path} has no column {column!r} (controls.column); it has {', '.join(frame.columns)}")
    texts = frame[column]
    if not negative and not positive:
        texts, negative, positive = texts.str.casefold(), NEGATIVE, POSITIVE
    kinds = pd.Series("", index=frame.index)
    kinds[texts.isin(list(negative))] = "negative"
    kinds[texts.isin(list(positive))] = "positive"
    return kinds


def _known_only(column):
    return column.where(~column.isin(ABSENT), "")


def simulated_layout(truth):
    """Layout from the simulator's table of wells: its Metadata_* columns that are of a layout."""
    names = ["Batch", "Plate", *KNOWN]
    return truth[[f"{METADATA}{name}" for name in names]].reset_index(drop=True)


__all__ = [
    "find_path",
    "laid_out",
    "layout_of_plate",
    "metadata_name",
    "plate_maps",
    "read_layout",
    "read_platemap",
    "simulated_layout",
]
