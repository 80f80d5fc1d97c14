"""Differences between two profiles are taken unit by unit, with an interval that resamples compounds."""

import numpy as np
import pandas as pd
import pytest
from test_evaluation_table import fake, script, wells

from phenoloom.core.errors import InputError
from phenoloom.core.tables import read_table, write_arrow
from phenoloom.evaluation.comparison import COLUMNS, SCORES, compare, comparison_table
from phenoloom.evaluation.evaluate import evaluate
from phenoloom.evaluation.intervals import bootstrap_difference_of_groups, bootstrap_mean
from phenoloom.evaluation.plan import comparisons

HOSTILE = 'x"; rm -rf ~ #<script>'
NSC = {"metric": "nsc", "level": "treatments"}


def hits(values, units=None, compounds=None, evaluated=True):
    """Details of nsc with one row per unit."""
    units = units if units is not None else [f"{HOSTILE} {number}" for number in range(len(values))]
    return pd.DataFrame(
        {
            "unit": units,
            "compound": compounds if compounds is not None else units,
            "evaluated": evaluated,
            "hit": np.asarray(values, dtype=bool),
        }
    )


def test_a_difference_by_hand():
    ours, theirs = hits([1, 1, 1, 0, 1]), hits([1, 0, 0, 0, 1])
    (row,) = compare(ours, theirs, NSC, seed=3)
    assert (row["value"], row["against_value"], row["n"]) == (0.8, 0.4, 5)
    assert row["difference"] == pytest.approx(0.4)
    drawn = np.random.default_rng(3).integers(0, 5, size=(1000, 5))
    expected = np.quantile(np.array([0, 1, 1, 0, 0])[drawn].mean(axis=1), [0.025, 0.975])
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))


def test_a_planted_difference_is_found_and_none_includes_zero():
    random = np.random.default_rng(1)
    easy = random.random(200)
    draw = lambda bonus: hits(random.random(200) < np.clip(0.7 * easy + bonus, 0, 1))  # noqa: E731
    base = draw(0.1)
    (better,) = compare(draw(0.3), base, NSC)
    (same,) = compare(draw(0.1), base, NSC)
    assert better["low"] > 0
    assert same["low"] < 0 < same["high"]
    (itself,) = compare(base, base, NSC)
    assert itself["low"] == itself["difference"] == itself["high"] == 0


def test_units_are_aligned_by_name_and_those_of_one_profile_only_are_said():
    ours = hits([1, 0, 1, 1], ["a", "b", "c", "only ours"])
    theirs = hits([1, 1, 0, 0], ["c", "b", "a", "only theirs"])
    theirs.loc[1, "evaluated"] = False
    (row,) = compare(ours, theirs, NSC)
    assert (row["n"], row["value"], row["against_value"]) == (2, 1.0, 0.5)
    assert row["note"] == "2 units only of the profile; 1 unit only of the reference"


def test_units_that_stand_twice_are_left_out():
    (row,) = compare(hits([1, 0, 1, 1], ["a", "a", "b", "c"]), hits([0, 0, 1], ["a", "b", "c"]), NSC)
    assert row["n"] == 2 and "2 rows left out" in row["note"]


def test_wells_of_one_treatment_are_units_of_their_own():
    where = {"Metadata_Plate": ["p1", "p1", "p2"], "Metadata_Well": ["A01", "A02", "A01"]}
    ours, theirs = (hits(values, ["t"] * 3).assign(**where) for values in ([1, 1, 0], [0, 1, 0]))
    (row,) = compare(ours, theirs.sample(frac=1, random_state=1), NSC)
    assert row["n"] == 3 and row["difference"] == pytest.approx(1 / 3)


def test_compounds_are_drawn_together():
    compounds = np.repeat([f"c{number}" for number in range(10)], 8)
    units = [f"u{number}" for number in range(80)]
    gains = np.repeat(np.random.default_rng(0).random(10) < 0.5, 8)
    (row,) = compare(hits(gains, units, compounds), hits(np.zeros(80), units, compounds), NSC)
    (loose,) = compare(hits(gains, units), hits(np.zeros(80), units), NSC)
    assert row["high"] - row["low"] > 1.8 * (loose["high"] - loose["low"])


def test_nothing_in_common_gives_no_value_and_says_so():
    (row,) = compare(hits([1], ["a"]), hits([1], ["b"]), NSC)
    assert row["n"] == 0 and np.isnan(row["difference"]) and np.isnan(row["low"])
    assert row["note"].endswith("no unit has a value in both")


