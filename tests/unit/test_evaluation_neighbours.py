"""NSC and NSCB: hand-computed cases and scikit-learn's nearest neighbours as oracle."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier

from phenoloom.evaluation import similarity
from phenoloom.evaluation.neighbours import confusion, nearest_neighbours, nsc, nscb
from phenoloom.evaluation.units import members

FAST = {"permutations": 100, "bootstrap": 200}


def treatments(rows):
    """Treatments on the unit circle: rows of (angle in degrees, compound, MoA, batches)."""
    angles, compounds, moas, batches = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "Metadata_Perturbation": compounds,
            "Metadata_Concentration": np.arange(len(rows), dtype=float),
            "Metadata_MoA": moas,
            "Metadata_Batch": batches,
            "x": np.cos(np.deg2rad(angles)),
            "y": np.sin(np.deg2rad(angles)),
        }
    )


def simulated(seed=0, n_moas=5, compounds=4, doses=3, effect=2.0, n_features=15):
    rng = np.random.default_rng(seed)
    rows = [(moa, f"c{moa}{one}", dose) for moa in range(n_moas) for one in range(compounds) for dose in range(doses)]
    moa, compound, dose = map(np.array, zip(*rows, strict=True))
    values = rng.normal(size=(len(rows), n_features)) + effect * rng.normal(size=(n_moas, n_features))[moa]
    table = pd.DataFrame(
        {
            "Metadata_Perturbation": compound,
            "Metadata_Concentration": dose.astype(float),
            "Metadata_MoA": [f"m{number}" for number in moa],
            "Metadata_Batch": [f"{int(name[-1]) % 2 + 1:04d}" for name in compound],
        }
    )
    return pd.concat([table, pd.DataFrame(values, columns=[f"F{number}" for number in range(n_features)])], axis=1)


def oracle(table, excluded):
    """scikit-learn's 1-nearest-neighbour prediction of each row from the rows that `excluded(i)` leaves."""
    values = table.filter(regex="^F").to_numpy()
    predicted = []
    for row in range(len(table)):
        allowed = ~excluded(row)
        model = KNeighborsClassifier(1, metric="cosine").fit(values[allowed], table["Metadata_MoA"][allowed])
        predicted.append(model.predict(values[[row]])[0])
    return np.array(predicted)


def test_neighbours_of_the_same_compound_do_not_count():
    rows = [(0, "A", "m1", "1"), (1, "A", "m1", "1"), (5, "B", "m1", "2"), (7, "C", "m2", "1"), (40, "D", "m2", "2")]
    result = nsc(treatments(rows), **FAST)
    # A, A -> B (hits). B -> C (miss; C is 2 away, A 4). C -> B (miss). D -> C (hit).
    assert result.details["neighbour_compound"].tolist() == ["B", "B", "C", "B", "C"]
    assert result.details["hit"].tolist() == [True, True, False, False, True]
    assert result.summary[0]["value"] == 3 / 5 and result.summary[0]["note"].startswith("3 of 5")


def test_neighbours_of_the_same_batch_do_not_count_either():
    rows = [(0, "A", "m1", "1"), (1, "B", "m1", "1"), (9, "C", "m1", "2"), (5, "D", "m2", "2"), (30, "E", "m2", "1")]
    result = nscb(treatments(rows), **FAST)
    # A -> D, B -> D, C -> B, D -> B, E -> C.
    assert result.details["neighbour_compound"].tolist() == ["D", "D", "B", "B", "C"]
    assert result.summary[0]["value"] == 1 / 5


def test_a_treatment_that_spans_batches_shares_each_of_them():
    rows = [(0, "A", "m1", "1|2"), (1, "B", "m1", "2"), (2, "C", "m1", "3"), (3, "D", "m2", "1"), (4, "E", "m2", "3|2")]
    result = nscb(treatments(rows), **FAST)
    assert result.details["neighbour_compound"].tolist() == ["C", "C", "B", "C", "D"]


def test_labels_of_one_batch_or_one_compound_are_left_out_with_the_reason():
    rows = [
        (0, "A", "m1", "1"),
        (1, "B", "m1", "2"),
        (50, "C", "m2", "1"),
        (51, "D", "m2", "1"),
        (90, "E", "m3", "1"),
        (91, "E", "m3", "2"),
        (120, "F", "", "2"),
    ]
    result = nscb(treatments(rows), **FAST)
    assert result.details["evaluated"].tolist() == [True, True, False, False, False, False]
    assert (
        result.details["note"].tolist()[2:]
        == ["its label exists in one batch only"] * 2 + ["its label has one compound only"] * 2
    )
    assert result.summary[0]["n"] == 2
    assert "1 profile without a label" in result.summary[0]["note"]
    assert nsc(treatments(rows), **FAST).summary[0]["n"] == 4


