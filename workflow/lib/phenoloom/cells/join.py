"""Compartments of one cell joined into one row, with the column names of CytoTable and pycytominer.

A compartment is any object type of a pipeline (Cells, Cytoplasm, Nuclei by default). One of them, the base, points to
the others by its Parent_ columns; each of its objects is a cell.
"""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError

#: Objects that are joined where a study names none, those of them that exist.
COMPARTMENTS = ("Cytoplasm", "Cells", "Nuclei")

_KEYS = ("ImageNumber", "ObjectNumber", "TableNumber")


def choose_compartments(available, wanted=None):
    """Compartments to join: `wanted`, or those of COMPARTMENTS that are available, or the only object there is.

    Raises InputError when a wanted one does not exist or when there is no sensible choice.
    """
    if wanted:
        missing = [name for name in wanted if name not in available]
        if missing:
            raise InputError(
                f"there are no objects called {', '.join(missing)} among {', '.join(sorted(available)) or 'none'}; "
                "correct cells.compartments"
            )
        return list(wanted)
    chosen = [name for name in COMPARTMENTS if name in available]
    if chosen:
        return chosen
    if len(available) == 1:
        return list(available)
    raise InputError(
        f"none of {', '.join(COMPARTMENTS)} is among the objects {', '.join(sorted(available)) or 'none'}; "
        "name the objects to join under cells.compartments"
    )


def choose_base(features):
    """The compartment whose objects are the cells: the one whose parents are, directly or not, all the others.

    features: {compartment: its columns}. Of several, the first with the most direct parents. Raises InputError when
    there is none, for then nothing says which nucleus belongs to which cell.
    """
    reach = {name: _parents_of(name, features) for name in features}
    fit = [name for name in features if set(reach[name]) == set(features) - {name}]
    if not fit:
        raise InputError(
            f"no Parent_ column joins the objects {', '.join(features)}; relate them in the pipeline (RelateObjects, "
            "IdentifySecondaryObjects, IdentifyTertiaryObjects) or name fewer under cells.compartments"
        )
    return min(fit, key=lambda name: sum(len(path) for path in reach[name].values()))


def joined_columns(features):
    """Feature columns of the joined table, in order, from {compartment: its columns}; and its metadata columns."""
    metadata = ["Metadata_ImageNumber", "Metadata_ObjectNumber"]
    columns = []
    for name in sorted(features):
        for feature in features[name]:
            renamed = rename(name, feature)
            if renamed is not None:
                (metadata if renamed.startswith("Metadata_") else columns).append(renamed)
        number = f"Metadata_{name}_Number_Object_Number"
        if number not in metadata:
            metadata.append(number)
    return metadata, columns


def rename(compartment, column):
    """Name of a compartment's column in the joined table; None for its keys.

    >>> rename("Cells", "AreaShape_Area"), rename("Cells", "Parent_Nuclei")
    ('Cells_AreaShape_Area', 'Metadata_Cells_Parent_Nuclei')
    """
    if column in _KEYS:
        return None
    if column == "Number_Object_Number" or column.startswith("Parent_"):
        return f"Metadata_{compartment}_{column}"
    return f"{compartment}_{column}"


def join_compartments(objects):
    """Join {compartment: DataFrame with ImageNumber, ObjectNumber, features} to one row per object of the base.

    Returns (DataFrame, {ImageNumber or None: reasons}, number of base objects dropped since a parent is missing).
    An image with duplicate object numbers is left out, with its reason. Feature columns are float32.
    """
    features = {name: list(frame.columns) for name, frame in objects.items()}
    base = choose_base(features)
    refused = {}
    for name, frame in objects.items():
        twice = frame.duplicated(["ImageNumber", "ObjectNumber"])
        for number in frame.loc[twice, "ImageNumber"].unique():
            refused.setdefault(number, f"{name} holds an object number twice")
    if refused:
        objects = {name: frame[~frame["ImageNumber"].isin(list(refused))] for name, frame in objects.items()}
    rows = {base: np.arange(len(objects[base]))}
    whole = np.ones(len(objects[base]), dtype=bool)
    for name, path in sorted(_parents_of(base, features).items(), key=lambda item: len(item[1])):
        child = path[-2] if len(path) > 1 else base
        found = _find(objects[child].iloc[rows[child]], f"Parent_{name}", objects[name])
        whole &= found >= 0
        rows[name] = np.where(found >= 0, found, 0)
        if objects[name].empty:
            whole[:] = False
            break
    pieces = [_keys(objects[base])[whole]]
    if whole.any():
        for name in sorted(objects):
            pieces.append(_renamed(name, objects[name].iloc[rows[name][whole]]).reset_index(drop=True))
    else:
        pieces += [_renamed(name, objects[name].iloc[:0]).reset_index(drop=True) for name in sorted(objects)]
    pieces[0] = pieces[0].reset_index(drop=True)
    return pd.concat(pieces, axis=1), refused, int((~whole).sum())


def _parents_of(name, features):
    """{other compartment: chain of compartments that leads to it from `name`, itself last}, the shortest chains."""
    found, queue = {}, [(name, ())]
    while queue:
        current, path = queue.pop(0)
        for column in features[current]:
            parent = column[len("Parent_") :] if column.startswith("Parent_") else None
            if parent in features and parent != name and parent not in found:
                found[parent] = (*path, parent)
                queue.append((parent, found[parent]))
    return found


def _find(children, column, parents):
    """Row in `parents` of each child's parent; -1 where there is none."""
    keys = pd.MultiIndex.from_arrays([parents["ImageNumber"], parents["ObjectNumber"]])
    numbers = pd.to_numeric(children[column], errors="coerce").fillna(0).astype(np.int64)
    return keys.get_indexer(pd.MultiIndex.from_arrays([children["ImageNumber"], numbers]))


def _keys(frame):
    return frame[["ImageNumber", "ObjectNumber"]].astype(np.int64).add_prefix("Metadata_")


def _renamed(name, frame):
    columns = {}
    for column in frame.columns:
        renamed = rename(name, column)
        if renamed is None:
            continue
        values = frame[column]
        if renamed.startswith("Metadata_"):
            columns[renamed] = pd.to_numeric(values, errors="coerce").fillna(0).astype(np.int64)
        elif pd.api.types.is_numeric_dtype(values):
            columns[renamed] = values.astype(np.float32)
        else:
            columns[renamed] = pd.to_numeric(values, errors="coerce").astype(np.float32)
    columns[f"Metadata_{name}_Number_Object_Number"] = frame["ObjectNumber"].astype(np.int64)
    return pd.DataFrame(columns, index=frame.index)
