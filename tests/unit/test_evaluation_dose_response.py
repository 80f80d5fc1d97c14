"""Dose-response: monotonicity and half-effective doses, with SciPy as oracle."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from phenoloom.evaluation.dose_response import (
    dose_response,
    fit_half_effective_dose,
    four_parameter_logistic,
    spearman,
)

DOSES = np.repeat([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0], 3)
FAST = {"permutations": 300, "bootstrap": 100}


def curve(ec50=0.5, noise=0.03, seed=0, bottom=1.0, top=5.0):
    clean = four_parameter_logistic(np.log10(DOSES), bottom, top, np.log10(ec50), 1.2)
    return clean + (top - bottom) * noise * np.random.default_rng(seed).normal(size=len(DOSES))


def plate(seed=0):
    """Two compounds that act, in opposite ways, and two that do not; controls without a dose."""
    rng = np.random.default_rng(seed)
    frames = []
    for name, sign in (("riser", 1), ("faller", -1), ("idle", 0), ("idler", 0)):
        frames.append(
            pd.DataFrame(
                {
                    "Metadata_Perturbation": name,
                    "Metadata_Concentration": DOSES,
                    "Metadata_Control": "",
                    "Ratio": sign * curve(seed=seed) + 0.1 * rng.normal(size=len(DOSES)),
                    "Noise": rng.normal(size=len(DOSES)),
                }
            )
        )
    control = {"Metadata_Perturbation": "DMSO", "Metadata_Concentration": np.nan, "Metadata_Control": "negative"}
    noise = {"Ratio": 0.1 * rng.normal(size=16), "Noise": rng.normal(size=16)}
    return pd.concat([*frames, pd.DataFrame({**control, **noise}, index=range(16))], ignore_index=True)


def test_rho_and_p_are_those_of_scipy():
    values = np.random.default_rng(0).normal(size=(24, 6)) + np.outer(np.log(DOSES), [0, 0, 0.1, 0.3, -0.2, 1])
    rho, p = spearman(DOSES, values, permutations=4000)
    expected = [stats.spearmanr(DOSES, column) for column in values.T]
    np.testing.assert_allclose(rho, [one.statistic for one in expected], atol=1e-12)
    np.testing.assert_allclose(p, [one.pvalue for one in expected], atol=0.03)
    constant = spearman(DOSES, np.ones((24, 1)))
    assert np.isnan(constant[0][0]) and np.isnan(constant[1][0])


def test_planted_dose_order_is_found_and_noise_is_not():
    result = dose_response(plate(), features=["Ratio", "Noise"], **FAST)
    frame = result.details.set_index(["compound", "feature"])
    assert frame.loc[("riser", "Ratio"), "rho"] > 0.9 and frame.loc[("faller", "Ratio"), "rho"] < -0.9
    assert set(frame.index[frame["qvalue"] < 0.05]) == {("riser", "Ratio"), ("faller", "Ratio")}
    labels = {row["label"]: row for row in result.summary}
    assert labels["share monotone of Ratio"]["value"] == 0.5
    assert labels["share monotone of Noise"]["value"] == 0
    riser = labels["Ratio of riser: rho"]
    assert riser["low"] <= riser["value"] <= riser["high"] and riser["pvalue"] < 0.01


def test_shuffled_doses_find_nothing():
    table = plate()
    doses = table["Metadata_Concentration"].to_numpy(copy=True)
    doses[:96] = np.random.default_rng(1).permutation(doses[:96])
    result = dose_response(table.assign(Metadata_Concentration=doses), features=["Ratio"], **FAST)
    assert result.summary[0]["value"] == 0


def test_the_distance_to_controls_stands_for_any_representation():
    result = dose_response(plate(), **FAST)
    assert set(result.details["feature"]) == {"Ratio", "Noise", "Distance_To_Controls"}
    assert {row["label"].split(" of ")[-1].split(":")[0] for row in result.summary} >= {"Distance_To_Controls", "riser"}
    frame = result.details.set_index(["compound", "feature"])
    assert frame.loc[("riser", "Distance_To_Controls"), "qvalue"] < 0.05
    assert frame.loc[("faller", "Distance_To_Controls"), "rho"] > 0.7
    alone = plate().query("Metadata_Control == ''")
    assert "too few negative controls" in dose_response(alone, **FAST).summary[0]["note"]


@pytest.mark.parametrize("ec50", [0.1, 1.0, 5.0])
def test_a_planted_half_effective_dose_lies_in_its_interval(ec50):
    fits = [fit_half_effective_dose(DOSES, curve(ec50, seed=seed)) for seed in range(20)]
    assert {fit["note"] for fit in fits} == {""}
    assert np.mean([fit["ec50_low"] < ec50 < fit["ec50_high"] for fit in fits]) >= 0.8
    assert all(fit["r_squared"] > 0.95 and abs(np.log10(fit["ec50"] / ec50)) < 0.2 for fit in fits)
    assert fits[0]["bottom"] == pytest.approx(1, abs=0.3) and fits[0]["top"] == pytest.approx(5, abs=0.4)


def test_a_clean_curve_gives_its_parameters_back():
    fitted = fit_half_effective_dose(DOSES, -curve(0.5, noise=0))
    assert fitted["ec50"] == pytest.approx(0.5, rel=1e-3) and fitted["hill"] == pytest.approx(1.2, rel=1e-2)
    assert (fitted["bottom"], fitted["top"]) == pytest.approx((-1, -5), rel=1e-2)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.random.default_rng(0).normal(size=24), "no more than chance"),
        (np.ones(24), "constant"),
        (curve(ec50=2000.0, noise=0.0005), "outside the tested doses"),
    ],
)
def test_a_half_effective_dose_is_not_told_where_the_data_do_not_tell_it(values, reason):
    fitted = fit_half_effective_dose(DOSES, values)
    assert np.isnan(fitted["ec50"]) and np.isnan(fitted["ec50_low"])
    assert reason in fitted["note"]


def test_few_doses_are_said():
    assert "fewer than five doses" in fit_half_effective_dose(DOSES[:9], curve()[:9])["note"]
    table = plate()
    table = table[(table["Metadata_Perturbation"] != "idle") | (table["Metadata_Concentration"] == 1)]
    result = dose_response(table, features=["Ratio"], **FAST)
    assert "1 compounds with fewer than 3 doses" in result.summary[0]["note"]
    assert result.details.set_index("compound").loc["idle", "note"] == "fewer than 3 doses"


def test_fits_are_made_for_named_features_only():
    result = dose_response(plate(), features=["Ratio"], fit=True, **FAST).details.set_index("compound")
    assert result.loc["riser", "ec50"] == pytest.approx(0.5, rel=0.4)
    assert np.isnan(result.loc["idle", "ec50"]) and "no more than chance" in result.loc["idle", "note"]


def test_missing_values_are_left_out_and_counted():
    table = plate()
    table.loc[0, "Ratio"] = np.nan
    frame = dose_response(table, features=["Ratio"], **FAST).details.set_index("compound")
    assert frame.loc["riser", "n_wells"] == 23 and "1 wells without a value" in frame.loc["riser", "note"]
    assert frame.loc["riser", "rho"] > 0.9