def test_a_treatment_without_any_allowed_neighbour_is_left_out():
    rows = [(0, "A", "m1", "1|2"), (1, "B", "m1", "1"), (2, "C", "m1", "2")]
    result = nscb(treatments(rows), **FAST)
    assert result.details["note"].tolist() == ["every other treatment is excluded as a neighbour", "", ""]
    assert result.details["neighbour"].tolist()[0] == "" and np.isnan(result.details["similarity"][0])
    assert not result.details["hit"][0]


def test_negative_controls_are_no_neighbours():
    table = treatments([(0, "A", "m1", "1"), (9, "B", "m1", "1"), (1, "DMSO", "DMSO", "1")])
    table["Metadata_Control"] = ["", "positive", "negative"]
    result = nsc(table, **FAST)
    assert result.details["neighbour_compound"].tolist() == ["B", "A"] and result.summary[0]["value"] == 1


def test_predictions_are_those_of_scikit_learn():
    table = simulated(effect=0.8)
    compound, batch = table["Metadata_Perturbation"].to_numpy(), table["Metadata_Batch"].to_numpy()
    for result, predicted in (
        (nsc(table, **FAST), oracle(table, lambda row: compound == compound[row])),
        (nscb(table, **FAST), oracle(table, lambda row: (compound == compound[row]) | (batch == batch[row]))),
    ):
        assert result.details["neighbour_label"].tolist() == predicted.tolist()
        labels = sorted(set(table["Metadata_MoA"]))
        found = confusion(result.details).reindex(index=labels, columns=labels, fill_value=0)
        np.testing.assert_array_equal(found, confusion_matrix(table["Metadata_MoA"], predicted, labels=labels))
        assert result.summary[0]["value"] == np.mean(predicted == table["Metadata_MoA"])
        assert 0.2 < result.summary[0]["value"] < 0.95


def test_wells_can_be_classified_too():
    table = simulated().assign(Metadata_Well=[f"A{number:02d}" for number in range(60)])
    result = nsc(table, unit="Well", **FAST)
    assert result.details["unit"].tolist()[:2] == ["A00", "A01"]


def test_planted_mechanisms_are_found_and_shuffled_ones_are_not():
    found = nsc(simulated(), **FAST).summary[0]
    assert found["value"] > 0.95 and found["null"] < 0.35 and found["pvalue"] < 0.02
    table = simulated()
    compounds = table["Metadata_Perturbation"].unique()
    moas = dict(zip(compounds, np.random.default_rng(1).permutation([f"m{n // 4}" for n in range(20)]), strict=True))
    table["Metadata_MoA"] = table["Metadata_Perturbation"].map(moas)
    shuffled = nsc(table, **FAST).summary[0]
    assert shuffled["pvalue"] > 0.05 and abs(shuffled["value"] - shuffled["null"]) < 0.2
    nothing = nscb(simulated(effect=0.0), **FAST).summary[0]
    assert nothing["pvalue"] > 0.05 and nothing["low"] < nothing["null"] < nothing["high"]


def test_the_interval_resamples_compounds_not_treatments():
    table = simulated(effect=0.8)
    once = nsc(table, **FAST).summary[0]
    thrice = pd.concat([table] * 3, ignore_index=True)
    thrice["Metadata_Concentration"] = np.arange(len(thrice), dtype=float)
    again = nsc(thrice, **FAST).summary[0]
    # The same compounds three times over tell no more: the interval must not shrink by sqrt(3).
    assert again["high"] - again["low"] > 0.85 * (once["high"] - once["low"])


def test_small_blocks_give_the_same_neighbours(monkeypatch):
    table = simulated(effect=0.5)
    excluded = [members(table["Metadata_Perturbation"])[0]]
    values = table.filter(regex="^F").to_numpy()
    whole = nearest_neighbours(values, excluded)
    monkeypatch.setattr(similarity, "BLOCK_ENTRIES", 200)
    for first, second in zip(whole, nearest_neighbours(values, excluded), strict=True):
        np.testing.assert_array_equal(first, second)


def test_ties_go_to_the_first_row():
    nearest, _ = nearest_neighbours(np.ones((4, 3)), [members(list("abbc"))[0]])
    assert nearest.tolist() == [1, 0, 0, 0]


def test_missing_values_never_score():
    table = simulated()
    table.loc[0, [f"F{number}" for number in range(10)]] = np.nan
    table.loc[5, "F3"] = np.nan
    result = nsc(table, **FAST)
    lost = result.details[result.details["unit"] == "c00 @ 0"].iloc[0]
    assert not lost["evaluated"] and not lost["hit"] and "more than half" in lost["note"]
    assert result.summary[0]["n"] == 59 and "1 of 15 features left out" in result.summary[0]["note"]
    with pytest.raises(ValueError, match="missing"):
        nearest_neighbours(table.filter(regex="^F").to_numpy(), [])


def test_no_labels_give_no_figure_but_a_reason():
    result = nsc(simulated().assign(Metadata_MoA=""), **FAST)
    assert np.isnan(result.summary[0]["value"]) and result.summary[0]["n"] == 0
    assert "60 profiles without a label" in result.summary[0]["note"]
