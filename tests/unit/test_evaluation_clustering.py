"""Purity and its kin by hand and by scikit-learn; Leiden over resolutions, seeds and at a number of clusters."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import homogeneity_completeness_v_measure, silhouette_score

from phenoloom.core.errors import InputError
from phenoloom.evaluation.clustering import (
    MEASURES,
    clusters,
    entropy_purity,
    leiden_of_number,
    neighbour_graph,
    purity,
)


def blobs(n=240, classes=4, apart=8.0, width=5, seed=0):
    rng = np.random.default_rng(seed)
    code = np.arange(n) % classes
    values = rng.normal(size=(n, width)) + apart * rng.normal(size=(classes, width))[code]
    table = pd.DataFrame(values.astype(np.float32), columns=[f"Embedding_e_{k:04d}" for k in range(width)])
    table.insert(0, "Metadata_Label", [f"c{k}" for k in code])
    return table


def summary(result):
    return pd.DataFrame(result.summary).set_index("label")


def test_purity_by_hand():
    """Three clusters of 17 documents, 5 + 4 + 3 of the majority: Manning et al. 2008, figure 16.1."""
    clusters_of = [1] * 6 + [2] * 6 + [3] * 5
    labels = list("xxxxxo") + list("xoooo^") + list("xx^^^")
    assert purity(labels, clusters_of) == pytest.approx(12 / 17)


def test_purity_is_one_for_single_cells_and_entropy_purity_is_not():
    labels = np.repeat(["a", "b"], 50)
    assert purity(labels, np.arange(100)) == 1
    assert entropy_purity(labels, np.arange(100)) == pytest.approx(np.log(2) / np.log(100))
    assert entropy_purity(labels, np.repeat([5, 3], 50)) == pytest.approx(1)
    assert entropy_purity(labels, np.tile([0, 1], 50)) == pytest.approx(0, abs=1e-12)


def test_entropy_purity_is_the_lesser_of_homogeneity_and_completeness():
    rng = np.random.default_rng(0)
    labels, found = rng.integers(0, 4, 200), rng.integers(0, 9, 200)
    homogeneity, completeness, _ = homogeneity_completeness_v_measure(labels, found)
    assert entropy_purity(labels, found) == pytest.approx(min(homogeneity, completeness))


def test_separate_classes_are_found_at_their_number_and_shuffled_labels_are_not():
    rows = summary(clusters(blobs(), seeds=3))
    matched = rows.loc["purity, 4 clusters matched"]
    assert matched["value"] == matched["low"] == matched["high"] == 1
    assert matched["null"] < 0.45
    assert "mean and range over 3 seeds; 4 clusters" in matched["note"]
    assert rows.loc["ARI, 4 clusters matched", "value"] == pytest.approx(1)
    assert rows.loc["ARI, 4 clusters matched", "null"] == pytest.approx(0, abs=0.05)
    assert rows.loc["entropy purity, 4 clusters matched", "value"] == pytest.approx(1)


def test_more_resolution_more_clusters_no_less_purity_but_less_entropy_purity():
    table = blobs(apart=1.5, seed=2)
    details = (
        clusters(table, resolutions=[0.2, 1, 5], seeds=3, n_clusters=[])
        .details.groupby("resolution")
        .mean(numeric_only=True)
    )
    assert details["clusters"].is_monotonic_increasing
    assert details["purity"].is_monotonic_increasing
    assert details["entropy purity"].iloc[2] < details["entropy purity"].max()


def test_every_setting_has_every_measure_with_its_spread_over_seeds():
    result = clusters(blobs(apart=1.0), resolutions=[0.5, 2], seeds=4, n_clusters=[3])
    rows = summary(result)
    for setting in ("resolution 0.5", "resolution 2", "3 clusters matched"):
        values = result.details.query("setting == @setting")
        assert len(values) == 4 and values["seed"].nunique() == 4
        for measure in MEASURES:
            row = rows.loc[f"{measure}, {setting}"]
            assert row["low"] == values[measure].min() and row["high"] == values[measure].max()
            assert row["low"] <= row["value"] <= row["high"]


def test_silhouette_and_its_labels_are_scikit_learns():
    table = blobs(apart=2.0)
    expected = silhouette_score(table.filter(like="Embedding_").to_numpy(float), table["Metadata_Label"])
    assert summary(clusters(table, seeds=1)).loc["silhouette of the labels", "value"] == pytest.approx(
        expected, abs=1e-6
    )


def test_datasets_of_a_merged_embedding_are_scored_by_themselves():
    easy, hard = blobs(), blobs(apart=0.0, seed=1)
    merged = pd.concat([easy.assign(Metadata_Dataset="easy"), hard.assign(Metadata_Dataset="hard")], ignore_index=True)
    rows = summary(clusters(merged, by="Dataset", resolutions=[1], seeds=2))
    assert rows.loc["easy: purity, 4 clusters matched", "value"] == 1
    assert rows.loc["hard: purity, 4 clusters matched", "value"] < 0.5
    alone = summary(clusters(easy, resolutions=[1], seeds=2))
    assert alone.loc["purity, resolution 1", "value"] == rows.loc["easy: purity, resolution 1", "value"]


def test_the_same_seed_gives_the_same_table():
    table = blobs(apart=1.0)
    first, second = (clusters(table, seeds=2, seed=7) for _ in range(2))
    assert first.details.equals(second.details)
    assert pd.DataFrame(first.summary).equals(pd.DataFrame(second.summary))


def test_large_tables_are_thinned_and_say_so():
    result = clusters(blobs(n=600), max_cells=120, resolutions=[1], seeds=1)
    assert (result.details["cells"] == 120).all()
    assert "120 of 600 cells drawn by the seed" in result.summary[0]["note"]


def test_a_transductive_embedding_is_named():
    table = blobs().assign(Metadata_Split="all")
    assert "fitted on the cells that are scored" in clusters(table, resolutions=[1], seeds=1).summary[0]["note"]
    table["Metadata_Split"] = "test"
    assert "fitted on" not in clusters(table, resolutions=[1], seeds=1).summary[0]["note"]


def test_the_nearest_number_is_given_where_none_fits():
    graph = neighbour_graph(np.repeat(np.eye(3) * 100, 30, axis=0) + 0.01 * np.arange(90)[:, None], 5, 0)
    found, resolution = leiden_of_number(graph, 1, 0)
    assert found.max() + 1 >= 3 and resolution > 0


def test_cells_without_a_label_or_values_are_left_out():
    table = blobs()
    table.loc[:4, "Metadata_Label"] = ""
    table.loc[10:12, table.columns[1:]] = np.nan
    result = clusters(table, resolutions=[1], seeds=1)
    assert (result.details["cells"] == 232).all() and len(result.left_out) == 3
    assert "5 cells without a label left out" in result.summary[0]["note"]


@pytest.mark.parametrize(
    ("table", "options", "match"),
    [
        (blobs(), {"label": "Phase"}, "no metadata column Metadata_Phase"),
        (blobs().assign(Metadata_Label=""), {}, "no cell has a value in Metadata_Label"),
        (blobs().iloc[:2], {}, "clusters need three"),
        (blobs(), {"samples": "Metadata_Label == 'x'"}, "chooses no row"),
    ],
)
def test_tables_that_cannot_be_clustered_are_refused(table, options, match):
    with pytest.raises(InputError, match=match):
        clusters(table, resolutions=[1], seeds=1, **options)


def test_one_label_and_repeated_cells_are_no_obstacle():
    table = blobs().assign(Metadata_Label="one")
    rows = summary(clusters(table, resolutions=[1], seeds=1))
    assert rows.loc["purity, resolution 1", "value"] == 1
    assert np.isnan(rows.loc["silhouette of the labels", "value"])
    repeated = pd.concat([blobs().iloc[:4]] * 20, ignore_index=True)
    assert summary(clusters(repeated, resolutions=[1], seeds=1)).loc["purity, resolution 1", "value"] == 1
