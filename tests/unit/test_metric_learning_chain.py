"""The chain of a cell profile: nothing leaks from held-out cells, controls are controls, losses are counted."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import stream_table, write_table
from phenoloom.metric_learning.chain import parse, problems
from phenoloom.metric_learning.splits import shuffled, stratified_sample
from phenoloom.metric_learning.steps import embedding_table, fit, run
from phenoloom.metric_learning.streaming import profile_files
from phenoloom.metric_learning.transform import apply, arrays_of, transform_of

FULL = [
    {"split": {"hold_out": "cells", "share": 0.4}},
    {"select": {"correlation": 0.95}},
    {"scale": {"method": "standard"}},
    {"pca": {"n": 5}},
    {"metric": {"method": "lfda", "n": 3}},
]


def cells(n=300, classes=3, width=8, seed=0, batches=3):
    """Gaussian classes in the first features, noise in the others."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.arange(n) % classes)
    values = rng.normal(size=(n, width))
    values[np.arange(n), code] += 4
    table = pd.DataFrame(values.astype(np.float32), columns=[f"Cells_Intensity_{k}" for k in range(width)])
    table.insert(0, "Metadata_Label", [f"c{k}" for k in code])
    table.insert(0, "Metadata_Batch", [f"b{k}" for k in np.arange(n) % batches])
    table.insert(0, "Metadata_Plate", [f"p{k}" for k in np.arange(n) % batches])
    return table


def features(table):
    return [name for name in table if not name.startswith("Metadata_")]


def fitted_bytes(result):
    return {name: array.tobytes() for name, array in arrays_of(result.transform).items()}


@pytest.mark.parametrize("method", ["none", "nca", "lmnn", "mlkr", "lfda"])
def test_held_out_values_and_labels_change_nothing_that_is_fitted(method):
    table = cells()
    steps = [
        {"split": {"hold_out": "Batch", "groups": ["b1"]}},
        {"select": {"correlation": 0.95}},
        {"scale": {"method": "robust"}},
        {"pca": {"n": 5, "whiten": True}},
        {"metric": {"method": method}},
    ]
    first = run(table, steps, seed=3)
    held = (table["Metadata_Batch"] == "b1").to_numpy()
    assert (first.metadata["Metadata_Split"] == np.where(held, "test", "train")).all()
    other = table.copy()
    other.loc[held, features(table)] = np.random.default_rng(9).normal(50, 20, size=(held.sum(), 8)).astype(np.float32)
    other.loc[held, "Metadata_Label"] = "c0"
    second = run(other, steps, seed=3)
    assert fitted_bytes(first) == fitted_bytes(second)
    assert np.array_equal(first.embedding[~held], second.embedding[~held])
    assert not np.array_equal(first.embedding[held], second.embedding[held])


def test_missing_values_of_held_out_cells_decide_on_no_feature():
    table = cells()
    held = (table["Metadata_Batch"] == "b1").to_numpy()
    gaps = table.copy()
    gaps.loc[held, "Cells_Intensity_7"] = np.nan
    steps = [{"split": {"hold_out": "Batch", "groups": ["b1"]}}, {"pca": {"n": 4}}]
    ledger = Ledger("cell_profile")
    result = run(gaps, steps, seed=1, ledger=ledger)
    assert fitted_bytes(result) == fitted_bytes(run(table, steps, seed=1))
    assert len(result.embedding) == (~held).sum()
    lost = ledger.frame().query("unit == 'cell'")
    assert lost["count"].sum() == held.sum() and lost["plate"].tolist() == ["p1"]
    assert result.dropped.query("kind == 'cell'")["count"].sum() == held.sum()


def test_same_seed_same_bytes_and_another_seed_another_split():
    table = cells()
    first, second, third = run(table, FULL, seed=1), run(table, FULL, seed=1), run(table, FULL, seed=2)
    assert first.embedding.tobytes() == second.embedding.tobytes()
    assert fitted_bytes(first) == fitted_bytes(second)
    assert (first.metadata["Metadata_Split"] != third.metadata["Metadata_Split"]).any()


def test_held_out_cells_have_the_same_share_of_each_label():
    table = cells(classes=3).query("Metadata_Label != 'c2' or Metadata_Batch == 'b0'")
    split = run(table, [{"split": {"hold_out": "cells", "share": 0.25}}, {"scale": {}}], seed=5).metadata
    shares = (split["Metadata_Split"] == "test").groupby(split["Metadata_Label"]).mean()
    assert np.allclose(shares, 0.25, atol=0.02)


def test_no_split_is_named_transductive():
    result = run(cells(), [{"scale": {}}])
    assert set(result.metadata["Metadata_Split"]) == {"all"}
    assert "transductive" in " ".join(result.notes)


