"""Cells become wells: the same numbers as pycytominer and pandas, in blocks, and every loss is counted."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycytominer import aggregate, normalize

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import feature_columns, to_arrow
from phenoloom.profiles.aggregation import aggregate_segments, aggregate_table
from phenoloom.profiles.dropped import Dropped
from profile_options import chain

KEYS = ["Metadata_Plate", "Metadata_Well"]
HOSTILE = 'x"; rm -rf ~ #<script>'


def cells(n=600, wells=("A01", "A02", "B01", "B02"), features=7, seed=3, plate="p1"):
    """Single cells with some missing values, one feature without any, float32."""
    random = np.random.default_rng(seed)
    values = random.normal(50, 10, (n, features)).astype(np.float32)
    values[random.random(values.shape) < 0.05] = np.nan
    frame = pd.DataFrame(values, columns=[f"Cells_Feature_{number}" for number in range(features)])
    frame["Nuclei_Nothing"] = np.float32(np.nan)
    frame.insert(0, "Metadata_Plate", plate)
    frame.insert(1, "Metadata_Well", random.choice(wells, n))
    frame.insert(2, "Metadata_Site", random.integers(1, 4, n))
    frame.insert(3, "Metadata_ObjectNumber", np.arange(n))
    return frame


def layout(wells=("A01", "A02", "B01", "B02"), plate="p1", negative=("A01",)):
    return pd.DataFrame(
        {
            "Metadata_Batch": "b1",
            "Metadata_Plate": plate,
            "Metadata_Well": wells,
            "Metadata_Perturbation": ["DMSO" if well in negative else HOSTILE for well in wells],
            "Metadata_Concentration": [np.nan if well in negative else 1.5 for well in wells],
            "Metadata_Unit": "uM",
            "Metadata_Control": ["negative" if well in negative else "" for well in wells],
            "Metadata_MoA": "",
        }
    )


@pytest.fixture
def run(tmp_path):
    """Return a function that writes cells as Parquet, aggregates them and gives (wells, ledger, dropped)."""

    def aggregated(frame, *steps, places=None, plates=("p1",), rows=100, **options):
        path = tmp_path / "cells.parquet"
        pq.write_table(to_arrow(frame), path, row_group_size=rows)
        ledger, dropped = Ledger("aggregate"), Dropped()
        steps = chain(*(steps or [{"aggregate": {}}]))
        wells = aggregate_table(path, steps, ledger, dropped, layout=places, plates=plates, **options)
        return wells, ledger.frame(), dropped.frame()

    return aggregated


@pytest.mark.parametrize("operation", ["median", "mean"])
@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_wells_are_what_pycytominer_gives(run, operation, block_bytes):
    frame = cells()
    wells, _, _ = run(frame, {"aggregate": {"operation": operation}}, block_bytes=block_bytes)
    features = feature_columns(frame)
    expected = aggregate(frame, strata=KEYS, features=features, operation=operation)
    assert feature_columns(wells) == features
    np.testing.assert_allclose(wells[features], expected[features], rtol=1e-12)
    assert list(wells["Metadata_Well"]) == list(expected["Metadata_Well"])
    counts = frame.groupby("Metadata_Well").size()
    assert list(wells["Metadata_Count_Cells"]) == list(counts)
    assert list(wells["Metadata_Count_Sites"]) == [3, 3, 3, 3]


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, (3, 12), elements=st.one_of(st.floats(-1e3, 1e3, width=32), st.just(float("nan")))),
    st.sets(st.integers(1, 11)),
    st.sampled_from(["median", "mean"]),
)
def test_segments_are_what_pandas_gives(block, cuts, operation):
    starts = np.array([0, *sorted(cuts), 12])
    labels = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    expected = getattr(pd.DataFrame(block.T.astype(float)).groupby(labels), operation)().to_numpy().T
    np.testing.assert_allclose(aggregate_segments(block, starts, operation), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("operation", ["median", "mean"])
def test_the_order_of_rows_is_no_matter(run, operation):
    frame = cells()
    steps = [{"normalize": {"method": "standardize", "samples": "all"}}, {"aggregate": {"operation": operation}}]
    first, _, _ = run(frame, *steps)
    second, _, _ = run(frame.sample(frac=1, random_state=1), *steps, rows=37)
    np.testing.assert_allclose(second[feature_columns(second)], first[feature_columns(first)], rtol=1e-9)
    plain = [run(table, steps[1])[0] for table in (frame, frame.sample(frac=1, random_state=2))]
    pd.testing.assert_frame_equal(*plain, check_exact=True)


def test_wells_get_their_place_in_the_layout(run):
    wells, ledger, _ = run(cells(), places=layout())
    assert list(wells["Metadata_Perturbation"]) == ["DMSO", HOSTILE, HOSTILE, HOSTILE]
    assert list(wells["Metadata_Batch"]) == ["b1"] * 4
    assert np.isnan(wells["Metadata_Concentration"].iloc[0])
    assert ledger.empty


def test_lower_case_wells_meet(run):
    places = layout().assign(Metadata_Well=["a1", "A-02", "b01", "B2"])
    wells, ledger, _ = run(cells(), places=places)
    assert list(wells["Metadata_Well"]) == ["A01", "A02", "B01", "B02"]
    assert ledger.empty


def test_a_well_without_cells_and_one_without_place_are_listed(run):
    wells, ledger, dropped = run(cells(), places=layout(wells=("A01", "A02", "B01", "C05")))
    assert list(wells["Metadata_Well"]) == ["A01", "A02", "B01"]
    said = dict(zip(ledger["well"], ledger["reason"], strict=True))
    assert said["C05"] == "well C05 of plate p1 has no cells"
    assert "B02 of plate p1 is not in the layout" in said["B02"]
    assert list(dropped.loc[dropped["kind"] == "well", "name"]) == ["B02"]


def test_why_a_well_has_no_profile_is_told_apart(run):
    with_images, measured = {"A01", "A02", "B01", "B02", "C05", "C06"}, {"A01", "A02", "B01", "B02", "C05"}
    places = layout(wells=("A01", "A02", "B01", "B02", "C05", "C06", "C07"))
    _, ledger, _ = run(cells(), places=places, imaged=(with_images, measured))
    assert ledger["reason"].tolist() == [
        "well C05 of plate p1 has no cells",
        "no site of well C06 of plate p1 gave features; the rows of its sites say why",
        "well C07 of plate p1 has no usable images",
    ]


def test_a_well_that_the_layout_contradicts_is_left_out(run):
    places = pd.concat([layout(), layout().iloc[[1]], layout().iloc[[2]].assign(Metadata_Perturbation="other")])
    wells, ledger, _ = run(cells(), places=places)
    assert list(wells["Metadata_Well"]) == ["A01", "A02", "B02"]
    assert list(ledger["well"]) == ["B01"]
    assert "more than once" in ledger["reason"].iloc[0]


def test_a_well_of_one_cell_has_its_values(run):
    frame = cells(3, wells=("A01",)).fillna(1.0)
    frame["Metadata_Well"] = ["A01", "A02", "A02"]
    for operation in ("median", "mean"):
        wells, _, _ = run(frame, {"aggregate": {"operation": operation}})
        assert wells["Metadata_Count_Cells"].tolist() == [1, 2]
        features = feature_columns(frame)
        np.testing.assert_array_equal(wells[features].iloc[0].astype(np.float32), frame[features].iloc[0])
        assert not wells[feature_columns(wells)].isna().any(axis=None)


def test_wells_with_few_cells_are_left_out_and_counted(run):
    frame = pd.concat([cells(50, wells=("A01",)), cells(4, wells=("A02",))])
    wells, ledger, dropped = run(frame, {"aggregate": {"minimum_cells": 5}})
    assert list(wells["Metadata_Well"]) == ["A01"]
    assert ledger["reason"].tolist() == ["well A02 of plate p1 has 4 cells, fewer than the 5 of minimum_cells"]
    assert dropped[["kind", "name", "plate", "step"]].to_numpy().tolist() == [["well", "A02", "p1", "aggregate"]]


def test_filtered_cells_are_counted_per_well(run):
    frame = cells()
    query = "Cells_Feature_0 > 50 and Metadata_Control != 'negative'"
    wells, ledger, dropped = run(frame, {"filter": {"query": query}}, {"aggregate": {}}, places=layout())
    kept = frame[(frame["Cells_Feature_0"] > 50) & (frame["Metadata_Well"] != "A01")]
    assert list(wells["Metadata_Count_Cells"]) == list(kept.groupby("Metadata_Well").size())
    gone = dropped[dropped["kind"] == "cell"]
    assert gone["count"].sum() == len(frame) - len(kept)
    assert set(gone["name"]) == {"A01", "A02", "B01", "B02"}
    assert list(ledger["well"]) == ["A01"]
    assert "after the filters" in ledger["reason"].iloc[0]
    expected = aggregate(kept, strata=KEYS, features=feature_columns(frame))
    np.testing.assert_array_equal(wells["Cells_Feature_3"], expected["Cells_Feature_3"])


@pytest.mark.parametrize("method", ["standardize", "robustize", "mad_robustize"])
def test_normalising_cells_is_what_pycytominer_does_per_plate(run, method):
    frame = pd.concat([cells(), cells(seed=4, plate="p2")], ignore_index=True)
    places = pd.concat([layout(), layout(plate="p2", negative=("B01", "B02"))])
    options = {"method": method, "samples": "Metadata_Control == 'negative'"}
    steps = [{"normalize": options}, {"filter": {"query": "Cells_Feature_1 > -1"}}, {"aggregate": {}}]
    wells, _, _ = run(frame, *steps, places=places, plates=None, block_bytes=1)
    features = feature_columns(frame.drop(columns="Nuclei_Nothing"))
    whole = frame.merge(places, on=KEYS)
    parts = [
        normalize(part.astype(dict.fromkeys(features, float)), features=features, **options)
        for _, part in whole.groupby("Metadata_Plate")
    ]
    scaled = pd.concat(parts)
    expected = aggregate(scaled[scaled["Cells_Feature_1"] > -1], strata=KEYS, features=features)
    np.testing.assert_allclose(wells[features], expected[features], rtol=1e-9, atol=1e-9)


def test_a_plate_without_controls_goes_to_the_ledger_where_others_have_some(run):
    frame = pd.concat([cells(), cells(seed=4, plate="p2")], ignore_index=True)
    places = pd.concat([layout(), layout(plate="p2", negative=())])
    wells, ledger, dropped = run(frame, {"normalize": {}}, {"aggregate": {}}, places=places, plates=None)
    assert set(wells["Metadata_Plate"]) == {"p1"}
    assert ledger["plate"].tolist() == ["p2"]
    assert ledger["count"].tolist() == [4]
    assert "plate p2 has 0 cells with Metadata_Control == 'negative'" in ledger["reason"].iloc[0]
    assert (dropped["plate"] == "p2").sum() == 4


def test_infinite_values_are_missing_and_counted(run):
    frame = cells(wells=("A01",))
    frame.loc[[3, 5], "Cells_Feature_2"] = [np.inf, -np.inf]
    wells, _, dropped = run(frame, {"aggregate": {"operation": "mean"}})
    expected = frame["Cells_Feature_2"].replace([np.inf, -np.inf], np.nan).astype(float).mean()
    assert wells["Cells_Feature_2"].iloc[0] == pytest.approx(expected, rel=1e-12)
    assert dropped[["kind", "name", "count"]].to_numpy().tolist() == [["value", "Cells_Feature_2", 2]]


def test_metadata_of_a_table_that_brings_its_own_is_carried(run):
    frame = cells()
    frame["Metadata_Perturbation"] = frame["Metadata_Well"].map({"A01": "DMSO", "A02": HOSTILE}).fillna("other")
    frame["Metadata_Area"] = np.arange(len(frame))
    wells, ledger, _ = run(frame)
    assert list(wells["Metadata_Perturbation"]) == ["DMSO", HOSTILE, "other", "other"]
    assert "Metadata_Area" not in wells
    assert ledger.empty


def test_a_well_with_two_perturbations_is_left_out(run):
    frame = cells()
    frame["Metadata_Perturbation"] = "a"
    frame.loc[frame.index[frame["Metadata_Well"] == "A02"][3], "Metadata_Perturbation"] = "b"
    wells, ledger, _ = run(frame)
    assert list(wells["Metadata_Well"]) == ["A01", "B01", "B02"]
    assert "several values of Metadata_Perturbation" in ledger["reason"].iloc[0]


def test_cells_without_a_well_name_are_counted(run):
    frame = cells()
    frame.loc[:4, "Metadata_Well"] = "nowhere"
    wells, ledger, _ = run(frame)
    assert wells["Metadata_Count_Cells"].sum() == len(frame) - 5
    assert ledger[["unit", "count"]].to_numpy().tolist() == [["cell", 5]]
    assert "nowhere" in ledger["reason"].iloc[0]


def test_sites_are_counted_and_their_cells_summed(run):
    frame = cells(9, wells=("A01",)).drop(columns=["Metadata_ObjectNumber"])
    frame["Metadata_Count_Cells"] = 10
    wells, _, _ = run(frame, level="sites")
    assert wells[["Metadata_Count_Cells", "Metadata_Count_Sites"]].to_numpy().tolist() == [[90, 9]]


def test_a_plate_without_any_cell_gives_an_empty_table(run):
    wells, ledger, _ = run(cells().iloc[:0], places=layout())
    assert wells.empty
    assert feature_columns(wells)
    assert sorted(ledger["well"]) == ["A01", "A02", "B01", "B02"]


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([{"filter": {"query": "Metadata_Controll == 'x'"}}, {"aggregate": {}}], "did you mean Metadata_Control"),
        ([{"filter": {"query": "Cells_Feature_0 +"}}, {"aggregate": {}}], "cannot be evaluated"),
        ([{"filter": {"query": "Cells_Feature_0 + 1"}}, {"aggregate": {}}], "no yes or no"),
        ([{"filter": {"query": "@pd.DataFrame"}}, {"aggregate": {}}], "cannot be evaluated"),
        ([{"normalize": {}}], "aggregate"),
    ],
)
def test_a_chain_that_cannot_work_is_one_sentence(run, steps, sentence):
    with pytest.raises(InputError, match=sentence):
        run(cells(), *steps, places=layout())


def test_a_table_without_features_or_keys_is_refused(tmp_path):
    path = tmp_path / "cells.parquet"
    pq.write_table(pa.table({"Metadata_Plate": ["p"], "Metadata_Well": ["A01"]}), path)
    with pytest.raises(InputError, match="no numeric feature"):
        aggregate_table(path, chain({"aggregate": {}}), Ledger("x"), Dropped())
    pq.write_table(pa.table({"Metadata_Plate": ["p"], "Cells_x": [1.0]}), path)
    with pytest.raises(InputError, match="no column Metadata_Well"):
        aggregate_table(path, chain({"aggregate": {}}), Ledger("x"), Dropped())
    path.write_bytes(b"not parquet")
    with pytest.raises(InputError, match="Parquet"):
        aggregate_table(path, chain({"aggregate": {}}), Ledger("x"), Dropped())
