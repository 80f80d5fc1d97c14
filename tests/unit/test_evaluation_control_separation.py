"""Z' and SSMD of control pairs."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.evaluation.control_separation import control_separation, ssmd, z_prime

FAST = {"permutations": 50, "bootstrap": 200}


def plate(gap=10.0, plates=1, seed=0, n=8):
    rng = np.random.default_rng(seed)
    kinds = ["positive", "negative", ""] * n
    rows = [(f"P{number}", kind) for number in range(plates) for kind in kinds]
    names, control = map(list, zip(*rows, strict=True))
    moved = np.array([kind == "positive" for kind in control])
    return pd.DataFrame(
        {
            "Metadata_Plate": names,
            "Metadata_Control": control,
            "Ratio": rng.normal(size=len(rows)) + gap * moved,
            "Noise": rng.normal(size=len(rows)),
            "Constant": 1.0,
        }
    )


def test_formulas_by_hand():
    positive, negative = np.array([[9.0], [10], [11]]), np.array([[0.0], [0], [3]])
    spread = 3**0.5
    assert z_prime(positive, negative)[0] == pytest.approx(1 - 3 * (1 + spread) / 9)
    assert ssmd(positive, negative)[0] == pytest.approx(9 / 2)
    # Robust: medians 10 and 0, MADs 1 and 0.
    assert z_prime(positive, negative, robust=True)[0] == pytest.approx(1 - 3 * 1.4826 / 10)
    assert ssmd(positive, negative, robust=True)[0] == pytest.approx(10 / 1.4826)
    assert np.isnan(z_prime(positive, positive)[0])
    assert np.isnan(ssmd(np.ones((3, 1)), np.zeros((3, 1)))[0])


def test_only_named_features_stand_in_the_summary():
    result = control_separation(plate(), features=["Ratio"], **FAST)
    assert [row["label"] for row in result.summary] == ["Z' of Ratio", "SSMD of Ratio"]
    assert result.details["feature"].tolist() == ["Ratio"]
    z, s = result.summary
    table = plate()
    values = {kind: table.loc[table["Metadata_Control"] == kind, "Ratio"] for kind in ("positive", "negative")}
    gap = values["positive"].mean() - values["negative"].mean()
    spread = values["positive"].std() + values["negative"].std()
    assert z["value"] == pytest.approx(1 - 3 * spread / gap)
    assert z["low"] < z["value"] < z["high"] and z["n"] == 16
    assert z["null"] < 0 and abs(s["null"]) < 1 and s["pvalue"] < 0.05


def test_no_named_feature_gives_no_figure():
    result = control_separation(plate(), **FAST)
    assert set(result.details["feature"]) == {"Ratio", "Noise", "Constant"}
    assert len(result.summary) == 1 and np.isnan(result.summary[0]["value"]) and "named" in result.summary[0]["note"]


def test_plates_are_judged_on_their_own():
    table = plate(plates=3)
    table["Ratio"] += table["Metadata_Plate"].map({"P0": 0, "P1": 100, "P2": 1000})
    result = control_separation(table, features=["Ratio"], **FAST)
    assert len(result.details) == 3 and (result.details["z_prime"] > 0).all()
    assert result.summary[0]["value"] == pytest.approx(result.details["z_prime"].median())
    assert "median of 3 groups" in result.summary[0]["note"]
    assert control_separation(table, features=["Ratio"], by="", **FAST).summary[0]["value"] < 0


def test_without_a_difference_nothing_is_separated():
    result = control_separation(plate(gap=0), features=["Ratio", "Noise"], **FAST)
    for row in result.summary:
        assert row["pvalue"] > 0.05
        assert not row["label"].startswith("Z'") or row["value"] < 0


def test_missing_values_are_counted_and_too_few_wells_give_no_figure():
    table = plate()
    table.loc[0, "Ratio"] = np.nan
    result = control_separation(table, features=["Ratio", "Constant"], **FAST).details.set_index("feature")
    assert result.loc["Ratio", ["n_positive", "n_negative", "n_missing"]].tolist() == [7, 8, 1]
    assert np.isnan(result.loc["Constant", "z_prime"]) and result.loc["Constant", "note"] != ""
    table.loc[table["Metadata_Control"] == "positive", "Ratio"] = np.nan
    lost = control_separation(table, features=["Ratio"], **FAST)
    assert np.isnan(lost.summary[0]["value"]) and "fewer than two wells" in lost.summary[0]["note"]


def test_controls_are_chosen_by_the_config():
    table = plate().assign(Metadata_Control="", Metadata_Perturbation=["a", "b", "c"] * 8)
    options = {"positive": "Metadata_Perturbation == 'a'", "negative": "Metadata_Perturbation == 'b'"}
    assert control_separation(table, features=["Ratio"], **options, **FAST).summary[0]["value"] > 0
    with pytest.raises(InputError, match="common wells"):
        control_separation(table, positive=options["negative"], negative=options["negative"])
    with pytest.raises(InputError, match="did you mean 'Ratio'"):
        control_separation(table, features=["Ratios"])
