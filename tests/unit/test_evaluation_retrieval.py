"""Mean average precision of replicates and mechanisms, and activity: hand-computed cases and simulated truth."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.evaluation.retrieval import activity, mean_average_precision

FAST = {"permutations": 10, "null_size": 1000, "bootstrap": 200}


def at_angles(rows):
    """Profiles on the unit circle: rows of (angle in degrees, compound, MoA)."""
    angles, compounds, moas = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "Metadata_Perturbation": compounds,
            "Metadata_MoA": moas,
            "x": np.cos(np.deg2rad(angles)),
            "y": np.sin(np.deg2rad(angles)),
        }
    )


def simulated(seed=0, active=6, inactive=6, replicates=4, controls=12, plates=2, n_features=20, effect=6.0):
    """Wells of `plates` plates: controls, and treatments that do or do not differ from them."""
    rng = np.random.default_rng(seed)
    rows = [("", "DMSO", plate, "negative") for plate in range(plates) for _ in range(controls)]
    for number in range(active + inactive):
        kind = "active" if number < active else "inactive"
        rows += [(f"m{number // 2}", f"{kind} {number}", copy % plates, "") for copy in range(replicates)]
    moas, names, plate, control = zip(*rows, strict=True)
    values = rng.normal(size=(len(rows), n_features))
    moved = np.array([name.startswith("active") for name in names])
    directions = {name: rng.normal(size=n_features) for name in sorted(set(moas))}
    values[moved] += effect * np.array([directions[moa] for moa in moas])[moved] / np.sqrt(n_features) * 2
    table = pd.DataFrame(
        {
            "Metadata_Plate": [f"P{number}" for number in plate],
            "Metadata_Well": [f"A{number % 99 + 1:02d}" for number in range(len(rows))],
            "Metadata_Perturbation": names,
            "Metadata_Control": control,
            "Metadata_MoA": moas,
        }
    )
    return pd.concat([table, pd.DataFrame(values, columns=[f"F{number}" for number in range(n_features)])], axis=1)


def of(result, unit, column="mean_average_precision"):
    return result.details.set_index("unit").loc[unit, column]


def test_mechanisms_ignore_replicates_of_the_querys_compound():
    table = at_angles([(0, "A", "m1"), (2, "A", "m1"), (10, "B", "m1"), (21, "C", "m2"), (6, "D", "m2")])
    result = mean_average_precision(table, positives="MoA", **FAST)
    # A at 0: D, B, C -> 1/2. A at 2: D, B, C -> 1/2. B: D, A, A, C -> (1/2 + 2/3) / 2.
    assert of(result, "m1") == pytest.approx((1 / 2 + 1 / 2 + 7 / 12) / 3)
    # C: B, D, A, A -> 1/2. D: B and A at 2 (both 4 away), A at 0, C -> 1/4.
    assert of(result, "m2") == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_a_compound_of_two_mechanisms_is_not_its_own_negative():
    rows = [(0, "A", "m1"), (1, "A", "m2"), (10, "B", "m1"), (40, "C", "m2"), (90, "D", "m2")]
    result = mean_average_precision(at_angles(rows), positives="MoA", **FAST)
    # A/m1: A/m2 is ignored: B, C, D -> 1. B: A/m1 is its positive, A/m2 a negative: A/m2, A/m1, C, D -> 1/2.
    assert of(result, "m1") == pytest.approx((1 + 1 / 2) / 2)
    without_rule = mean_average_precision(at_angles(rows), positives="MoA", compound="", **FAST)
    assert of(without_rule, "m1") == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_several_mechanisms_are_asked_one_by_one():
    rows = [(0, "A", "m1|m2"), (10, "B", "m1"), (5, "C", "m2"), (20, "D", "m3"), (7, "E", "m3")]
    result = mean_average_precision(at_angles(rows), positives="MoA", **FAST)
    # m1 of A: C shares m2 and is ignored: E, B, D -> 1/2. Of B: E, C, then A and D both 10 away: A behind D -> 1/4.
    assert of(result, "m1") == pytest.approx((1 / 2 + 1 / 4) / 2)
    # m2 of A: B shares m1 and is ignored: C, E, D -> 1. Of C: E, then A and B both 5 away: A behind B -> 1/3.
    assert of(result, "m2") == pytest.approx((1 + 1 / 3) / 2)


def test_replicates_of_other_doses_are_neither_positives_nor_negatives():
    table = at_angles([(0, "A", ""), (10, "A", ""), (1, "A", ""), (30, "B", ""), (31, "B", "")])
    table["Metadata_Concentration"] = [1.0, 1.0, 2.0, 1.0, 1.0]
    result = mean_average_precision(table, **FAST)
    assert of(result, "A @ 1") == 1
    single = result.details.set_index("unit").loc["A @ 2"]
    assert np.isnan(single["mean_average_precision"]) and "no positive" in single["note"]
    assert not single["significant"]
    assert result.summary[0]["n"] == 2 and "1 of 3 units without a value" in result.summary[0]["note"]


def test_a_bar_in_a_compounds_name_is_no_separator():
    table = at_angles([(0, "A|B", ""), (1, "A|B", ""), (90, "A", ""), (91, "A", "")])
    assert sorted(mean_average_precision(table, **FAST).details["unit"]) == ["A", "A|B"]


def test_pairs_obey_the_columns_of_the_config():
    table = simulated()
    by_plate = mean_average_precision(table, negatives="controls", neg_sameby=["Plate"], **FAST)
    anywhere = mean_average_precision(table, negatives="controls", **FAST)
    assert (by_plate.details["mean_average_precision"] >= anywhere.details["mean_average_precision"] - 1e-12).all()
    across = mean_average_precision(table, pos_diffby=["Plate"], permutations=0, null_size=200)
    within = mean_average_precision(table, pos_sameby=["Plate"], permutations=0, null_size=200)
    assert (across.details["n_queries"] == 4).all() and (within.details["n_queries"] == 4).all()
    assert not np.allclose(across.details["mean_average_precision"], within.details["mean_average_precision"])
    everything = mean_average_precision(table, negatives="all", permutations=0, null_size=200)
    assert everything.details["mean_average_precision"].mean() < anywhere.details["mean_average_precision"].mean()


def test_planted_effects_are_found_and_shuffled_labels_are_at_chance():
    table = simulated()
    mean, share = mean_average_precision(table, positives="MoA", samples="Metadata_Perturbation != 'x'", **FAST).summary
    assert mean["null"] < 0.25 < 0.5 < mean["value"]
    assert mean["low"] <= mean["value"] <= mean["high"]
    shuffled = table.copy()
    treated = shuffled["Metadata_Control"] == ""
    names = shuffled.loc[treated, "Metadata_Perturbation"].to_numpy()
    shuffled.loc[treated, "Metadata_Perturbation"] = np.random.default_rng(5).permutation(names)
    for negatives in ("others", "controls"):
        mean, share = mean_average_precision(shuffled, negatives=negatives, **{**FAST, "permutations": 50}).summary
        if negatives == "others":
            assert abs(mean["value"] - mean["null"]) < 0.06 and mean["pvalue"] > 0.05
            assert share["value"] == 0
        assert share["null"] == 0


def test_the_same_seed_gives_the_same_and_rows_may_come_in_any_order():
    table = simulated()
    first = mean_average_precision(table, **FAST, seed=3)
    again = mean_average_precision(table, **FAST, seed=3)
    pd.testing.assert_frame_equal(first.details, again.details)
    assert first.summary == again.summary
    moved = mean_average_precision(table.sample(frac=1, random_state=0), **FAST, seed=3)
    pd.testing.assert_frame_equal(first.details, moved.details)


def test_missing_values_never_score():
    table = simulated()
    table.loc[3, "F1"] = np.nan
    table.loc[table["Metadata_Perturbation"] == "active 0", [f"F{number}" for number in range(15)]] = np.nan
    table.loc[table.index[-1], "F2"] = np.inf
    result = mean_average_precision(table, **FAST)
    assert "2 of 20 features left out" in result.summary[0]["note"]
    assert len(result.left_out) == 4
    lost = result.details.set_index("unit").loc["active 0"]
    assert np.isnan(lost["mean_average_precision"]) and "more than half" in lost["note"]
    assert result.details["mean_average_precision"].notna().sum() == 11


def test_a_profile_without_direction_is_listed_under_cosine_only():
    table = simulated()
    features = [name for name in table if name.startswith("F")]
    table.loc[table.index[-1], features] = 0.0
    assert "constant" in mean_average_precision(table, **FAST).left_out["note"].iloc[0]
    assert len(mean_average_precision(table, distance="euclidean", **FAST).left_out) == 0


def test_a_table_that_cannot_be_evaluated_is_refused_in_one_sentence():
    table = simulated()
    with pytest.raises(InputError, match="no metadata column Metadata_Target"):
        mean_average_precision(table, positives="Target")
    with pytest.raises(InputError, match="missing values"):
        mean_average_precision(table.assign(**{name: np.nan for name in table if name.startswith("F")}))
    with pytest.raises(InputError, match="no feature columns"):
        mean_average_precision(table[[name for name in table if name.startswith("Metadata_")]])
    with pytest.raises(InputError, match="chooses no row"):
        mean_average_precision(table, samples="Metadata_Plate == 'P9'")


@pytest.mark.parametrize("method", ["average_precision", "energy"])
def test_planted_actives_are_active_and_inactives_are_not(method):
    result = activity(simulated(), method=method, **FAST)
    details = result.details.set_index("unit")
    planted = details.index.str.startswith("active")
    assert details.loc[planted, "active"].all()
    assert not details.loc[~planted, "active"].any()
    share = result.summary[0]
    assert share["label"] == "share active" and share["value"] == 0.5 and share["n"] == 12
    assert share["low"] < 0.5 < share["high"]


@pytest.mark.parametrize("method", ["average_precision", "energy"])
def test_without_effects_nothing_is_found(method):
    for seed in range(4):
        table = simulated(seed, active=0, inactive=20)
        offset = np.where(table["Metadata_Plate"] == "P1", 3.0, 0.0)
        for name in [name for name in table if name.startswith("F")]:
            table[name] += offset
        assert activity(table, method=method, **FAST).details["active"].sum() == 0


def test_exchanges_within_plates_give_uniform_pvalues_without_effects():
    pvalues = np.concatenate(
        [activity(simulated(seed, 0, 20), method="energy", null_size=500).details["pvalue"] for seed in range(6)]
    )
    assert 0.02 <= np.mean(pvalues <= 0.1) <= 0.19
    assert 0.4 < pvalues.mean() < 0.6


@pytest.mark.parametrize("method", ["average_precision", "energy"])
def test_no_negative_controls_are_said_and_nothing_is_active(method):
    table = simulated()
    table["Metadata_Control"] = ""
    result = activity(table, method=method, **FAST)
    assert np.isnan(result.summary[0]["value"]) and "control" in result.summary[0]["note"]
    assert not result.details["active"].any() and (result.details["note"] != "").all()


def test_one_profile_per_treatment_has_no_activity_but_a_reason():
    result = activity(simulated(replicates=1), **FAST)
    assert result.summary[0]["n"] == 0 and np.isnan(result.summary[0]["value"])
    assert result.details["note"].str.contains("no positive").all()
