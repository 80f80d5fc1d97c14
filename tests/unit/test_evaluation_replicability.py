"""Percent replicating and percent matching against random groups."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.evaluation.replicability import median_similarity, percent_matching, percent_replicating
from phenoloom.evaluation.similarity import prepared


def simulated(seed=0, compounds=30, replicates=4, per_moa=3, effect=1.5, moa_effect=1.5, n_features=25, inactive=0):
    """Wells: compounds in groups of `per_moa` share part of their effect; the last `inactive` compounds have none."""
    rng = np.random.default_rng(seed)
    compound = np.repeat(np.arange(compounds), replicates)
    own = effect * rng.normal(size=(compounds, n_features))
    own += moa_effect * rng.normal(size=(compounds // per_moa + 1, n_features))[np.arange(compounds) // per_moa]
    own[compounds - inactive :] = 0
    values = own[compound] + rng.normal(size=(len(compound), n_features))
    table = pd.DataFrame(
        {
            "Metadata_Perturbation": [f"c{number}" for number in compound],
            "Metadata_MoA": [f"m{number // per_moa}" for number in compound],
            "Metadata_Control": "",
        }
    )
    return pd.concat([table, pd.DataFrame(values, columns=[f"F{number}" for number in range(n_features)])], axis=1)


def test_the_statistic_is_the_median_correlation_of_the_replicates():
    table = simulated(compounds=6)
    details = percent_replicating(table, null_size=100, permutations=2).details.set_index("unit")
    values = table[table["Metadata_Perturbation"] == "c2"].filter(regex="^F").to_numpy()
    expected = np.median(np.corrcoef(values)[np.triu_indices(4, 1)])
    assert details.loc["c2", "median_similarity"] == pytest.approx(expected)


def test_planted_replicates_replicate_and_inactive_ones_do_so_by_chance():
    result = percent_replicating(simulated(inactive=15), permutations=10)
    found = result.details.set_index("unit")["replicating"]
    names = [int(name[1:]) for name in found.index]
    assert found[np.array(names) < 15].all()
    assert found[np.array(names) >= 15].mean() < 0.3
    assert result.summary[0]["low"] < result.summary[0]["value"] < result.summary[0]["high"]


def test_without_effects_the_share_is_that_of_the_percentile():
    shares = [
        percent_replicating(simulated(seed, 60, effect=0, moa_effect=0), permutations=5).summary[0] for seed in range(3)
    ]
    assert np.mean([one["value"] for one in shares]) < 0.13
    assert np.mean([one["null"] for one in shares]) < 0.13


def test_matching_needs_different_compounds():
    alike = percent_matching(simulated(), permutations=10)
    assert alike.summary[0]["value"] >= 0.9 and alike.summary[0]["n"] == 10
    # Replicates are alike, mechanisms are not: only pairs of different compounds may count.
    unlike = percent_matching(simulated(moa_effect=0, effect=3), permutations=10)
    assert unlike.summary[0]["value"] <= 0.3
    assert abs(unlike.summary[0]["value"] - unlike.summary[0]["null"]) < 0.3


def test_pairs_within_a_compound_are_left_out_of_the_median():
    vectors = prepared(np.array([[1.0, 0], [1, 0], [0, 1], [1, 1]]), "cosine")
    assert median_similarity(vectors, np.array([0, 1, 2]), np.array([0, 0, 1]), "cosine") == 0
    assert median_similarity(vectors, np.array([0, 1, 3]), np.array([0, 0, 1]), "cosine") == pytest.approx(0.5**0.5)


def test_units_too_small_to_judge_are_listed_with_the_reason():
    table = simulated(compounds=6)
    table.loc[len(table)] = {**table.iloc[0], "Metadata_Perturbation": "single", "Metadata_MoA": "alone"}
    for result, unit in (
        (percent_replicating(table, null_size=100, permutations=2), "single"),
        (percent_matching(table, null_size=100, permutations=2), "alone"),
    ):
        row = result.details.set_index("unit").loc[unit]
        assert np.isnan(row["median_similarity"]) and "fewer than two" in row["note"]
        assert "units without a value" in result.summary[0]["note"]


def test_random_groups_that_cannot_be_drawn_are_said():
    table = simulated(compounds=2, replicates=4)
    result = percent_replicating(table, null_size=100, permutations=2)
    assert result.details["note"].str.contains("too few other labels").all() and result.summary[0]["n"] == 0


def test_controls_do_not_replicate_and_the_seed_decides():
    table = simulated(compounds=8)
    table.loc[table["Metadata_Perturbation"] == "c7", "Metadata_Control"] = "negative"
    first = percent_replicating(table, null_size=100, permutations=3, seed=4)
    again = percent_replicating(table, null_size=100, permutations=3, seed=4)
    assert "c7" not in set(first.details["unit"])
    pd.testing.assert_frame_equal(first.details, again.details)
    assert first.summary == again.summary
