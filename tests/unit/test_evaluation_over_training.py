"""Scores over training: at the end, on average, and the best, whose epoch the labels chose."""

import numpy as np
import pandas as pd

from phenoloom.evaluation.over_training import by_epoch, summarise

SNAPSHOTS = {"dino-epoch0004": ("dino", 4), "dino-epoch0008": ("dino", 8), "dino": ("dino", 12)}


def table(values):
    rows = [
        {"dataset": "d", "representation": name, "profile": "p", "evaluation": "nsc", "metric": "nsc", "level": "wells"}
        | {"label": "", "value": value, "low": value - 0.1, "high": value + 0.1}
        for name, value in values.items()
    ]
    return pd.DataFrame(rows)


def test_the_end_the_mean_and_the_best_are_three_numbers():
    scores = table({"dino": 0.6, "cellprofiler": 0.9, "dino-epoch0008": 0.8, "dino-epoch0004": 0.4})
    epochs = by_epoch(scores, SNAPSHOTS)
    assert epochs["epoch"].tolist() == [4, 8, 12] and set(epochs["model"]) == {"dino"}
    (row,) = summarise(epochs).to_dict("records")
    assert (row["value"], row["epoch"]) == (0.6, 12)
    assert np.isclose(row["mean"], 0.6) and np.isclose(row["deviation"], 0.2) and row["epochs"] == "4, 8, 12"
    assert (row["best_leaks_labels"], row["best_epoch"]) == (0.8, 8)


def test_a_score_that_was_not_computed_counts_nowhere():
    (row,) = summarise(by_epoch(table({"dino": np.nan, "dino-epoch0004": 0.4}), SNAPSHOTS)).to_dict("records")
    assert np.isnan(row["value"]) and row["mean"] == 0.4 and row["best_epoch"] == 4


def test_a_study_without_models_gives_an_empty_table():
    assert summarise(by_epoch(table({"cellprofiler": 0.9}), {})).empty