def test_a_balanced_accuracy_is_balanced_on_both_sides():
    labels = ["a"] * 90 + ["b"] * 10
    ours = hits([1] * 90 + [0] * 10).assign(label=labels)
    theirs = hits([0] * 90 + [1] * 10).assign(label=labels[::-1])
    (row,) = compare(ours, theirs, {"metric": "held_out_accuracy", "level": "cells"})
    assert row["value"] == 0.5
    assert row["against_value"] == pytest.approx((0 + 10 / 90) / 2)
    assert row["low"] < row["difference"] < row["high"]


def test_one_group_gives_the_interval_of_the_mean():
    values = np.random.default_rng(0).random(30)
    one = bootstrap_difference_of_groups((values, ["g"] * 30), (np.zeros(30), ["g"] * 30), range(30), seed=1)
    np.testing.assert_allclose(one, bootstrap_mean(values, seed=1), atol=0.02)


@pytest.mark.parametrize("metric", SCORES)
def test_scores_are_those_of_the_evaluation_table(metric):
    options = {"metric": metric, "level": "wells"}
    if metric == "held_out_accuracy":
        options |= {"folds": 2, "neighbours": 3}
    good, poor = wells(), wells()
    features = [name for name in poor if name.startswith("F")]
    poor[features] = poor[features] + np.random.default_rng(3).normal(0, 4, poor[features].shape)
    results = [evaluate(table, options, seed=1) for table in (good, poor)]
    found = {row["label"]: row for row in compare(*(result.details for result in results), options)}
    assert len(found) == len(SCORES[metric])
    for label, row in found.items():
        summary = [{one["label"]: one for one in result.summary}[label] for result in results]
        assert row["n"] == summary[0]["n"] == summary[1]["n"] or metric == "held_out_accuracy"
        assert row["value"] == pytest.approx(summary[0]["value"])
        assert row["against_value"] == pytest.approx(summary[1]["value"])


RUNS = [
    *(("map", "d", "cellprofiler", "default"), ("map", "d", "dino", "tvn"), ("map", "d", "untrained", "tvn")),
    *(("map", "e", "dino", "tvn"), ("clusters", "d", "dino", "tvn")),
]


def test_the_first_profile_of_a_dataset_is_the_reference_where_none_is_named():
    first = ("cellprofiler", "default")
    found = comparisons({"map": {"against": []}, "clusters": {}}, RUNS)
    assert found == [("map", "d", ("dino", "tvn"), first), ("map", "d", ("untrained", "tvn"), first)]


def test_references_are_chosen_by_patterns_and_compared_with_each_other_once():
    found = comparisons({"map": {"against": ["untrained/*", "d/cellprofiler/default"]}}, RUNS)
    assert [(profile[0], reference[0]) for _, _, profile, reference in found] == [
        *(("untrained", "cellprofiler"), ("dino", "cellprofiler"), ("dino", "untrained"))
    ]


def test_a_reference_that_is_not_evaluated_is_named():
    with pytest.raises(InputError, match=r"evaluation\.map\.against: 'untraned/tvn'.*d/untrained/tvn"):
        comparisons({"map": {"against": ["untraned/tvn"]}}, RUNS)


def test_the_script_writes_both_tables(tmp_path):
    for name, values in (("dino", [1, 1, 1]), ("cellprofiler", [0, 1, 0])):
        write_arrow(tmp_path / f"{name}.parquet", hits(values))
    outputs = {name: str(tmp_path / f"comparison.{name}") for name in ("parquet", "csv")}
    pairs = [("nsc", "d", ("dino", "tvn"), ("cellprofiler", "default"))]
    params = {"pairs": pairs, "options": {"nsc": NSC}, "seed": 1, "code": "c"}
    job = fake(tmp_path, "comparison", output=outputs, params=params)
    job.input.details, job.input.against = [tmp_path / "dino.parquet"], [tmp_path / "cellprofiler.parquet"]
    script("comparison")(job)
    table = read_table(outputs["parquet"])
    assert list(table.columns) == COLUMNS == list(read_table(outputs["csv"]).columns)
    assert table.loc[0, ["profile", "against_profile", "n"]].tolist() == ["tvn", "default", 3]


def test_without_pairs_there_is_an_empty_table():
    assert list(comparison_table([]).columns) == COLUMNS