def test_whole_batches_are_held_out():
    table = cells(batches=5)
    split = run(table, [{"split": {"hold_out": "Batch", "share": 0.4}}, {"scale": {}}], seed=1).metadata
    sides = split.groupby("Metadata_Batch")["Metadata_Split"].nunique()
    assert (sides == 1).all()
    assert split.drop_duplicates("Metadata_Batch")["Metadata_Split"].tolist().count("test") == 2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"hold_out": "Experiment"}, "no column Metadata_Experiment; choose one of Plate, Batch, Label"),
        ({"hold_out": "Batch", "groups": ["b9"]}, "no cell has 'b9'; there are b0, b1, b2"),
        ({"hold_out": "Batch", "groups": ["b0", "b1", "b2"]}, "no cell to fit on"),
    ],
)
def test_a_split_that_cannot_be_says_what_to_mend(options, match):
    with pytest.raises(InputError, match=match):
        run(cells(), [{"split": options}, {"scale": {}}])


def test_one_batch_cannot_be_held_out():
    with pytest.raises(InputError, match="only b0; hold out cells"):
        run(cells(batches=1), [{"split": {"hold_out": "Batch"}}, {"scale": {}}])


def test_permuted_labels_keep_their_numbers_within_groups_and_leave_gaps():
    table = cells()
    table.loc[:9, "Metadata_Label"] = ""
    moved = shuffled(table, "Label", ["Batch"], seed=1)
    assert (moved[:10] == "").all() and (moved != table["Metadata_Label"]).mean() > 0.5
    counts = pd.crosstab(table["Metadata_Batch"], moved)
    assert counts.equals(pd.crosstab(table["Metadata_Batch"], table["Metadata_Label"].to_numpy()))
    result = run(table, [{"permute": {"column": "Label"}}, {"scale": {}}], seed=1)
    assert "shuffled" in result.notes[0]
    assert sorted(result.metadata["Metadata_Label"]) == sorted(table["Metadata_Label"])


@pytest.mark.parametrize("method", ["standard", "robust", "minmax"])
def test_scales_are_those_of_scikit_learn_group_by_group(method):
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    scaler = {"standard": StandardScaler, "robust": RobustScaler, "minmax": MinMaxScaler}[method]
    table = cells()
    table.insert(0, "Metadata_Dataset", np.where(np.arange(300) < 100, "one", "two"))
    table.loc[table["Metadata_Dataset"] == "two", features(table)] *= 100
    found = run(table, [{"scale": {"method": method, "by": "Dataset"}}]).embedding
    for name in ("one", "two"):
        rows = (table["Metadata_Dataset"] == name).to_numpy()
        assert np.allclose(found[rows], scaler().fit_transform(table.loc[rows, features(table)]), atol=1e-5)


def test_a_group_without_training_cells_is_refused():
    steps = [{"split": {"hold_out": "Batch", "groups": ["b1"]}}, {"scale": {"by": "Batch"}}]
    with pytest.raises(InputError, match="no training cell has Batch 'b1'"):
        run(cells(), steps)


def test_features_without_information_are_dropped_with_the_reason():
    table = cells()
    table["Cells_Constant"] = np.float32(1e6)
    table["Cells_Empty"] = np.float32(np.nan)
    table["Cells_Gaps"] = np.where(np.arange(300) % 4 == 0, np.inf, table["Cells_Intensity_0"]).astype(np.float32)
    table["Cells_Copy"] = -3 * table["Cells_Intensity_0"]
    table["Cells_Location_X"] = table["Cells_Intensity_1"]
    ledger = Ledger("cell_profile")
    steps = [{"select": {"correlation": 0.99, "exclude": ["Cells_Location_*"]}}]
    result = run(table, steps, ledger=ledger)
    reasons = result.dropped.set_index("name")["reason"]
    assert result.embedding.shape == (300, 8)
    assert reasons["Cells_Constant"].startswith("constant")
    assert reasons["Cells_Empty"] == "missing in more than 5% of the training cells"
    assert reasons["Cells_Gaps"].startswith("missing")
    assert reasons["Cells_Copy"].startswith("correlation above 0.99")
    assert reasons["Cells_Location_X"] == "excluded by name"
    assert ledger.frame().query("unit == 'feature'")["count"].sum() == 5


def test_pca_is_that_of_scikit_learn_and_stops_at_the_rank():
    from sklearn.decomposition import PCA

    table = cells()
    table["Cells_Copy"] = table["Cells_Intensity_0"] * 2 + 1
    result = run(table, [{"pca": {"n": 50}}])
    expected = PCA(8).fit_transform(table[features(table)].to_numpy(float))
    assert result.embedding.shape == (300, 8)
    assert np.allclose(np.abs(result.embedding), np.abs(expected), atol=1e-3)
    whitened = run(table, [{"pca": {"n": 50, "whiten": True}}]).embedding
    assert np.allclose(np.cov(whitened.T), np.eye(8), atol=1e-3)
    assert run(table, [{"pca": {"n": 0.5}}]).embedding.shape[1] < 8


