"""Which cells a transform is fitted on and which are held out; shuffled labels; stratified samples."""

import zlib

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import METADATA, metadata_columns
from phenoloom.profiles.annotation import as_text

#: Where a cell stands: it was fitted on, held out, or (transductive) fitted on like all others.
SPLIT = "Metadata_Split"
TRAIN, TEST, ALL = "train", "test", "all"


def transductive(metadata):
    """Whether the cells were themselves fitted on: Metadata_Split is `all`."""
    return SPLIT in metadata and bool((metadata[SPLIT] == ALL).all())


def stream(seed, name):
    """NumPy generator that depends on the seed and on what it is for, and on nothing else."""
    return np.random.default_rng([int(seed), zlib.crc32(name.encode())])


def column_name(name):
    """Name of a metadata column, written with or without its prefix."""
    return name if name.startswith(METADATA) else METADATA + name


def column(metadata, name):
    """A metadata column as an object array (n,) of text, '' where missing. Raises InputError when it is not there."""
    if column_name(name) not in metadata:
        known = ", ".join(item.removeprefix(METADATA) for item in metadata_columns(metadata.columns))
        raise InputError(f"the table of cells has no column {column_name(name)}; choose one of {known or 'none'}")
    return as_text(metadata[column_name(name)]).to_numpy(dtype=object)


def groups_of(metadata, names):
    """Integer code (n,) of the combination of several metadata columns; all zero for no names."""
    if not names:
        return np.zeros(len(metadata), dtype=np.int64)
    keys = pd.DataFrame({name: column(metadata, name) for name in names})
    return keys.groupby(list(names), sort=True).ngroup().to_numpy()


def shuffled(metadata, name, within, seed):
    """The labels (n,) of a metadata column in random order, each group of `within` on its own: a negative control.

    Cells without a label stay without one, so that as many cells have each label as before.
    """
    labels = column(metadata, name)
    rng = stream(seed, "permute")
    groups = groups_of(metadata, within)
    result = labels.copy()
    for code in np.unique(groups):
        inside = np.flatnonzero((groups == code) & (labels != ""))
        result[inside] = labels[rng.permutation(inside)]
    return result


def assigned(metadata, labels, options, seed, unit="cell"):
    """(split, note): `train`, `test` or `all` for each cell (n,), and a sentence that says how.

    hold_out: `none` (all cells; a learned metric then has seen the labels of every cell it is judged on), `cells` (a
    share of the cells, the same of each label) or a metadata column, of which whole groups are held out: those named in
    `groups`, or a share of them drawn by the seed. labels: (n,) text that stratifies, or None.
    A label with a single cell stays in training. unit: what a row is, for sentences. Raises InputError when one side
    would be empty.
    """
    if options["hold_out"] == "none":
        note = f"transductive: fitted on all {unit}s, so that scores on them do not speak of new {unit}s"
        return np.full(len(metadata), ALL, dtype=object), note
    rng = stream(seed, "split")
    if options["hold_out"] == "cells":
        held = _held_cells(labels if labels is not None else np.full(len(metadata), ""), options["share"], rng)
        note = f"{held.sum():,} of {len(held):,} {unit}s held out at random"
    else:
        groups = column(metadata, options["hold_out"])
        chosen = _held_groups(groups, options, rng, unit)
        held = np.isin(groups, chosen)
        note = f"held out: {options['hold_out']} {', '.join(chosen)} ({held.sum():,} of {len(held):,} {unit}s)"
    if held.all() or not held.any():
        raise InputError(
            f"the split by {options['hold_out']} leaves no {unit} {'to fit on' if held.all() else 'held out'} "
            f"of {len(held):,}; change its share or hold out something else"
        )
    return np.where(held, TEST, TRAIN).astype(object), note


def beside_network(split, learned, note, hold_out):
    """(split, note) of cells whose representation a network made that itself held cells out of its training.

    split, note: as `assigned` gives them, by `hold_out`. learned: (n,) sides of the network's split. Cells that taught
    the network are never held out: with `cells` those that it held out are; groups must be held out of both.
    Raises InputError where they are not.
    """
    if (learned == ALL).all() and (split == TEST).any():
        return split, f"{note}; the network that made the representation has seen the images of all cells"
    if hold_out == "none" or not (learned == TRAIN).any():
        return split, note
    if hold_out == "cells":
        held = learned == TEST
        return learned, f"held out: the {held.sum():,} of {len(held):,} cells that the network did not learn from"
    if seen := int(((split == TEST) & (learned == TRAIN)).sum()):
        raise InputError(
            f"{seen:,} of the cells held out by {hold_out} taught the network that made the representation; give the "
            f"model `split: {{hold_out: {hold_out}}}` with the same groups, or hold out cells"
        )
    return split, note


def _held_cells(labels, share, rng):
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels.astype(str)):
        inside = np.flatnonzero(labels == label)
        size = min(max(1, round(share * len(inside))), len(inside) - 1)
        held[rng.permutation(inside)[:size]] = True
    return held


def _held_groups(groups, options, rng, unit):
    present = sorted(set(groups) - {""})
    where = f"split holds out by {options['hold_out']}"
    if (groups == "").any():
        raise InputError(f"{where}, but {int((groups == '').sum()):,} {unit}s have none; fill the column in")
    if len(present) < 2:
        raise InputError(
            f"{where}, of which there is only {present[0] if present else 'none'}; hold out {unit}s instead"
        )
    wanted = [str(name) for name in options["groups"]]
    unknown = [name for name in wanted if name not in present]
    if unknown:
        raise InputError(f"{where}, but no {unit} has {unknown[0]!r}; there are {', '.join(present[:20])}")
    if wanted:
        return sorted(wanted)
    size = min(max(1, round(options["share"] * len(present))), len(present) - 1)
    return sorted(np.array(present, dtype=object)[rng.permutation(len(present))[:size]])


def stratified_sample(labels, size, rng, at_least=10):
    """Sorted positions of at most about `size` of the rows, the same share of each label.

    labels: (n,) any values. Of small classes `at_least` rows are taken where there are as many, so that rare classes
    are not lost; the sample may be larger than `size` by these.
    """
    codes = pd.factorize(np.asarray(labels, dtype=object))[0]
    if len(codes) <= size:
        return np.arange(len(codes))
    chosen = []
    for code in range(codes.max() + 1):
        inside = np.flatnonzero(codes == code)
        number = min(len(inside), max(int(size * len(inside) / len(codes)), at_least))
        chosen.append(rng.permutation(inside)[:number])
    return np.sort(np.concatenate(chosen))
