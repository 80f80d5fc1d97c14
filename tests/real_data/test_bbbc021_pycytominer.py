"""The profile stage against the output that pycytominer's authors stored for BBBC021's wells (632 x 189)."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import feature_columns
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.entering import enter
from phenoloom.profiles.profiling import profile, wells_of_table
from profile_options import chain, representation

KEYS = ["Metadata_Plate", "Metadata_Well"]

#: The exercise's options are not stored with its output. The normalisation reproduces its values by itself; SAME was
#: found by trying pycytominer's operations until the set of features agreed, so that only the values are independent.
NORMALIZE = {"normalize": {"method": "mad_robustize", "samples": "all", "by": "dataset"}}
SAME = {"feature_select": {"operations": ["frequency_threshold", "correlation_threshold"]}}
TODAY = {"feature_select": {"operations": ["variance_threshold", "correlation_threshold", "drop_na_columns"]}}


@pytest.fixture(scope="module")
def stored(shared_data):
    return pd.read_csv(shared_data("bbbc021_pycytominer") / "BBBC021_feature_selected_mad_robustize.csv")


@pytest.fixture(scope="module")
def table(shared_data, tmp_path_factory):
    """The wells of Ljosa et al. as an entered representation."""
    source = shared_data("bbbc021_profiles") / "ljosa_jbiomolscreen_2013_per_well_mean.csv.gz"
    metadata = {"Plate": "Image_Metadata_Plate", "Well": "Image_Metadata_Well", "Perturbation": {"value": "any"}}
    path = tmp_path_factory.mktemp("entered") / "all.parquet"
    enter(representation(table=str(source), metadata=metadata), "wells", path, Ledger("enter"))
    return path


def _profile(table, steps):
    wells = wells_of_table(table, [], "wells", Ledger("aggregate"), Dropped())
    dropped = Dropped()
    wells, _ = profile([wells], chain(*steps), Ledger("profile"), dropped)
    return wells, dropped.frame()


def _differences(wells, stored, features):
    ours = stored[KEYS].merge(wells, on=KEYS, how="left")
    return np.abs(ours[features].to_numpy() - stored[features].to_numpy())


def test_the_same_options_give_the_stored_features_and_values(table, stored):
    wells, dropped = _profile(table, [NORMALIZE, SAME])
    expected = feature_columns(stored)
    assert len(expected) == 189
    assert sorted(feature_columns(wells)) == sorted(expected)
    assert len(wells) == len(stored) == 632
    assert _differences(wells, stored, expected).max() < 1e-6
    features = dropped[dropped["kind"] == "feature"]
    assert len(features) == features["name"].nunique() == 516 - 189
    assert set(features["step"]) == {"feature_select frequency_threshold", "feature_select correlation_threshold"}


def test_todays_operations_keep_two_more(table, stored):
    wells, _ = _profile(table, [NORMALIZE, TODAY])
    expected = feature_columns(stored)
    # the second is identical to Cells_Children_Cytoplasm_Count: which of the two stays is a matter of sorting
    more = {"Nuclei_AreaShape_EulerNumber", "Nuclei_Children_Cytoplasm_Count"}
    assert set(feature_columns(wells)) == set(expected) | more
    assert _differences(wells, stored, expected).max() < 1e-6


def test_values_written_to_the_final_table_keep_single_precision(table, stored, tmp_path):
    from phenoloom.core.tables import read_table, write_table

    wells, _ = _profile(table, [NORMALIZE, SAME])
    write_table(tmp_path / "wells.parquet", wells)
    expected = feature_columns(stored)
    values = stored[expected].to_numpy()
    differences = _differences(read_table(tmp_path / "wells.parquet"), stored, expected)
    assert (differences / np.maximum(1, np.abs(values))).max() < 1e-6


def test_another_normalisation_does_not_give_the_stored_values(table, stored):
    wells, _ = _profile(table, [{"normalize": {"method": "standardize", "samples": "all", "by": "dataset"}}])
    assert np.nanmax(_differences(wells, stored, feature_columns(stored))) > 1e-3