def test_a_stored_transform_embeds_as_before(tmp_path):
    table = cells()
    result = run(table, FULL, seed=1)
    np.savez(tmp_path / "transform.npz", **arrays_of(result.transform))
    with np.load(tmp_path / "transform.npz", allow_pickle=False) as stored:
        again = transform_of(stored)
    assert np.array_equal(apply(again, table), result.embedding)
    assert np.array_equal(apply(again, table.iloc[7:9]), result.embedding[7:9])
    with pytest.raises(InputError, match="no stored transform"):
        transform_of({"head": np.zeros(3, np.uint8)})
    with pytest.raises(InputError, match="lacks 1 features"):
        apply(again, table.drop(columns="Cells_Intensity_3"))


def test_files_in_chunks_give_what_one_table_gives(tmp_path):
    table = cells()
    table.loc[5, "Cells_Intensity_2"] = np.nan
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    write_table(paths[0], table.iloc[:120].assign(Cells_Only_Here=np.float32(1)))
    write_table(paths[1], table.iloc[120:])
    with stream_table(tmp_path / "cells.parquet") as write:
        transform, dropped, _ = profile_files(paths, write, "full", FULL, seed=1, rows=50)
    whole = run(table, FULL, seed=1)
    written = pq.read_table(tmp_path / "cells.parquet").to_pandas()
    expected = embedding_table(whole, "full")
    assert list(written.columns) == list(expected.columns)
    assert written.columns[-3:].tolist() == [f"Embedding_full_000{k}" for k in (1, 2, 3)]
    assert np.allclose(written.filter(like="Embedding_"), expected.filter(like="Embedding_"), atol=1e-5)
    assert (written["Metadata_Split"].to_numpy(str) == expected["Metadata_Split"].to_numpy(str)).all()
    assert len(written) == 299
    assert {"Cells_Only_Here", ""} == set(dropped["name"])


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "s1.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="s1.parquet cannot be read"):
        profile_files([path], print, "p", [{"scale": {}}])
    with pytest.raises(InputError, match="cannot be read"):
        profile_files([tmp_path / "absent.parquet"], print, "p", [{"scale": {}}])


def test_fewer_cells_are_fitted_on_and_all_are_embedded():
    result = run(cells(), [{"split": {"hold_out": "none", "max_cells": 60}}, {"pca": {"n": 3}}], seed=1)
    assert len(result.embedding) == 300
    assert "60 of 300" in " ".join(result.notes)


def test_rare_labels_stay_in_a_sample():
    labels = np.array(["common"] * 990 + ["rare"] * 10)
    chosen = labels[stratified_sample(labels, 100, np.random.default_rng(0))]
    assert (chosen == "rare").sum() == 10 and (chosen == "common").sum() == 99


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (cells().iloc[:0], "no row"),
        (cells()[["Metadata_Label"]], "no feature columns"),
        (cells().assign(**{f"Cells_Intensity_{k}": np.nan for k in range(8)}), "leaves none of 8 features"),
        (pd.concat([cells(), cells()[["Cells_Intensity_1"]]], axis="columns"), "several columns named"),
    ],
)
def test_tables_that_cannot_be_profiled_are_refused(table, match):
    with pytest.raises(InputError, match=match):
        run(table, [{"pca": {"n": 2}}])


def test_held_out_cells_are_never_fitted_on():
    table = cells()
    with pytest.raises(ValueError, match="never fitted on"):
        fit(table.assign(Metadata_Split="test"), [{"scale": {}}])


def test_a_metric_needs_two_classes():
    with pytest.raises(InputError, match="at least two classes"):
        run(cells().assign(Metadata_Label="one"), [{"metric": {"method": "nca"}}])
    with pytest.raises(InputError, match="no column Metadata_Phase"):
        run(cells(), [{"metric": {"label": "Phase"}}])


def test_defaults_are_filled_in_and_an_order_kept():
    assert [name for name, _ in parse([{"pca": None}])] == ["split", "select", "pca"]
    assert dict(parse([{"metric": {"method": "lmnn", "max_cells": None}}]))["metric"]["max_cells"] == 4000


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        ([{"metric": {"method": "ncaa"}}], "did you mean nca"),
        ([{"metric": {"method": "nca", "push": 0.1}}], "push is no option of metric with method nca"),
        ([{"metric": {}}, {"pca": {}}], "pca comes before metric"),
        ([{"pca": {}}, {"pca": {}}], "pca stands twice"),
        ([{"pcs": {}}], "did you mean pca"),
        ([{"pca": {"n": 0}}], "at least 1"),
        ([{"split": {"share": 1.5}}], "between 0 and 1"),
        ([{"scale": {"method": "robst"}}], "did you mean robust"),
        (["pca"], "exactly one name"),
    ],
)
def test_chains_that_cannot_work_are_explained(steps, match):
    assert any(match in sentence for sentence in problems(steps)), problems(steps)
    with pytest.raises(ValueError, match="."):
        parse(steps)
