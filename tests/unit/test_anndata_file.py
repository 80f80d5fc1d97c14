"""AnnData of cells: what scanpy reads, which cell is which row, what stays missing, and the same bytes each time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns, write_table
from phenoloom.metric_learning.steps import embedding_table, run
from phenoloom.report import anndata_file
from phenoloom.report.anndata_file import feature_rows, read_maps, write_anndata
from phenoloom.report.chains import chain_of

MAPS_AND_CLUSTERS = anndata_file.maps_and_clusters
OPTIONS = {"label": "Label", "max_cells": 1000, "neighbors": 10, "min_dist": 0.5, "resolution": 1.0, "perplexity": None}
SCALE, PCA = {"scale": {"method": "standard"}}, {"pca": {"n": 3}}
CHAINS = {
    "none": [{"split": {"hold_out": "cells"}}, SCALE, PCA],
    "lfda": [{"split": {"hold_out": "cells"}}, SCALE, PCA, {"metric": {"method": "lfda", "n": 2}}],
    "shuffled": [{"permute": {"column": "Label"}}, SCALE, PCA],
}


def cells(sample, n, seed):
    """Cells of three labels that lie apart, in the first three of five features."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    values = random.normal(size=(n, 5))
    values[:, :3] += 6 * labels[:, None]
    table = pd.DataFrame({"Metadata_Dataset": "d", "Metadata_Sample": sample, "Metadata_Event": np.arange(n) * 2})
    table["Metadata_Label"] = np.array(["G1", "S/a", ""], dtype=object)[labels]
    table["Metadata_ObjectNumber"] = np.arange(n) + 1
    names = [f"Cells_Intensity_MeanIntensity_{name}" for name in ("BF", "DNA")]
    names += ["Cells_Correlation_Correlation_BF_DNA", "Cells_Texture_Contrast_3_DNA", "Cells_AreaShape_Area_DNA"]
    return pd.concat([table, pd.DataFrame(values.astype(np.float32), columns=names)], axis=1)


def study(folder, missing=()):
    """(paths of features, profiles) of two samples; `missing` rows of the first lack a feature."""
    frames = [cells("one", 40, 0), cells("a/b", 35, 1)]
    frames[0].loc[list(missing), "Cells_AreaShape_Area_DNA"] = np.nan
    tables, profiles = [], {}
    for number, frame in enumerate(frames):
        tables.append(folder / f"{number}.parquet")
        write_table(tables[-1], frame)
    whole = pd.concat(frames, ignore_index=True)
    for name, steps in CHAINS.items():
        found = run(whole, steps, seed=1)
        path = folder / f"{name}.parquet"
        write_table(path, embedding_table(found, name))
        profiles[name] = path, found.transform, chain_of(steps)
    return tables, profiles, whole


def stand_in(values, options, seed):
    """Maps and clusters without UMAP, whose threads a test that sets their number would find running."""
    maps = {"umap": np.ascontiguousarray(values[:, :2])}
    if options["perplexity"] is not None:
        maps["tsne"] = -maps["umap"]
    return maps, (values[:, 0] > 0).astype(int).astype(str).astype(object)


