"""k-NN labels of held-out cells against scikit-learn; chance with shuffled labels; what fitting alone buys."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.neighbors import KNeighborsClassifier

from phenoloom.core.errors import InputError
from phenoloom.evaluation.cell_neighbours import held_out_accuracy
from phenoloom.evaluation.neighbours import confusion
from phenoloom.metric_learning.steps import embedding_table, run


def cells(n=400, classes=3, width=6, apart=2.0, seed=0, test=0.4):
    """Unequal Gaussian classes; every batch has its own offset in a feature that says nothing."""
    rng = np.random.default_rng(seed)
    code = rng.choice(classes, size=n, p=np.arange(classes, 0, -1) / sum(range(classes + 1)))
    values = rng.normal(size=(n, width))
    values[np.arange(n), code] += apart
    table = pd.DataFrame(values.astype(np.float32), columns=[f"F{k}" for k in range(width)])
    table.insert(0, "Metadata_Split", np.where(rng.random(n) < test, "test", "train"))
    table.insert(0, "Metadata_Label", [f"c{k}" for k in code])
    table.insert(0, "Metadata_Batch", [f"b{k}" for k in np.arange(n) % 5])
    table.insert(0, "Metadata_Event", np.arange(n))
    table.insert(0, "Metadata_Sample", "s")
    return table


def test_votes_are_those_of_scikit_learn():
    table = cells()
    train = (table["Metadata_Split"] == "train").to_numpy()
    values, labels = table.filter(regex="^F").to_numpy(float), table["Metadata_Label"].to_numpy(str)
    votes = KNeighborsClassifier(7).fit(values[train], labels[train]).predict(values[~train])
    result = held_out_accuracy(table, neighbours=7)
    assert result.details["neighbour_label"].tolist() == votes.tolist()
    assert result.details["unit"].tolist() == [f"s/{k}" for k in np.flatnonzero(~train)]
    first = result.summary[0]
    assert first["value"] == pytest.approx(balanced_accuracy_score(labels[~train], votes))
    assert first["low"] < first["value"] < first["high"] and first["n"] == (~train).sum()
    assert np.array_equal(confusion(result.details), confusion_matrix(labels[~train], votes))
    shares = {row["label"]: row["value"] for row in result.summary[1:]}
    of_c1 = labels[~train] == "c1"
    assert shares["share right of c1"] == pytest.approx((votes[of_c1] == "c1").mean())


def test_shuffled_labels_are_at_chance_and_the_null_says_where_that_is():
    table = cells(n=1500)
    true = held_out_accuracy(table).summary[0]
    table["Metadata_Label"] = np.random.default_rng(1).permutation(table["Metadata_Label"])
    shuffled = held_out_accuracy(table).summary[0]
    assert true["value"] > 0.7 and true["pvalue"] < 0.01
    assert shuffled["value"] == pytest.approx(1 / 3, abs=0.05) and shuffled["pvalue"] > 0.01
    assert true["null"] == pytest.approx(1 / 3, abs=0.02)


def test_datasets_with_labels_of_their_own_are_shuffled_each_on_its_own():
    """Which dataset a cell is of is plain to see and says nothing of its label there."""
    both = [cells(n=600, apart=0.0, seed=seed) for seed in (3, 4)]
    for number, table in enumerate(both):
        table["Metadata_Dataset"] = f"d{number}"
        table["Metadata_Label"] = f"d{number}: " + table["Metadata_Label"]
        table["F0"] += 20 * number
    table = pd.concat(both, ignore_index=True)
    within = held_out_accuracy(table, permute_within=["Dataset"]).summary[0]
    assert within["null"] == pytest.approx(1 / 3, abs=0.03) and within["pvalue"] > 0.01
    assert held_out_accuracy(table).summary[0]["null"] < 0.25


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Labels that are right with probability 0.8, whatever the class: 40 tables."""
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shown = np.repeat([0, 1], 120)
        label = np.where(rng.random(240) < 0.8, shown, 1 - shown)
        label[[0, 239]] = shown[[0, 239]]
        table = pd.DataFrame({"Metadata_Label": label.astype(str), "Metadata_Split": "test", "F1": shown.astype(float)})
        table.loc[[0, 239], "Metadata_Split"] = "train"
        row = held_out_accuracy(table, neighbours=1, permutations=0, bootstrap=300, seed=seed).summary[0]
        covered += row["low"] <= 0.8 <= row["high"]
    assert covered >= 34


