"""BBBC021: NSC and NSCB accuracies as computed independently with public tools (../shared/data/README.md)."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.evaluation.evaluate import evaluate


@pytest.fixture(scope="module")
def wells(shared_data):
    """Per-well means, z-scored by the DMSO wells of their plate; batch is the week in the image table's path."""
    folder = shared_data("bbbc021_profiles")
    profiles = pd.read_csv(folder / "ljosa_jbiomolscreen_2013_per_well_mean.csv.gz")
    profiles = profiles.rename(columns=lambda name: name.replace("Image_Metadata_", "Metadata_"))
    images = pd.read_csv(folder / "BBBC021_v1_image.csv.gz")
    layout = pd.DataFrame(
        {
            "Metadata_Batch": images["Image_PathName_DAPI"].str.split("/").str[0],
            "Metadata_Plate": images["Image_Metadata_Plate_DAPI"],
            "Metadata_Well": images["Image_Metadata_Well_DAPI"],
            "Metadata_Perturbation": images["Image_Metadata_Compound"],
            "Metadata_Concentration": images["Image_Metadata_Concentration"],
        }
    ).drop_duplicates()
    moas = pd.read_csv(folder / "BBBC021_v1_moa.csv").set_axis(
        ["Metadata_Perturbation", "Metadata_Concentration", "Metadata_MoA"], axis=1
    )
    table = layout.merge(moas, how="left").merge(profiles, on=["Metadata_Plate", "Metadata_Well"])
    control = table["Metadata_Perturbation"] == "DMSO"
    table.insert(6, "Metadata_Control", np.where(control, "negative", ""))
    features = [name for name in profiles if not name.startswith("Metadata_")]
    by_plate = table[control].groupby("Metadata_Plate")[features]
    with np.errstate(invalid="ignore", divide="ignore"):
        table[features] = (
            table[features] - by_plate.mean().loc[table["Metadata_Plate"]].to_numpy()
        ) / by_plate.std().loc[table["Metadata_Plate"]].to_numpy()
    return table


@pytest.fixture(scope="module")
def treatments(wells):
    keys = ["Metadata_Perturbation", "Metadata_Concentration", "Metadata_MoA", "Metadata_Control"]
    features = [name for name in wells if not name.startswith("Metadata_")]
    grouped = wells[wells["Metadata_Control"] == ""].groupby(keys)
    batches = grouped["Metadata_Batch"].agg(lambda values: "|".join(sorted(set(values))))
    return grouped[features].mean().join(batches).reset_index()


@pytest.mark.parametrize(
    ("options", "hits", "n"),
    [
        ({"metric": "nsc"}, 84, 103),
        ({"metric": "nsc", "distance": "correlation"}, 85, 103),
        ({"metric": "nscb"}, 67, 92),
    ],
)
def test_known_accuracies(treatments, options, hits, n):
    result = evaluate(treatments, options, seed=1)
    accuracy = result.summary[0]
    assert (int(result.details["hit"].sum()), accuracy["n"]) == (hits, n)
    assert accuracy["value"] == hits / n
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert accuracy["null"] < 0.15 < accuracy["value"]
    assert "3 of 516 features left out" in accuracy["note"]


def test_mechanisms_of_one_batch_are_listed_and_left_out(treatments):
    details = evaluate(treatments, {"metric": "nscb"}).details
    left_out = details[~details["evaluated"]]
    assert set(left_out["label"]) == {"Cholesterol-lowering", "Kinase inhibitors"}
    assert (left_out["note"] == "its label exists in one batch only").all()


def test_shuffled_mechanisms_are_at_chance(treatments):
    shuffled = treatments.copy()
    compounds = shuffled["Metadata_Perturbation"].unique()
    moas = shuffled.groupby("Metadata_Perturbation")["Metadata_MoA"].first()
    drawn = np.random.default_rng(3).permutation(moas.loc[compounds].to_numpy())
    shuffled["Metadata_MoA"] = shuffled["Metadata_Perturbation"].map(dict(zip(compounds, drawn, strict=True)))
    for options in ({"metric": "nsc"}, {"metric": "mean_average_precision", "positives": "MoA"}):
        summary = evaluate(shuffled, options, seed=1).summary[0]
        assert summary["pvalue"] > 0.05
        assert abs(summary["value"] - summary["null"]) < 0.12


def test_replicates_and_mechanisms_are_retrieved(wells, treatments):
    replicates = evaluate(wells, {"metric": "mean_average_precision", "permutations": 20}).summary[0]
    assert replicates["value"] > 5 * replicates["null"]
    mechanisms = evaluate(treatments, {"metric": "mean_average_precision", "positives": "MoA"}).summary[0]
    assert mechanisms["value"] > 3 * mechanisms["null"]
    assert mechanisms["pvalue"] < 0.02
