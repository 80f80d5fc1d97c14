"""Rule figure_cells: AnnData and stacks of a dataset -> maps, histograms and pictures of its cells."""

from pathlib import Path

import numpy as np

from phenoloom.core.job import job
from phenoloom.core.names import decode
from phenoloom.core.tables import METADATA
from phenoloom.metric_learning.transform import transform_of
from phenoloom.profiles.annotation import as_text
from phenoloom.report.anndata_file import feature_rows, read_maps
from phenoloom.report.cell_gallery import add_gallery
from phenoloom.report.cells import add_histograms, add_maps, scaled_features
from phenoloom.report.chains import chain_of, leading
from phenoloom.report.gallery import Gallery


def main(snakemake):
    with job(snakemake) as run:
        given, options = snakemake.input, snakemake.params.options
        gallery = Gallery(snakemake.output[0], run.origin())
        chains = {name: chain_of(steps) for name, steps in snakemake.params.chains.items()}
        obs, maps, rows, _ = read_maps(given.cells)
        title = f"{run.wildcards['dataset']}/{run.wildcards['representation']}"
        label = options["label"].removeprefix(METADATA)
        labels = as_text(obs[label]).to_numpy(object) if label in obs else np.full(len(obs), "", dtype=object)
        add_maps(gallery, obs, maps, chains, label, title)
        draw_features(gallery, given, obs, rows, labels, options["features"], title, label)
        if given.get("stacks"):
            draw_cells(gallery, snakemake, obs, labels, chains, label, title, run.seed)
        else:
            gallery.note(f"Pictures of cells of {title} stand with the datasets that it is put together from.")
        gallery.write()


def draw_features(gallery, given, obs, rows, labels, wanted, title, label):
    """Histograms of features, scaled as the first cell profile scales them."""
    table = feature_rows(given.cells, rows)
    scaled = None
    if given.get("model"):
        with np.load(given.model[0], allow_pickle=False) as arrays:
            metadata = obs.add_prefix(METADATA).reset_index(drop=True)
            scaled = scaled_features(transform_of(arrays), table.join(metadata))
    add_histograms(gallery, table, labels, wanted, scaled, title, label)


def draw_cells(gallery, snakemake, obs, labels, chains, label, title, seed):
    """Pictures of random cells of each label, and of each cluster of the leading cell profile."""
    params, options = snakemake.params, snakemake.params.options
    stacks = {decode(Path(path).stem): path for path in snakemake.input.stacks}
    shared = {"stacks": stacks, "kinds": params.kinds, "per": options["per"], "seed": seed}
    known = (labels != "").any()
    sentence = f"Random cells of each {label.lower()}" if known else f"Random cells; no sample has a {label.lower()}"
    groups = labels if known else np.full(len(obs), "all cells", dtype=object)
    add_gallery(gallery, "cells_by_label", (f"{sentence}: {title}", f"{sentence}."), obs, groups, **shared)
    name = options["clusters_of"] or leading(chains)
    if name in chains:
        sentence = f"Random cells of each Leiden cluster of {name}"
        words = f"{sentence}: {title}", f"{sentence} (resolution {options['resolution']:g})."
        clusters = as_text(obs[f"leiden_{name}"]).to_numpy(object)
        add_gallery(gallery, "cells_by_cluster", words, obs, clusters, **shared)
    elif chains:
        gallery.note(f"There is no cell profile {name} (report.cells.clusters_of); no cells of clusters are drawn.")


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
