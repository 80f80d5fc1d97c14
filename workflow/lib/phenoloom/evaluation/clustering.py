"""Leiden clusters of cells over resolutions and seeds, and how well they agree with labels and lie apart."""

import warnings

import numpy as np
import pandas as pd
from sklearn.metrics import (
    adjusted_rand_score,
    davies_bouldin_score,
    normalized_mutual_info_score,
    pairwise_distances,
    silhouette_score,
)
from sklearn.metrics.cluster import contingency_matrix

from phenoloom.core.errors import InputError
from phenoloom.core.words import count
from phenoloom.evaluation.results import Result, row
from phenoloom.evaluation.units import choose, text, units
from phenoloom.metric_learning.splits import stratified_sample, stream, transductive

#: Cells between which the silhouette is computed: all pairs of them.
SILHOUETTE_CELLS = 2_000

#: Leiden runs that a search for a number of clusters may take, and the resolutions between which it looks.
SEARCHES, LOWEST, HIGHEST = 24, 1e-3, 1e2

#: Measures of one clustering that enter the summary, in this order.
MEASURES = ("purity", "entropy purity", "ARI", "NMI", "silhouette", "Davies-Bouldin")


def purity(labels, clusters):
    """Share of cells whose label is the most frequent one of their cluster. labels, clusters: length n.

    Grows with the number of clusters, to 1 where each cell is its own. Source: Manning et al. 2008, Introduction to
    Information Retrieval, section 16.3.

    >>> purity(["a", "a", "b", "b"], [0, 0, 0, 1])
    0.75
    """
    table = contingency_matrix(labels, clusters)
    return float(table.max(axis=0).sum() / table.sum())


def entropy_purity(labels, clusters):
    """I(labels; clusters) / max(H(labels), H(clusters)), in 0..1: mixed clusters cost, and so do superfluous ones.

    1 only where clusters and labels are the same partition. A class that is cut into m equal clusters raises
    H(clusters) without any gain in information. Purity has no such cost.

    >>> round(entropy_purity(["a", "a", "b", "b"], [0, 1, 2, 3]), 3)
    0.5
    """
    return float(normalized_mutual_info_score(labels, clusters, average_method="max"))


