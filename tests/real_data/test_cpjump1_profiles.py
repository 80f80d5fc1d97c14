"""CPJUMP1: published mean average precisions of compounds, U2OS 48 h (Chandrasekaran et al. 2024)."""

import pandas as pd
import pytest

from phenoloom.evaluation.evaluate import evaluate

#: Replicates of a compound against the negative controls of the query's plate.
REPLICABILITY = {
    "metric": "mean_average_precision",
    "positives": "broad_sample",
    "compound": "",
    "negatives": "controls",
    "neg_sameby": ["Plate"],
    "permutations": 5,
    "null_size": 1000,
}


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data("cpjump1_profiles")


@pytest.fixture(scope="module")
def wells(folder):
    paths = sorted(folder.glob("BR0011701*/*.csv.gz"))
    table = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    kinds = table["Metadata_control_type"].fillna("")
    control = kinds.map(lambda kind: "negative" if kind == "negcon" else "positive" if kind else "")
    return table.assign(Metadata_Control=control, Metadata_Perturbation=table["Metadata_broad_sample"])


def test_published_mean_average_precisions(folder, wells):
    assert wells["Metadata_Plate"].nunique() == 4
    published = pd.read_csv(
        folder / "published_map_spotcheck_compound_U2OS_long.csv", index_col="Metadata_broad_sample"
    )
    details = evaluate(wells, REPLICABILITY).details.set_index("unit")
    found = details.loc[published.index, "mean_average_precision"]
    assert len(found) == 34
    assert (found - published["mean_average_precision"]).abs().max() < 1e-15


def test_activity_is_the_published_one_or_more_cautious(folder, wells):
    published = pd.read_csv(
        folder / "published_map_spotcheck_compound_U2OS_long.csv", index_col="Metadata_broad_sample"
    )
    result = evaluate(wells, {"metric": "activity", "treatment": "broad_sample", "permutations": 2})
    called = result.details.set_index("unit").loc[published.index, "active"]
    assert published["above_q_threshold"][called].all()
    assert called.sum() >= 0.7 * published["above_q_threshold"].sum()
    assert result.summary[0]["null"] < 0.05