@pytest.fixture(scope="module", autouse=True)
def without_umap():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anndata_file, "maps_and_clusters", stand_in)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(path of the file, its AnnData, all cells, profiles)."""
    folder = tmp_path_factory.mktemp("anndata")
    tables, profiles, whole = study(folder, missing=[4])
    write_anndata(folder / "c.h5ad", tables, profiles, ["BF", "DNA"], OPTIONS, 1, {"rule": "anndata"})
    return folder / "c.h5ad", anndata.read_h5ad(folder / "c.h5ad"), whole, profiles


def test_features_and_metadata_are_those_of_the_tables(made):
    _, found, whole, _ = made
    np.testing.assert_array_equal(found.X, whole[feature_columns(whole)].to_numpy())
    assert found.X.dtype == np.float32
    assert found.obs["Sample"].tolist() == whole["Metadata_Sample"].tolist()
    assert found.obs["Label"].astype(object).where(found.obs["Label"].notna(), "").tolist() == (
        whole["Metadata_Label"].tolist()
    )
    assert found.obs_names.is_unique and found.obs["Event"].dtype.kind == "i"
    assert found.var.loc["Cells_Correlation_Correlation_BF_DNA", ["channel", "channel_2"]].tolist() == ["BF", "DNA"]
    assert found.var.loc["Cells_Texture_Contrast_3_DNA"].tolist() == ["Cells", "Texture", "Contrast_3", "DNA", ""]


def test_an_embedding_stands_in_the_row_of_its_cell_and_is_missing_for_others(made):
    _, found, whole, profiles = made
    path, _, _ = profiles["lfda"]
    table = pd.read_parquet(path)
    keys = list(zip(table["Metadata_Sample"].astype(str), table["Metadata_Event"], strict=True))
    rows = {key: place for place, key in enumerate(zip(whole["Metadata_Sample"], whole["Metadata_Event"], strict=True))}
    places = [rows[key] for key in keys]
    np.testing.assert_array_equal(found.obsm["X_lfda"][places], table.filter(like="Embedding").to_numpy())
    assert np.isnan(found.obsm["X_lfda"][4]).all() and pd.isna(found.obs["split_lfda"].iloc[4])
    assert set(found.obs["split_lfda"].dropna()) == {"train", "test"}
    assert set(found.obs["split_shuffled"].dropna()) == {"all"}


def test_principal_components_before_a_metric_are_kept(made):
    _, found, _, _ = made
    assert found.obsm["X_pca_lfda"].shape == (75, 3) and "X_pca_none" not in found.obsm
    components = found.obsm["X_pca_lfda"]
    other = np.isfinite(components).all(axis=1)
    fitted = np.linalg.lstsq(components[other], found.obsm["X_lfda"][other], rcond=None)
    assert fitted[1].max() < 1e-6  # a metric is a linear map of them


def test_shuffled_labels_stand_beside_the_true_ones(made):
    _, found, whole, _ = made
    shuffled = found.obs["Label_shuffled"].astype(object)
    assert shuffled.value_counts().to_dict() != {} and (shuffled != found.obs["Label"].astype(object)).sum() > 10
    assert found.obs["Label"].value_counts()["G1"] == (whole["Metadata_Label"] == "G1").sum()


def test_umap_and_leiden_part_what_lies_apart_and_scanpy_goes_on_from_there(tmp_path):
    command = [sys.executable, __file__, str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=300)
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert np.isfinite(found.obsm["X_umap_none"]).all() and not np.isnan(found.obsm["X_umap_lfda"]).any()
    together = pd.crosstab(found.obs["leiden_lfda"], found.obs["Label"])
    assert len(together) > 1 and together.max(axis=1).sum() > 0.95 * together.to_numpy().sum()
    assert "leiden" in anndata.read_h5ad(tmp_path / "scanpy.h5ad").obs


def by_scanpy(folder):
    """Write the file twice, with UMAP, and cluster it again as a user would."""
    import scanpy

    tables, profiles, _ = study(folder)
    for name in ("a", "b"):
        write_anndata(folder / f"{name}.h5ad", tables, profiles, ["BF", "DNA"], OPTIONS, 1)
    found = scanpy.read_h5ad(folder / "a.h5ad")
    scanpy.pp.neighbors(found, use_rep="X_pca_lfda")
    scanpy.tl.leiden(found, flavor="igraph", n_iterations=2, directed=False)
    found.write_h5ad(folder / "scanpy.h5ad")


def test_the_origin_is_kept_and_maps_are_read_back(made):
    path, found, _, _ = made
    assert json.loads(found.uns["phenoloom"]["origin"]) == {"rule": "anndata"}
    obs, maps, rows, notes = read_maps(path)
    assert len(obs) == len(rows) == len(maps["umap"]["none"]) == 74 and 4 not in rows
    assert notes["seed"] == 1 and list(notes["profiles"]) == list(CHAINS)
    np.testing.assert_array_equal(feature_rows(path, rows[5:30], block=7).to_numpy(), found.X[rows[5:30]])


def test_same_inputs_give_the_same_bytes(tmp_path):
    tables, profiles, _ = study(tmp_path)
    for name in ("a", "b"):
        write_anndata(tmp_path / f"{name}.h5ad", tables, profiles, ["BF", "DNA"], OPTIONS, 1)
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()


def test_more_cells_than_a_map_takes_are_thinned_label_by_label(tmp_path):
    tables, profiles, _ = study(tmp_path)
    write_anndata(tmp_path / "c.h5ad", tables, {"none": profiles["none"]}, [], {**OPTIONS, "max_cells": 30}, 1)
    obs, _, rows, _ = read_maps(tmp_path / "c.h5ad")
    assert len(rows) <= 30 and obs["Label"].value_counts().tolist() == [10, 10]
    whole = anndata.read_h5ad(tmp_path / "c.h5ad")
    assert np.isnan(whole.obsm["X_umap_none"]).any(axis=1).sum() == 75 - len(rows)
    assert np.isfinite(whole.obsm["X_none"]).all()


def test_few_cells_and_no_profile_give_a_file_too(tmp_path):
    write_table(tmp_path / "few.parquet", cells("one", 3, 0))
    write_anndata(tmp_path / "c.h5ad", [tmp_path / "few.parquet"], {}, [], OPTIONS, 1)
    assert anndata.read_h5ad(tmp_path / "c.h5ad").shape == (3, 5)
    maps, clusters = MAPS_AND_CLUSTERS(np.ones((3, 2), np.float32), OPTIONS, 1)
    assert list(maps) == ["umap"] and np.isnan(maps["umap"]).all() and set(clusters) == {""}


def test_a_t_sne_stands_beside_the_umap_if_asked_for(tmp_path):
    tables, profiles, _ = study(tmp_path)
    write_anndata(tmp_path / "c.h5ad", tables, profiles, ["BF", "DNA"], {**OPTIONS, "perplexity": 10}, 1)
    _, maps, rows, _ = read_maps(tmp_path / "c.h5ad")
    assert list(maps) == ["umap", "tsne"] and list(maps["tsne"]) == list(CHAINS)
    whole = anndata.read_h5ad(tmp_path / "c.h5ad")
    np.testing.assert_array_equal(whole.obsm["X_tsne_none"][rows], maps["tsne"]["none"])


def test_odd_names_of_metadata_are_survived(tmp_path):
    table = cells("<b>", 30, 0).assign(**{"Metadata_a/b": "x", "Metadata__index": "y", "Metadata_β": 1.5})
    write_table(tmp_path / "odd.parquet", table)
    write_anndata(tmp_path / "c.h5ad", [tmp_path / "odd.parquet"], {}, [], OPTIONS, 1)
    assert {"a|b", "index", "β"} <= set(anndata.read_h5ad(tmp_path / "c.h5ad").obs)


def test_cells_that_cannot_be_told_apart_and_profiles_of_other_cells_are_refused(tmp_path):
    tables, profiles, _ = study(tmp_path)
    with pytest.raises(InputError, match="two cells are named d/one/0/1; name the samples differently"):
        write_anndata(tmp_path / "c.h5ad", [tables[0], tables[0]], {}, [], OPTIONS, 1)
    with pytest.raises(InputError, match=r"none\.parquet has cells that the tables of features lack; make it again"):
        write_anndata(tmp_path / "c.h5ad", tables[:1], {"none": profiles["none"]}, [], OPTIONS, 1)
    assert not (tmp_path / "c.h5ad").exists()


if __name__ == "__main__":
    by_scanpy(Path(sys.argv[1]))