def test_cells_of_a_cluster_are_resampled_together():
    table = cells()
    right = table["Metadata_Batch"].isin(["b0", "b1", "b2"])
    table["F0"] = np.where(right, table["Metadata_Label"].str[1].astype(float) * 100, 0)
    alone, together = (held_out_accuracy(table, cluster=name).summary[0] for name in ("", "Batch"))
    assert together["value"] == alone["value"]
    assert together["high"] - together["low"] > 1.5 * (alone["high"] - alone["low"])
    assert "interval: Batch resampled" in together["note"]


def test_without_a_split_cells_are_cross_validated_and_the_note_says_what_that_means():
    table = cells().assign(Metadata_Split="all")
    row = held_out_accuracy(table).summary[0]
    assert row["value"] > 0.6 and row["n"] == 400
    assert "transductive: cross-validation in 5 parts" in row["note"]
    assert held_out_accuracy(table.drop(columns="Metadata_Split")).summary[0]["value"] == row["value"]
    assert "transductive" not in held_out_accuracy(cells()).summary[0]["note"]


def test_fitting_on_shuffled_labels_pays_on_the_fitted_cells_only():
    """The control of metric learning: labels without meaning look learned where they were seen, not on new cells."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(300, 40)).astype(np.float32), columns=[f"F{k}" for k in range(40)])
    table.insert(0, "Metadata_Label", rng.permutation(np.repeat(["a", "b"], 150)))
    metric = {"metric": {"method": "mlkr", "n": 5, "max_iter": 30}}
    scores = {}
    for hold_out in ("none", "cells"):
        steps = [{"permute": {"column": "Label"}}, {"split": {"hold_out": hold_out}}, {"scale": {}}, metric]
        profile = embedding_table(run(table, steps, seed=1), "control")
        scores[hold_out] = held_out_accuracy(profile).summary[0]["value"]
    assert scores["none"] > 0.65
    assert scores["cells"] == pytest.approx(0.5, abs=0.12)


def test_a_batch_that_was_held_out_is_scored_by_the_others():
    table = cells().drop(columns="Metadata_Split")
    steps = [{"split": {"hold_out": "Batch", "groups": ["b3"]}}, {"scale": {}}, {"metric": {"method": "lfda", "n": 2}}]
    result = held_out_accuracy(embedding_table(run(table, steps, seed=1), "lfda"))
    assert result.summary[0]["n"] == 80 and result.summary[0]["value"] > 0.7


def test_a_label_that_no_training_cell_has_counts_as_missed():
    table = cells()
    table.loc[table["Metadata_Split"] == "test", "Metadata_Label"] = (
        table["Metadata_Label"].where(table["Metadata_Event"] % 10 > 0, "new")
    )[table["Metadata_Split"] == "test"]
    result = held_out_accuracy(table)
    rows = {row["label"]: row for row in result.summary}
    assert rows["share right of new"]["value"] == 0
    assert "no training cell has new" in rows["balanced accuracy"]["note"]


def test_large_tables_are_thinned_and_the_same_seed_gives_the_same():
    first, second = (held_out_accuracy(cells(n=1000), max_cells=100, seed=3) for _ in range(2))
    assert pd.DataFrame(first.summary).equals(pd.DataFrame(second.summary)) and first.details.equals(second.details)
    assert len(first.details) <= 105 and "cells drawn by the seed" in first.summary[0]["note"]


def test_missing_labels_and_values_are_left_out_and_counted():
    table = cells()
    table.loc[:3, "Metadata_Label"] = None
    table.loc[4:5, [f"F{k}" for k in range(6)]] = np.nan
    result = held_out_accuracy(table)
    assert "4 cells without a label left out" in result.summary[0]["note"] and len(result.left_out) == 2


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (cells().assign(Metadata_Label="one"), "all cells have the label 'one'"),
        (cells().assign(Metadata_Label=None), "no cell has a value"),
        (cells().drop(columns="Metadata_Label"), "no metadata column Metadata_Label"),
        (cells()[["Metadata_Label", "Metadata_Split"]], "no feature columns"),
        (cells(n=6).assign(Metadata_Label=list("abcdef"), Metadata_Split="all"), "no label has cells on both sides"),
    ],
)
def test_tables_that_cannot_be_scored_are_refused(table, match):
    with pytest.raises(InputError, match=match):
        held_out_accuracy(table)
