"""Splits as data: which items a model may learn from, which are held out, and the weak label of each."""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.words import count
from phenoloom.metric_learning.splits import ALL, SPLIT, TEST, TRAIN, assigned, column, column_name, shuffled
from phenoloom.profiles.annotation import KEYS, annotate, treatments
from phenoloom.profiles.queries import select

LABEL = "Metadata_WeakLabel"
TREATMENT = "Metadata_Treatment"
CONTROL = "Metadata_Control"

#: Held-out groups that a sentence names.
SHOWN = 20


def split_items(items, layout, options, label, seed, ledger, shuffle=False):
    """(DataFrame with a row per item, sentences that say how it was split).

    items: {name of the plate's or sample's files: DataFrame of the Metadata_* of its items}. layout: of the dataset,
    None where items bring their labels. options: hold_out, share, groups, samples and stratify. label: metadata
    column of the weak label (None: none). shuffle: labels in random order, as a control.
    Columns: `unit` (key of `items`), `row` (number in it, from 0), metadata of the item and its well, Metadata_Split
    and, with a label, Metadata_WeakLabel. Wells that the layout lacks go to the ledger; their items have no labels.

    hold_out: none; items, a share of them at random; Well, wells of plates at random; or any metadata column, of which
    whole groups are held out. Of wells and items the same share of each label (of `stratify`, or else the weak one) is;
    single events are then those that a cell profile with `hold_out: cells` and the same seed holds out. Negative
    controls stay in training where what wells were treated with is split (compounds, treatments, MoAs), and so do items
    of no group. Values are compared as they stand: MoA `a|b` is another group than `a`.
    Raises InputError where there is no item, a column is unknown or one side would be empty.
    """
    frame = _joined(items, layout, ledger)
    labels = None if label is None else column(frame, label)
    strata = labels if options["stratify"] is None else column(frame, options["stratify"])
    frame[SPLIT], note = _sides(frame, options, strata, seed)
    notes = [note]
    if options["samples"] != "all":
        notes.append(_only_chosen(frame, options["samples"]))
    if label is not None:
        if shuffle:
            labels = _shuffled(frame, label, seed)
            notes.append(f"the labels by {label} are in random order")
        frame[LABEL] = labels
        if without := int((labels == "").sum()):
            notes.append(f"{count(without, 'item')} of {len(frame):,} have no label by {label}")
    return frame, notes


def _joined(items, layout, ledger):
    """Items of all units with what is in their wells."""
    found = {unit: table for unit, table in items.items() if len(table)}
    if not found:
        raise InputError("no plate or sample has an item; see the ledgers of its tensor")
    frame = pd.concat(
        [table.assign(unit=unit, row=np.arange(len(table))) for unit, table in found.items()], ignore_index=True
    )
    frame = frame[["unit", "row", *(name for name in frame if name not in ("unit", "row"))]]
    if layout is None:
        return frame
    wells = annotate(frame[KEYS].drop_duplicates(), layout, ledger)
    wells = wells[[name for name in wells if name in KEYS or name not in frame]]
    frame = frame.merge(wells, on=KEYS, how="left")
    texts = frame.select_dtypes(object).columns
    frame[texts] = frame[texts].where(frame[texts].notna(), "")
    if TREATMENT not in frame:
        frame[TREATMENT] = treatments(frame)
    return frame


