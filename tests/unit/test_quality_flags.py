"""Flags follow the configured limits, and a site's fate follows its flags."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import median_abs_deviation

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.quality import flag_images, robust_z, summarize_sites
from phenoloom.quality.measures import MEASURES


def table(slopes, channel="DNA", flags=None, **columns):
    n = len(slopes)
    frame = pd.DataFrame({f"Quality_{name}": np.zeros(n, np.float32) for name in MEASURES})
    frame["Quality_PowerLogLogSlope"] = slopes
    for name, values in columns.items():
        frame[f"Quality_{name}"] = values
    frame.insert(0, "Metadata_Batch", "b")
    frame["Metadata_Plate"], frame["Metadata_Well"], frame["Metadata_Channel"] = "P", "A01", channel
    frame["Metadata_Site"] = np.arange(1, n + 1)
    frame["Metadata_Flags"] = flags or [""] * n
    return frame


BLURRED = {"out_of_focus": {"measure": "PowerLogLogSlope", "z_below": -5}}
SLOPES = [-2 + 0.01 * k for k in range(-5, 6)]


def test_robust_z_is_that_of_scipy_and_leaves_gaps():
    values = np.array([1.0, 2, 4, 8, 16, np.nan, 3, 3, 5])
    finite = values[np.isfinite(values)]
    expected = (finite - np.median(finite)) / median_abs_deviation(finite) / 1.4826
    assert robust_z(values)[np.isfinite(values)] == pytest.approx(expected)
    assert np.isnan(robust_z(values)[5])


def test_robust_z_where_most_values_are_equal():
    values = np.array([0.0] * 9 + [10.0])
    assert robust_z(values)[-1] == pytest.approx(10 / 1.2533) and (robust_z(values)[:9] == 0).all()
    assert (robust_z(np.full(10, 4.0)) == 0).all()


def test_robust_z_says_nothing_of_few_images():
    assert np.isnan(robust_z(np.array([1.0, 2, 30]), minimum=8)).all()
    assert np.isnan(robust_z(np.array([]))).all()


def test_an_outlier_is_flagged_on_the_named_side_only():
    low, high = table([*SLOPES, -3.0]), table([*SLOPES, -1.0])
    ledger = Ledger("quality")
    assert flag_images(low, BLURRED, ledger)["Metadata_Flags"].tolist() == [""] * 11 + ["out_of_focus"]
    assert flag_images(high, BLURRED, Ledger("quality"))["Metadata_Flags"].eq("").all()
    (row,) = ledger.rows
    assert row["severity"] == "flagged" and row["site"] == "12" and "below -5" in row["reason"]


def test_scores_are_taken_within_a_channel():
    both = pd.concat([table(SLOPES), table([-5 + 0.01 * k for k in range(11)], "ER")], ignore_index=True)
    assert flag_images(both, BLURRED, Ledger("quality"))["Metadata_Flags"].eq("").all()


def test_a_flag_can_ask_for_several_channels_of_a_site():
    slopes = {"DNA": [*SLOPES, -3.0, -3.0], "ER": [*SLOPES, -3.0, -2.0], "RNA": [*SLOPES, -2.0, -2.0]}
    frame = pd.concat([table(values, channel) for channel, values in slopes.items()], ignore_index=True)
    rule = {"measure": "PowerLogLogSlope", "z_below": -5}
    expected = {0: {(12, "DNA"), (12, "ER"), (13, "DNA")}, 0.5: {(12, "DNA"), (12, "ER")}, 1: set()}
    for share, sites in expected.items():
        ledger = Ledger("quality")
        flagged = flag_images(frame, {"blurred": {**rule, "share_of_channels": share}}, ledger)
        flagged = flagged[flagged["Metadata_Flags"] != ""]
        assert set(zip(flagged["Metadata_Site"], flagged["Metadata_Channel"], strict=True)) == sites
        assert len(ledger.rows) == len(sites)


def test_fixed_limits_need_no_other_images_and_can_name_channels():
    rule = {"measure": "PercentSaturated", "above": 1.0, "channels": ["ER"]}
    for channel, expected in (("ER", ["", "saturated"]), ("DNA", ["", ""])):
        frame = table([-2, -2], channel, PercentSaturated=[1.0, 1.5])
        assert flag_images(frame, {"saturated": rule}, Ledger("quality"))["Metadata_Flags"].tolist() == expected


def test_unreadable_images_pass_no_limit():
    frame = table([*SLOPES, np.nan], flags=[""] * 11 + ["unreadable"])
    flagged = flag_images(frame, BLURRED | {"low": {"measure": "PowerLogLogSlope", "below": 0}}, Ledger("quality"))
    assert flagged["Metadata_Flags"].tolist() == ["low"] * 11 + ["unreadable"]


def test_an_unknown_measure_is_said():
    with pytest.raises(InputError, match="Sharpness"):
        flag_images(table(SLOPES), {"x": {"measure": "Sharpness"}}, Ledger("quality"))


@pytest.mark.parametrize(("exclude", "left_out"), [("none", [3]), ("flagged", [2, 3, 4])])
def test_sites_are_left_out_as_configured(exclude, left_out):
    first = table([-2] * 4, "DNA", ["", "out_of_focus;saturated", "", ""])
    second = table([-2] * 3, "ER", ["", "", "unreadable"])
    ledger = Ledger("quality")
    sites = summarize_sites(pd.concat([first, second], ignore_index=True), ledger, exclude)
    assert sites["Metadata_Flags"].tolist() == ["", "DNA:out_of_focus;DNA:saturated", "ER:unreadable", "ER:missing"]
    assert sites.loc[sites["Metadata_Excluded"], "Metadata_Site"].tolist() == left_out
    frame = ledger.frame()
    assert frame.loc[frame["unit"] == "site", "site"].tolist() == [str(site) for site in left_out]
    assert frame.loc[frame["unit"] == "image", ["site", "channel"]].to_numpy().tolist() == [["4", "ER"]]


def test_one_image_makes_a_plate():
    flagged = flag_images(table([-2.0]), BLURRED, Ledger("quality"))
    assert summarize_sites(flagged, Ledger("quality"), "flagged")["Metadata_Excluded"].tolist() == [False]
