"""Simulated cells: compounds change what averages are blind to, and no well's mean or number of cells tells which."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import feature_columns, read_table
from phenoloom.profiles.entering import enter
from phenoloom.simulate.heterogeneity import KINDS, cells, compounds, layout, megabytes
from profile_options import representation

OPTIONS = {"seed": 1, "plates": 2, "compounds": 2, "replicates": 2, "cells": 4000, "noise": 1}


@pytest.fixture(scope="module")
def plates():
    return [plate.assign(**_standard(plate)) for plate in cells(OPTIONS)]


def _standard(plate):
    values = plate[feature_columns(plate)]
    return (values - values.mean()) / values.std()


def of(plate, moa):
    """Values of the features of a kind, of the strongest compound of a MoA."""
    chosen = plate[plate["Metadata_Perturbation"] == f"{moa} A"]
    return chosen[[name for name in chosen if name.startswith(f"Cells_{moa.split()[0]}_")]].to_numpy()


def test_all_wells_hold_equally_many_cells_and_like_means(plates):
    for plate in plates:
        wells = plate.groupby(["Metadata_Plate", "Metadata_Well"])
        assert set(wells.size()) == {OPTIONS["cells"]}
        means = wells[feature_columns(plate)].mean()
        assert means.abs().to_numpy().max() < 0.5
        assert plate.groupby("Metadata_MoA")[feature_columns(plate)].mean().abs().to_numpy().max() < 0.25


def test_signs_of_correlation_and_skewness_and_rare_sides_differ(plates):
    up, down = of(plates[0], "correlation up"), of(plates[0], "correlation down")
    assert np.corrcoef(up.T)[0, 1] > 0.8 and np.corrcoef(down.T)[0, 1] < -0.8
    skewness = [pd.DataFrame(of(plates[0], f"skewness {word}")).skew().min() for word in ("up", "down")]
    assert skewness[0] > 1 and pd.DataFrame(of(plates[0], "skewness down")).skew().max() < -1
    mixture = [pd.DataFrame(of(plates[0], f"mixture {word}")).skew().mean() for word in ("up", "down")]
    assert mixture[0] > 0.3 and mixture[1] < -0.3


def test_plates_hold_the_same_treatments_at_other_places():
    one, other = (layout(OPTIONS, plate) for plate in ("P1", "P2"))
    assert sorted(one["Perturbation"]) == sorted(other["Perturbation"])
    assert not one["Perturbation"].equals(other["Perturbation"])
    assert len(compounds(OPTIONS)) == 1 + OPTIONS["compounds"] * (1 + 2 * len(KINDS))


def test_a_plate_without_room_is_one_sentence():
    with pytest.raises(InputError, match="no plate has 2,745 wells"):
        layout({**OPTIONS, "compounds": 26, "replicates": 15}, "P1")


def test_they_enter_as_a_representation(tmp_path):
    small = {**OPTIONS, "cells": 5}
    block = representation(simulate=small, controls={"negative": ["DMSO"]})
    enter(block, "cells", tmp_path / "all.parquet", Ledger("enter"))
    found = read_table(tmp_path / "all.parquet")
    assert len(found) == 2 * 30 * 5 and set(found["Metadata_Plate"]) == {"P1", "P2"}
    assert (found["Metadata_Control"] == "negative").sum() == 2 * 2 * 5
    assert megabytes(small) == pytest.approx(len(found) * 13 * 4 / 1e6)
    again = tmp_path / "again.parquet"
    enter(block, "cells", again, Ledger("enter"))
    assert read_table(again).equals(found)