def _sides(frame, options, labels, seed):
    """(train, test or all for each item, sentence)."""
    hold_out = options["hold_out"]
    if hold_out == "none":
        note = "transductive: trained on all items, so that scores on them do not speak of new ones"
        return np.full(len(frame), ALL, dtype=object), note
    if hold_out == "items":
        sides = _at_random(frame, labels, options, seed)
        return sides, f"held out at random: {_share(sides)}"
    if column_name(hold_out) == KEYS[1]:
        sides = _by_well(frame, labels, options, seed)
        wells = frame.loc[sides == TEST, KEYS].drop_duplicates()
        return sides, f"held out: {count(len(wells), 'well')}, {_share(sides)}"
    groups = column(frame, hold_out)
    controls = _controls(frame, groups)
    candidates = (groups != "") & ~controls
    if not candidates.any():
        raise InputError(f"the split holds out by {hold_out}, which no item has but negative controls; choose another")
    sides = np.full(len(frame), TRAIN, dtype=object)
    sides[candidates] = assigned(frame[candidates], None, options, seed, "item")[0]
    held = sorted(set(groups[sides == TEST]))
    shown = ", ".join(held[:SHOWN]) + (f" and {len(held) - SHOWN:,} more" if len(held) > SHOWN else "")
    note = f"held out by {hold_out}: {shown} ({_share(sides)})"
    for stay, what in ((controls, "of negative controls"), ((groups == "") & ~controls, f"without {hold_out}")):
        if stay.any():
            note += f"; {count(int(stay.sum()), 'item')} {what} stay in training"
    return sides, note


def _only_chosen(frame, query):
    """Hold out the items that a query does not choose; returns the sentence that says so."""
    chosen = select(frame, query, "split")
    sides = np.where(chosen, frame[SPLIT].replace(ALL, TRAIN), TEST)
    if not (sides == TRAIN).any():
        raise InputError(f'the split\'s samples, "{query}", leave no item to train on; correct the query')
    frame[SPLIT] = sides
    return f"trained on items with {query} only; held out: {_share(sides)}"


def _at_random(rows, labels, options, seed):
    """Train or test for each row, the same share of each label."""
    return assigned(rows, labels, {**options, "hold_out": "cells"}, seed, "item")[0]


def _by_well(frame, labels, options, seed):
    """Train or test for each item by its well: those of `groups` (A01, or plate/A01), else drawn."""
    numbers = frame.groupby(KEYS, sort=True).ngroup().to_numpy()
    first = np.unique(numbers, return_index=True)[1]
    wells = frame.iloc[first]
    if not options["groups"]:
        return _at_random(wells, None if labels is None else labels[first], options, seed)[numbers]
    names = wells["Metadata_Well"].to_numpy(), (wells["Metadata_Plate"] + "/" + wells["Metadata_Well"]).to_numpy()
    wanted = [str(name) for name in options["groups"]]
    unknown = sorted(set(wanted) - set(names[0]) - set(names[1]))
    if unknown:
        raise InputError(f"the split holds out the well {unknown[0]!r}, of which there is no item")
    held = np.isin(names[0], wanted) | np.isin(names[1], wanted)
    if held.all():
        raise InputError("the split holds out all wells; leave some to train on")
    return np.where(held, TEST, TRAIN).astype(object)[numbers]


def _controls(frame, groups):
    """Which items are negative controls that stay in training: none where groups are whole plates."""
    if CONTROL not in frame:
        return np.zeros(len(frame), dtype=bool)
    of_plates = pd.Series(groups).groupby(frame["Metadata_Plate"].to_numpy()).nunique().max() == 1
    return (frame[CONTROL] == "negative").to_numpy() & (not of_plates)


def _share(sides):
    return f"{(sides == TEST).sum():,} of {count(len(sides), 'item')}"


def _shuffled(frame, label, seed):
    """The labels in random order: of wells, or of items where those of a well differ; each side by itself."""
    if KEYS[1] in frame:
        numbers = frame.groupby(KEYS, sort=True).ngroup().to_numpy()
        labels, sides = (pd.Series(column(frame, name)).groupby(numbers) for name in (label, SPLIT))
        if labels.nunique().max() == 1:
            mixed = np.where(sides.nunique() == 1, sides.first(), ALL)
            wells = pd.DataFrame({column_name(label): labels.first(), SPLIT: mixed})
            return shuffled(wells, label, [SPLIT], seed)[numbers]
    return shuffled(frame, label, [SPLIT], seed)
