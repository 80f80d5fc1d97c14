"""Datasets put together: features by the roles of channels, in every dataset or left out and counted."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import write_table
from phenoloom.crops.merging import merge, renamed

ROLES = {"Ch3": "BF", "Ch4": "DNA", "Ch6": None}


@pytest.mark.parametrize(
    ("feature", "name"),
    [
        ("Cells_AreaShape_Area_Ch4", "Cells_AreaShape_Area_DNA"),
        ("Cells_AreaShape_Area_Ch6", None),
        ("Cells_Correlation_Correlation_Ch4_Ch3", "Cells_Correlation_Correlation_BF_DNA"),
        ("Cells_Correlation_Manders_Ch4_Ch3", "Cells_Correlation_Manders_DNA_BF"),
        ("Cells_Correlation_Manders_Ch3_Ch4", "Cells_Correlation_Manders_BF_DNA"),
        ("Cells_Correlation_Correlation_Ch4_Ch6", None),
        ("Cells_Texture_Contrast_3_00_16_Ch4", "Cells_Texture_Contrast_3_00_16_DNA"),
        ("Cells_AreaShape_Area_XCh4", None),
    ],
)
def test_features_are_named_by_roles(feature, name):
    assert renamed(feature, ROLES) == name


def test_a_channel_whose_name_ends_like_another_is_told_apart():
    roles = {"A": "one", "B_A": "two", "B": "three"}
    assert renamed("Cells_AreaShape_Area_B_A", {"A": "one", "B_A": "two"}) == "Cells_AreaShape_Area_two"
    assert renamed("Cells_AreaShape_Area_A", roles) == "Cells_AreaShape_Area_one"


@pytest.fixture
def tables(tmp_path):
    """Tables of two datasets: jurkat (two samples, channels Ch3 and Ch4) and mitocheck (one, Nucleus)."""

    def cells(name, number, channels, **metadata):
        values = {f"Cells_{kind}_{channel}": np.arange(number) + 0.5 for channel in channels for kind in ("X_Y", "X_Z")}
        table = pd.DataFrame({f"Metadata_{key}": [value] * number for key, value in metadata.items()} | values)
        write_table(tmp_path / f"{name}.parquet", table)
        return tmp_path / f"{name}.parquet"

    return {
        "jurkat": [
            cells("a", 3, ["Ch3", "Ch4"], Dataset="jurkat", Label="G1", Donor="x"),
            cells("b", 2, ["Ch3", "Ch4"], Dataset="jurkat", Label=None, Donor="y"),
        ],
        "mitocheck": [cells("c", 4, ["Nucleus"], Dataset="mitocheck", Label="G1")],
    }


CHANNELS = {"jurkat": ["Ch3", "Ch4"], "mitocheck": ["Nucleus"]}


def merged(tmp_path, tables, roles, apart=("Label",), channels=CHANNELS):
    ledger = Ledger("merge_features")
    merge(tmp_path / "all.parquet", tables, channels, roles, apart, ledger)
    return pd.read_parquet(tmp_path / "all.parquet"), ledger.rows


def test_common_features_of_all_cells_under_common_names(tables, tmp_path):
    table, rows = merged(tmp_path, tables, {"jurkat": {"Ch4": "DNA"}, "mitocheck": {"Nucleus": "DNA"}})
    assert list(table.filter(like="Cells_")) == ["Cells_X_Y_DNA", "Cells_X_Z_DNA"] and len(table) == 9
    assert table["Cells_X_Y_DNA"].tolist() == [0.5, 1.5, 2.5, 0.5, 1.5, 0.5, 1.5, 2.5, 3.5]
    assert (
        table["Metadata_Label"].astype(object).fillna("").tolist()
        == ["jurkat: G1"] * 3 + [""] * 2 + ["mitocheck: G1"] * 4
    )
    assert table["Metadata_Donor"].isna().tolist() == [False] * 5 + [True] * 4
    assert rows == []


def test_a_sample_without_labels_may_come_first(tables, tmp_path):
    tables["jurkat"].reverse()
    table, _ = merged(tmp_path, tables, {"jurkat": {"Ch4": "DNA"}, "mitocheck": {"Nucleus": "DNA"}})
    assert table["Metadata_Label"].isna().tolist() == [True] * 2 + [False] * 7


def test_features_that_one_lacks_are_counted(tables, tmp_path):
    roles = {"jurkat": {"Ch3": "BF", "Ch4": "DNA"}, "mitocheck": {"Nucleus": "DNA"}}
    _, rows = merged(tmp_path, tables, roles)
    assert [(row["dataset"], row["count"], row["unit"]) for row in rows] == [("jurkat", 2, "feature")]


def test_labels_stay_where_they_are_not_kept_apart(tables, tmp_path):
    table, _ = merged(tmp_path, tables, {"jurkat": {"Ch4": "DNA"}, "mitocheck": {"Nucleus": "DNA"}}, apart=())
    assert set(table["Metadata_Label"].dropna()) == {"G1"}


def test_without_a_common_role_there_is_nothing_to_merge(tables, tmp_path):
    with pytest.raises(InputError, match="jurkat, mitocheck have no feature in common; give their channels"):
        merged(tmp_path, tables, {})


def test_names_of_channels_are_roles_where_none_are_given(tables, tmp_path):
    both = {"one": tables["jurkat"], "two": tables["jurkat"][:1]}
    table, _ = merged(tmp_path, both, {}, channels={"one": ["Ch3", "Ch4"], "two": ["Ch3", "Ch4"]})
    assert len(table) == 8 and len(table.filter(like="Cells_").columns) == 4
