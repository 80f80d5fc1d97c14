"""Average precision and its p-values: copairs as oracle, and where this differs from it on purpose."""

import numpy as np
import pandas as pd
import pytest
from copairs import map as copairs_map
from copairs.map import multilabel
from sklearn.metrics import average_precision_score

from phenoloom.evaluation import average_precision as module
from phenoloom.evaluation import similarity
from phenoloom.evaluation.average_precision import (
    Pairing,
    average_precisions,
    expected_average_precision,
    random_average_precisions,
    significance,
)
from phenoloom.evaluation.units import members


def pairing(labels, plates=None, **changes):
    membership, _ = members(labels)
    n = len(membership)
    plates = np.zeros(n, dtype=int) if plates is None else np.asarray(plates)
    options = {
        "labels": membership,
        "query": np.ones(n, dtype=bool),
        "negative": np.ones(n, dtype=bool),
        "compound": np.full(n, -1),
        "positives_within_compound": True,
        "positive_same": np.zeros(n, dtype=int),
        "negative_same": plates,
    }
    return Pairing(**{**options, **changes})


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    meta = pd.DataFrame({"label": rng.integers(0, 12, 70).astype(str), "plate": rng.integers(0, 3, 70)})
    return meta, rng.normal(size=(70, 8))


@pytest.mark.parametrize("distance", similarity.DISTANCES)
def test_scores_are_those_of_copairs(example, distance):
    meta, values = example
    expected = copairs_map.average_precision(
        meta, values, ["label"], ["plate"], ["plate"], ["label"], distance=distance, progress_bar=False
    )
    plates = meta["plate"].to_numpy()
    found = average_precisions(values, pairing(meta["label"], plates, positive_different=(plates,)), distance)[0]
    paired = expected["n_pos_pairs"].to_numpy() > 0
    for name in ("average_precision", "normalized_average_precision"):
        np.testing.assert_allclose(found[name][paired], expected[name][paired], atol=1e-12)
    for name in ("n_pos_pairs", "n_total_pairs"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert found["average_precision"][~paired].isna().all()


def test_several_labels_are_those_of_copairs(example):
    _, values = example
    rng = np.random.default_rng(1)
    sets = [sorted(set(rng.choice(list("abcde"), rng.integers(1, 3)))) for _ in range(len(values))]
    expected = multilabel.average_precision(
        pd.DataFrame({"row": range(len(sets)), "label": sets}),
        values,
        ["label"],
        [],
        [],
        ["label"],
        "label",
        progress_bar=False,
    )
    found = average_precisions(values, pairing(["|".join(one) for one in sets]))[0]
    found["label"] = np.array(list("abcde"))[found["label"]]
    both = found.merge(expected, on=["row", "label"], suffixes=("", "_expected"))
    assert len(both) == len(expected) == len(found)
    np.testing.assert_allclose(both["average_precision"], both["average_precision_expected"], atol=1e-12)
    np.testing.assert_array_equal(both["n_total_pairs"], both["n_total_pairs_expected"])


def test_small_blocks_give_the_same(example, monkeypatch):
    meta, values = example
    whole = average_precisions(values, pairing(meta["label"]))[0]
    monkeypatch.setattr(similarity, "BLOCK_ENTRIES", 3 * len(values))
    pd.testing.assert_frame_equal(average_precisions(values, pairing(meta["label"]))[0], whole)


def test_shuffles_are_as_if_the_labels_had_been_given_so(example):
    meta, values = example
    rows = np.random.default_rng(2).permutation(len(meta))
    shuffled = average_precisions(values, pairing(meta["label"]), shuffles=[rows])[1]
    expected = average_precisions(values, pairing(meta["label"].to_numpy()[rows]))[0]
    pd.testing.assert_frame_equal(shuffled, expected)


def test_ties_count_against_the_query():
    values = np.tile([[1.0, 2.0, 3.0]], (6, 1))
    scores = average_precisions(values, pairing(["a", "a", "b", "b", "c", "c"]))[0]
    # One positive behind four negatives that are just as similar; copairs says 1.
    np.testing.assert_allclose(scores["average_precision"], 1 / 5)


def test_a_query_without_negatives_or_positives_has_no_score():
    values = np.random.default_rng(0).normal(size=(4, 3))
    assert average_precisions(values, pairing(["a"] * 4))[0]["average_precision"].isna().all()
    assert average_precisions(values, pairing(list("abcd")))[0]["average_precision"].isna().all()


def test_missing_values_are_refused():
    values = np.array([[1.0, np.nan], [1, 2], [2, 3]])
    with pytest.raises(ValueError, match="missing"):
        average_precisions(values, pairing(["a", "a", "b"]))
    with pytest.raises(ValueError, match="constant profile"):
        average_precisions(np.nan_to_num(values - values), pairing(["a", "a", "b"]))


def test_expected_average_precision_is_the_mean_over_random_orders():
    rng = np.random.default_rng(0)
    drawn = [average_precision_score([1] * 3 + [0] * 7, rng.random(10)) for _ in range(1000)]
    assert expected_average_precision([3], [10])[0] == pytest.approx(np.mean(drawn), abs=0.025)
    assert np.isnan(expected_average_precision([0, 4], [10, 4])).all()


def test_pvalues_are_those_of_copairs_where_nothing_ties(example, tmp_path):
    meta, values = example
    scores = copairs_map.average_precision(meta, values, ["label"], [], [], ["label"], progress_bar=False)
    expected = copairs_map.mean_average_precision(
        scores, ["label"], 20000, 0.05, 0, progress_bar=False, cache_dir=tmp_path
    ).set_index("label")
    found = significance(average_precisions(values, pairing(meta["label"]))[0], "label", 20000, 0)
    found.index = sorted(set(meta["label"]))
    found = found.loc[expected.index]
    np.testing.assert_allclose(found["value"], expected["mean_average_precision"], atol=1e-12)
    np.testing.assert_allclose(found["pvalue"], expected["p_value"], atol=0.02)
    np.testing.assert_allclose(found["qvalue"], expected["corrected_p_value"], atol=0.03)


def test_a_perfect_score_among_few_is_not_significant():
    scores = pd.DataFrame(
        {
            "unit": "a",
            "average_precision": 1.0,
            "normalized_average_precision": 1.0,
            "n_pos_pairs": 1,
            "n_total_pairs": [5],
        }
    )
    # One positive among five stands first by chance once in five orders.
    assert significance(scores, "unit", 5000, 0)["pvalue"].iloc[0] == pytest.approx(0.2, abs=0.03)


def test_random_orders_are_drawn_in_parts_of_bounded_size(monkeypatch):
    whole = random_average_precisions(3, 40, 500, seed=1)
    assert len(whole) == 500 and len(np.unique(whole)) > 50
    assert whole.mean() == pytest.approx(expected_average_precision([3], [40])[0], abs=0.02)
    monkeypatch.setattr(module, "DRAWN_ENTRIES", 40 * 100)
    parts = random_average_precisions(3, 40, 500, seed=1)
    assert len(parts) == 500
    assert len({tuple(parts[start : start + 100]) for start in range(0, 500, 100)}) == 5
