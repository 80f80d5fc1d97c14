"""The steps of a cell profile: split, fit on training cells, apply to all, and an account of what was left out."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import feature_columns, metadata_columns
from phenoloom.core.words import count
from phenoloom.metric_learning.chain import parse
from phenoloom.metric_learning.learning import fit_metric
from phenoloom.metric_learning.objectives import limited_threads
from phenoloom.metric_learning.reduction import fit_pca
from phenoloom.metric_learning.scaling import fit_scale, scaled
from phenoloom.metric_learning.selection import dropped_features
from phenoloom.metric_learning.splits import (
    SPLIT,
    TEST,
    assigned,
    beside_network,
    column,
    column_name,
    shuffled,
    stratified_sample,
    stream,
)
from phenoloom.metric_learning.transform import Transform, apply, values_of
from phenoloom.profiles.dropped import Dropped


@dataclass(frozen=True)
class CellProfile:
    """metadata: DataFrame (n,) with Metadata_Split. embedding: (n, k) float32, finite. transform: what was fitted.

    dropped: DataFrame (profiles.dropped.SCHEMA). notes: sentences about how it was made.
    """

    metadata: pd.DataFrame
    embedding: np.ndarray
    transform: Transform
    dropped: pd.DataFrame
    notes: list


def run(table, steps, seed=0, threads=1, ledger=None):
    """CellProfile of a DataFrame of cells (Metadata_* and features): all of the chain, in memory.

    steps: see chain.STEPS. Everything is fitted on training cells only. Cells that lack a value that the transform
    needs are left out, counted per plate in the ledger. The same table, steps, seed and threads give the same bytes.
    Raises InputError for what cannot be fitted. For tables that do not fit into memory see `streaming`.
    """
    ledger = ledger or Ledger("cell_profile")
    dropped = Dropped()
    metadata, rows, notes = planned(table[metadata_columns(table.columns)].reset_index(drop=True), steps, seed)
    sample = pd.concat([metadata.iloc[rows], _features(table).iloc[rows].set_axis(rows)], axis="columns")
    transform, more = fit(sample, steps, seed, threads, ledger, dropped)
    with limited_threads(threads):
        embedding = apply(transform, table)
    complete = np.isfinite(embedding).all(axis=1)
    tell_incomplete(metadata, complete, ledger, dropped)
    metadata = metadata[complete].reset_index(drop=True)
    return CellProfile(metadata, embedding[complete], transform, dropped.frame(), [*notes, *more])


def planned(metadata, steps, seed):
    """(metadata, rows, notes): labels shuffled where the chain says so, Metadata_Split set, and the rows to fit on.

    metadata: DataFrame of all cells. rows: sorted positions of at most `max_cells` training cells, the same share of
    each label (and of each group that `scale` goes by).
    """
    if metadata.empty:
        raise InputError("the table of cells has no row; the ledgers of the steps before say why")
    metadata, notes = metadata.copy(), []
    parsed = dict(parse(steps))
    if "permute" in parsed:
        name, within = parsed["permute"]["column"], parsed["permute"]["within"]
        metadata[column_name(name)] = shuffled(metadata, name, within, seed)
        notes.append(
            f"control: {name} shuffled among the cells" + (f" within each {', '.join(within)}" if within else "")
        )
    options, by = parsed["split"], parsed.get("scale", {}).get("by")
    known = options["stratify"] and column_name(options["stratify"]) in metadata
    labels = column(metadata, options["stratify"]) if known else np.full(len(metadata), "", dtype=object)
    split, note = assigned(metadata, labels, options, seed)
    if SPLIT in metadata:
        split, note = beside_network(split, column(metadata, SPLIT), note, options["hold_out"])
    metadata[SPLIT] = split
    training = np.flatnonzero(split != TEST)
    strata = labels
    if by:
        strata = [f"{label}\x1f{group}" for label, group in zip(labels, column(metadata, by), strict=True)]
    rows = training[
        stratified_sample(np.array(strata, dtype=object)[training], options["max_cells"], stream(seed, "fit"))
    ]
    notes.append(note)
    if len(rows) < len(training):
        notes.append(f"scale, select and pca fitted on {len(rows):,} of {len(training):,} training cells")
    return metadata, rows, notes


def fit(table, steps, seed=0, threads=1, ledger=None, dropped=None):
    """(Transform, notes): scale, select, pca and metric fitted on training cells.

    table: DataFrame of training cells only, held in memory (see `planned`); ValueError when it has held-out cells.
    ledger, dropped: take the features that are left out. Cells with missing values are left out of pca and metric.
    """
    if SPLIT in table and (table[SPLIT] == TEST).any():
        raise ValueError("held-out cells are never fitted on")
    ledger, dropped = ledger or Ledger("cell_profile"), dropped or Dropped()
    features = list(_features(table).columns)
    values = values_of(table, features)
    stages, notes, by = [], [], ""
    names = np.array(features, dtype=object)
    complete = False
    for step, options in parse(steps):
        if step in ("pca", "metric") and not complete:
            table, values, note = _complete_cells(table, values)
            notes, complete = notes + note, True
        if step == "select":
            reasons = dropped_features(values, names, **options)
            _tell_features(names, reasons, ledger, dropped)
            kept = np.flatnonzero(reasons == "")
            values, names = values[:, kept], names[kept]
            stages.append(("select", {"kept": kept}))
        elif step == "scale":
            by = options["by"] or ""
            groups = column(table, by) if by else np.full(len(table), "", dtype=object)
            arrays = dict(zip(("names", "centre", "spread"), fit_scale(values, groups, options["method"]), strict=True))
            values = scaled(values, groups, by, **arrays)
            stages.append(("scale", arrays))
        elif step == "pca":
            with limited_threads(threads):
                centre, components, explained = fit_pca(values, options["n"], options["whiten"])
            values = (values - centre) @ components.T
            stages.append(("linear", {"centre": centre, "components": components}))
            notes.append(f"pca: {len(components)} components hold {explained.sum():.1%} of the variance")
        elif step == "metric" and options["method"] != "none":
            components, more = fit_metric(values, column(table, options["label"]), options, seed, threads)
            stages.append(("linear", {"centre": np.zeros(components.shape[1]), "components": components}))
            notes.extend(more)
    return Transform(features, by, stages), notes


def embedding_table(profile, name):
    """DataFrame of metadata and columns Embedding_{name}_0001 ... float32, as a representation is written.

    profile: CellProfile. name: of the cell profile.
    """
    return with_columns(profile.metadata, profile.embedding, name)


def with_columns(metadata, embedding, name):
    """Metadata with the columns of an embedding (n, k) beside it, named by the profile."""
    names = [f"Embedding_{name}_{number:04d}" for number in range(1, embedding.shape[1] + 1)]
    return pd.concat([metadata, pd.DataFrame(embedding, columns=names, index=metadata.index)], axis="columns")


def tell_incomplete(metadata, complete, ledger, dropped):
    """Count the cells (mask `complete` (n,)) that the transform cannot embed, per plate. InputError when all are so."""
    if not complete.any():
        raise InputError("every cell lacks a feature that the profile needs; lower missing_share of its step select")
    lost = metadata[~complete]
    plates = column(lost, "Plate") if "Metadata_Plate" in lost else np.full(len(lost), "", dtype=object)
    reason = "a feature that the profile needs has no value"
    for plate in np.unique(plates.astype(str)):
        number = int((plates == plate).sum())
        dropped.add("cell", "", "cell_profile", reason, plate, number)
        where = {"plate": plate} if plate else {}
        ledger.add(f"{count(number, 'cell')} left out: {reason}", unit="cell", count=number, **where)


def _features(table):
    """The feature columns of a DataFrame. Raises InputError when there are none or a name stands twice."""
    names = feature_columns(table) if table.columns.is_unique else list(table.columns)
    twice = sorted({name for name in names if names.count(name) > 1}) if not table.columns.is_unique else []
    if twice:
        raise InputError(f"the table of cells has several columns named {twice[0]}; give each a name of its own")
    if not names:
        raise InputError("the table of cells has no feature columns; check the representation that it comes from")
    return table[names]


def _complete_cells(table, values):
    """Table and values of the training cells without missing values, and a note when some were left out."""
    complete = np.isfinite(values).all(axis=1)
    if complete.sum() < 2 or not values.shape[1]:
        raise InputError(
            f"{int(complete.sum())} of {len(values):,} training cells have a value for all {values.shape[1]} features; "
            "lower missing_share of step select, so that features with gaps go instead"
        )
    if complete.all():
        return table, values, []
    note = f"{int((~complete).sum()):,} of {len(values):,} training cells with missing values left out of the fit"
    return table[complete], values[complete], [note]


def _tell_features(names, reasons, ledger, dropped):
    for name, reason in zip(names, reasons, strict=True):
        if reason:
            dropped.add("feature", name, "select", reason)
    lost = np.unique(reasons[reasons != ""].astype(str), return_counts=True)
    for reason, number in zip(*lost, strict=True):
        ledger.add(f"{count(int(number), 'feature')} left out: {reason}", "flagged", unit="feature", count=int(number))
    if (reasons != "").all():
        raise InputError(f"step select leaves none of {len(names)} features ({reasons[0]}); loosen its options")