def neighbour_graph(values, neighbours, seed):
    """AnnData with scanpy's graph of nearest neighbours (Euclidean) of an embedding (n, d)."""
    import scanpy
    from anndata import AnnData

    cells = AnnData(np.asarray(values, dtype=np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.pp.neighbors(cells, n_neighbors=min(neighbours, len(values) - 1), use_rep="X", random_state=seed)
    return cells


def leiden(graph, resolution, seed):
    """Cluster (n,) of each cell of a `neighbour_graph`, integers from 0, the largest cluster first.

    Source: Traag et al. 2019, doi:10.1038/s41598-019-41695-z, by igraph through scanpy, two iterations.
    """
    import scanpy

    scanpy.tl.leiden(
        graph, resolution=resolution, random_state=seed, flavor="igraph", n_iterations=2, directed=False, key_added="it"
    )
    return graph.obs["it"].astype(int).to_numpy()


def leiden_of_number(graph, number, seed):
    """(clusters (n,), resolution): Leiden at a resolution that gives `number` clusters, found by bisection.

    Where no tried resolution gives it, the nearest number that one gave.
    """
    low, high, best = np.log(LOWEST), np.log(HIGHEST), None
    middle = 0.0
    for _ in range(SEARCHES):
        clusters = leiden(graph, float(np.exp(middle)), seed)
        found = int(clusters.max()) + 1
        if best is None or abs(found - number) < abs(best[2] - number):
            best = clusters, float(np.exp(middle)), found
        if found == number:
            break
        low, high = (middle, high) if found < number else (low, middle)
        middle = (low + high) / 2
    return best[:2]


def clusters(
    table,
    label="Label",
    resolutions=(0.25, 0.5, 1.0, 2.0),
    seeds=5,
    neighbours=15,
    n_clusters=None,
    by=None,
    samples="",
    max_cells=20_000,
    seed=0,
):
    """Agreement of Leiden clusters with labels, over a grid of resolutions and at given numbers of clusters.

    table: DataFrame of cells, Metadata_* and an embedding. n_clusters: list of numbers of clusters to match by the
    resolution; None: the number of labels; []: none. by: metadata column; the cells of each of its values are
    clustered and scored by themselves, in the one embedding that they share. seeds: runs of Leiden. More than
    `max_cells` cells of a group are thinned by the seed, the same share of each label. Cells without a label are left
    out.
    Returns a Result: details with a row per clustering; summary with the mean over seeds of each of MEASURES, low and
    high the least and the greatest of them, null the same clusters with shuffled labels. For Davies-Bouldin less is
    better. Raises InputError when a group has fewer than three cells with a label.
    """
    chosen = choose(table, samples)
    labelled = text(chosen, label) != ""
    if not labelled.any():
        raise InputError(f"no cell has a value in Metadata_{label.removeprefix('Metadata_')}; choose another label")
    note = [f"{count(int((~labelled).sum()), 'cell')} without a label left out"] if not labelled.all() else []
    chosen = chosen[labelled].reset_index(drop=True)
    groups = text(chosen, by) if by else np.full(len(chosen), "", dtype=object)
    details, summary, left_out = [], [], []
    for group in np.unique(groups.astype(str)):
        part = chosen[groups == group]
        found, rows, lost = _group(
            part, group, label, list(resolutions), seeds, neighbours, n_clusters, max_cells, seed, note
        )
        details.append(found)
        summary.extend(rows)
        left_out.append(lost)
    return Result(pd.concat(details, ignore_index=True), summary, pd.concat(left_out, ignore_index=True))


def _group(part, group, label, resolutions, seeds, neighbours, n_clusters, max_cells, seed, note):
    """(details, summary, left out) of the cells of one group."""
    rng = stream(seed, f"clusters {group}")
    kept = stratified_sample(text(part, label), max_cells, rng)
    cells = units(part.iloc[kept])
    labels = text(cells.table, label)
    if len(cells) < 3:
        raise InputError(f"{group or 'the table'} has {count(len(cells), 'cell')} with a label; clusters need three")
    notes = [*note, *cells.notes]
    if len(kept) < len(part):
        notes.append(f"{len(kept):,} of {len(part):,} cells drawn by the seed")
    if transductive(cells.table):
        notes.append("the embedding was fitted on the cells that are scored")
    numbers = [len(set(labels))] if n_clusters is None else n_clusters
    graph = neighbour_graph(cells.values, neighbours, seed)
    judge = _Judge(cells.values, labels, rng)
    details = []
    for resolution in resolutions:
        for number in range(seeds):
            found = leiden(graph, resolution, seed + number)
            details.append({"setting": f"resolution {resolution:g}", "resolution": resolution, **judge(found)})
    for wanted in numbers:
        for number in range(seeds):
            found, resolution = leiden_of_number(graph, wanted, seed + number)
            details.append({"setting": f"{count(wanted, 'cluster')} matched", "resolution": resolution, **judge(found)})
    details = pd.DataFrame(details)
    details.insert(0, "unit", group)
    details.insert(2, "seed", np.tile(np.arange(seed, seed + seeds), len(resolutions) + len(numbers)))
    rows = [one for setting in dict.fromkeys(details["setting"]) for one in _rows(details, setting, group, notes)]
    rows.extend(_of_labels(judge, labels, group, notes))
    return details, rows, cells.left_out


class _Judge:
    """Measures of clusterings of the same cells; the distances for the silhouette are computed once."""

    def __init__(self, values, labels, rng):
        self.values, self.labels = values, labels
        self.shuffled = rng.permutation(labels)
        self.some = stratified_sample(labels, SILHOUETTE_CELLS, rng)
        self.distances = pairwise_distances(values[self.some])
        np.fill_diagonal(self.distances, 0)

    def __call__(self, found):
        measured = {"clusters": len(np.unique(found)), "cells": len(found)}
        for name, measure in (
            ("purity", purity),
            ("entropy purity", entropy_purity),
            ("ARI", adjusted_rand_score),
            ("NMI", normalized_mutual_info_score),
        ):
            measured[name] = float(measure(self.labels, found))
            measured[f"{name}, shuffled"] = float(measure(self.shuffled, found))
        return measured | self.apart(found)

    def apart(self, found):
        """Silhouette and Davies-Bouldin of a partition (n,); NaN where it has one part or only single cells."""
        some = found[self.some]
        fits = 1 < len(np.unique(some)) < len(some)
        silhouette = silhouette_score(self.distances, some, metric="precomputed") if fits else np.nan
        fits = 1 < len(np.unique(found)) < len(found)
        davies = davies_bouldin_score(self.values, found) if fits else np.nan
        return {"silhouette": float(silhouette), "Davies-Bouldin": float(davies)}


def _rows(details, setting, group, notes):
    """Summary rows of all seeds of one setting."""
    found = details[details["setting"] == setting]
    numbers = sorted(set(found["clusters"]))
    spread = count(numbers[0], "cluster") if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} clusters"
    said = [f"mean and range over {count(len(found), 'seed')}", spread, *notes]
    for measure in MEASURES:
        values = found[measure]
        null = found[f"{measure}, shuffled"].mean() if f"{measure}, shuffled" in found else np.nan
        name = f"{group}: {measure}, {setting}" if group else f"{measure}, {setting}"
        yield row(name, values.mean(), found["cells"].iloc[0], values.min(), values.max(), null, note=said)


def _of_labels(judge, labels, group, notes):
    """Summary rows of how far the labels themselves lie apart in the embedding."""
    said = ["the labels themselves, no clusters", *notes]
    shuffled = judge.apart(judge.shuffled)
    for measure, value in judge.apart(labels).items():
        name = f"{group}: {measure} of the labels" if group else f"{measure} of the labels"
        yield row(name, value, len(labels), null=shuffled[measure], note=said)
