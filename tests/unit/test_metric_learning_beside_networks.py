"""Cell profiles of learned representations: cells that taught the network are never held out."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.metric_learning.chain import parse
from phenoloom.metric_learning.steps import planned
from phenoloom.tensors.splits import split_items

SEED = 3


@pytest.fixture
def metadata():
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "Metadata_Sample": np.repeat(["a", "b", "c", "d"], 50),
            "Metadata_Label": random.choice(["x", "y", "z"], 200, p=[0.6, 0.3, 0.1]),
        }
    )


def chain(**split):
    options = {"hold_out": "cells", "share": 0.3, "groups": [], "stratify": "Label", "max_cells": 1000}
    return [{"split": {**options, **split}}]


def learned(metadata, **options):
    """The cells as a network leaves them: with the side of its split."""
    given = {"hold_out": "items", "share": 0.3, "groups": [], "samples": "all", "stratify": "Label", **options}
    frame, _ = split_items({"s": metadata}, None, given, None, SEED, Ledger("split"))
    return metadata.assign(Metadata_Split=frame["Metadata_Split"].to_numpy())


def test_a_network_and_a_profile_hold_out_the_same_cells(metadata):
    alone = planned(metadata, chain(), SEED)[0]["Metadata_Split"]
    assert (alone == learned(metadata)["Metadata_Split"]).all() and (alone == "test").sum() == 60


def test_cells_that_the_network_held_out_are_held_out_whatever_the_draw(metadata):
    cells = learned(metadata)
    frame, rows, notes = planned(cells, [*chain(), {"permute": {"column": "Label", "within": []}}][::-1], SEED + 1)
    assert (frame["Metadata_Split"] == cells["Metadata_Split"]).all() and "did not learn from" in notes[-1]
    assert set(rows) == set(np.flatnonzero(cells["Metadata_Split"] == "train"))


def test_groups_must_be_held_out_of_both(metadata):
    both = learned(metadata, hold_out="Sample", groups=["d"])
    assert parse(chain(hold_out="Sample", groups=["d"]))
    assert set(
        planned(both, chain(hold_out="Sample", groups=["d"]), SEED)[0].query("Metadata_Split == 'test'")[
            "Metadata_Sample"
        ]
    ) == {"d"}
    with pytest.raises(InputError, match="50 of the cells held out by Sample taught the network"):
        planned(both, chain(hold_out="Sample", groups=["a"]), SEED)


def test_a_network_that_saw_all_images_is_told_of(metadata):
    frame, _, notes = planned(learned(metadata, hold_out="none"), chain(), SEED)
    assert (frame["Metadata_Split"] == "test").sum() == 60 and "has seen the images of all cells" in notes[-1]
