"""Relevance of the cells of some plates, as tables: one of cells, one of wells, and one of what goes with relevance.

Source: CytoSummaryNet, van Dijk et al. 2024, interpretability analysis, its table 2 and supplement E.
"""

import numpy as np
import pandas as pd

from phenoloom.cell_sets.chosen import LEAST, MOST, chosen_plates
from phenoloom.cell_sets.relevance import BLOCK, Correlation, loss_gradients, relevance
from phenoloom.cell_sets.stratification import labels_of, treated_wells
from phenoloom.cell_sets.wells import KEYS
from phenoloom.core.errors import InputError
from phenoloom.profiles.annotation import plain_text

#: Columns of scores; of their correlation with a feature; and of the feature's mean among cells of either end.
SCORES = ["Sensitivity", "Activation", "Combined"]
CORRELATIONS = [f"Correlation_{score}" for score in SCORES]
MEANS = ["Mean_Most", "Mean_Least"]
#: Categories of CellProfiler's measurements of objects, the second part of a feature's name.
CATEGORIES = (
    *("AreaShape", "Children", "Classify", "Colocalization", "Correlation", "Distance", "Granularity", "Intensity"),
    *("Location", "Math", "Neighbors", "Number", "ObjectSkeleton", "Overlap", "Parent", "RadialDistribution"),
    *("Texture", "TrackObjects"),
)


def score_cells(network, cells, keys, wells, profiles, features, options, plates, ledger):
    """(cells, wells, features): DataFrames of the relevance of the treated wells' cells on a few plates.

    network: network.DeepSets. cells: store.Cells. keys: DataFrame of what names its cells, in their order. wells,
    profiles: metadata and profiles (W, dim) of the wells of all plates. features: names. options: `label`,
    `temperature` and `test_plates` of the step deep_sets. plates: how many of those of `cells` (chosen.chosen_plates).
    The loss is that of a plate's treated wells among those of all plates: a compound that lies once on each plate has
    its replicates there, and what a well has to be told from is the same everywhere. Negative controls and wells
    without a label are no part of it. One well's cells are in memory, and the profiles of all wells.
    """
    _check(network, cells, keys, features)
    labels = labels_of(wells, options["label"])
    treated = treated_wells(wells, labels)
    wells, profiles, labels = wells[treated].reset_index(drop=True), profiles[treated], labels[treated]
    here = _rows_in(cells, wells)
    plate_of = plain_text(wells["Metadata_Plate"])
    every = np.full((len(keys), len(SCORES)), np.nan, np.float32)
    starts, scored, found = np.append(0, np.cumsum(cells.lengths)), [], Features(features)
    for plate in chosen_plates(np.unique(plate_of[here >= 0]), options["test_plates"], plates):
        own = np.flatnonzero((plate_of == plate) & (here >= 0))
        gradients = loss_gradients(profiles, labels, own, options["temperature"])
        if not gradients.any():
            ledger.add(
                f"no other well of any plate shares its {options['label']} with a well of plate {plate}: the loss asks "
                "for nothing, and the relevance of its cells is their activation alone",
                severity="flagged",
                unit="plate",
                plate=plate,
            )
        for row, gradient in zip(own, gradients, strict=True):
            values = cells.read(here[row])
            scores = np.stack(list(vars(relevance(network, values, gradient)).values()), axis=1)
            every[starts[here[row]] : starts[here[row] + 1]] = scores
            found.add(values, scores)
            scored.append((row, len(scores), (scores[:, 2] > MOST).sum(), (scores[:, 2] < LEAST).sum()))
    kept = ~np.isnan(every[:, 0])
    table = keys[kept].reset_index(drop=True).assign(**dict(zip(SCORES, every[kept].T, strict=True)))
    rows, *counts = np.array(scored, dtype=np.int64).reshape(-1, 4).T
    described = wells.iloc[rows].reset_index(drop=True)
    return table, described.assign(**dict(zip(("Cells", "Most", "Least"), counts, strict=True))), found.frame()


class Features:
    """What goes with relevance: correlation of each feature with each score, and its mean at both ends."""

    def __init__(self, names):
        self.names, self.correlation = names, Correlation(len(names), len(SCORES))
        self.sums, self.counts = np.zeros((2, len(names))), np.zeros(2, np.int64)

    def add(self, values, scores):
        """Take in cells: values (M, D), scores (M, 3)."""
        for start in range(0, len(values), BLOCK):
            part = slice(start, start + BLOCK)
            self.correlation.add(values[part], scores[part])
        for end, chosen in enumerate((scores[:, 2] > MOST, scores[:, 2] < LEAST)):
            self.sums[end] += values[chosen].sum(axis=0, dtype=float)
            self.counts[end] += chosen.sum()

    def frame(self):
        """One row per feature, in their order; NaN where a feature does not vary, and without a cell."""
        parts = [parts_of(name) for name in self.names]
        named = pd.DataFrame(parts, columns=["Compartment", "Category"], dtype=object)
        named.insert(0, "Feature", self.names)
        with np.errstate(invalid="ignore"):
            means = self.sums / self.counts[:, None]
        return named.assign(
            **dict(zip(CORRELATIONS, self.correlation.result().T, strict=True)), **dict(zip(MEANS, means, strict=True))
        )


def parts_of(feature):
    """(compartment, category) of a feature named as CellProfiler does, else two empty texts.

    >>> parts_of("Cells_AreaShape_Area"), parts_of("Embedding_dino_0001")
    (('Cells', 'AreaShape'), ('', ''))
    """
    parts = feature.split("_")
    return tuple(parts[:2]) if len(parts) > 2 and parts[1] in CATEGORIES else ("", "")


def _rows_in(cells, wells):
    """Row of each well (DataFrame) among those of `cells`, -1 for one of another plate."""
    known = pd.MultiIndex.from_arrays([plain_text(cells.wells[name]) for name in KEYS])
    return known.get_indexer(pd.MultiIndex.from_arrays([plain_text(wells[name]) for name in KEYS]))


def _check(network, cells, keys, features):
    """Raise InputError where the parts do not belong together."""
    if not network.n_features == cells.features == len(features):
        raise InputError(
            f"the learned aggregation takes {network.n_features:,} features, its cells have {cells.features:,} and "
            f"their tables share {len(features):,}; make the cells again and train it again"
        )
    if len(keys) != cells.lengths.sum():
        raise InputError(
            f"{len(keys):,} keys of cells do not belong to {cells.lengths.sum():,} cells; make the cells again"
        )
