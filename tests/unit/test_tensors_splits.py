"""Splits of items: no compound, plate or batch crosses; controls; weak labels, and the same in random order."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.evaluation.units import text
from phenoloom.ingest.layouts import simulated_layout
from phenoloom.simulate.design import truth
from phenoloom.tensors.splits import split_items

OPTIONS = {"hold_out": "none", "share": 0.3, "groups": [], "samples": "all", "stratify": None}


@pytest.fixture(scope="module")
def layout():
    return simulated_layout(truth({}))


@pytest.fixture(scope="module")
def items(layout):
    """{plate: two to five items of each of its wells} of a simulated study of two batches of three plates."""
    random, found = np.random.default_rng(0), {}
    for plate, wells in layout.groupby("Metadata_Plate", sort=True):
        table = wells[["Metadata_Batch", "Metadata_Plate", "Metadata_Well"]].assign(Metadata_Dataset="d")
        table = table.loc[table.index.repeat(random.integers(2, 6, len(table)))]
        found[plate.replace(" ", "~20")] = table.reset_index(drop=True)
    return found


def split(items, layout, label=None, seed=0, shuffle=False, ledger=None, **options):
    return split_items(items, layout, {**OPTIONS, **options}, label, seed, ledger or Ledger("split"), shuffle)


def sides(frame, column):
    """{value: sides of the split that it is on}."""
    return frame.groupby(column)["Metadata_Split"].agg(set).to_dict()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("column", ["Perturbation", "Treatment", "MoA", "Plate", "Batch"])
def test_no_group_crosses(items, layout, column, seed):
    frame, _ = split(items, layout, hold_out=column, seed=seed)
    treated = frame[frame["Metadata_Control"] != "negative"] if column not in ("Plate", "Batch") else frame
    treated = treated[treated[f"Metadata_{column}"] != ""]
    assert all(len(found) == 1 for found in sides(treated, f"Metadata_{column}").values())
    assert set(treated["Metadata_Split"]) == {"train", "test"}


@pytest.mark.parametrize("seed", range(6))
def test_no_well_crosses_and_each_label_is_on_both_sides(items, layout, seed):
    frame, note = split(items, layout, "Perturbation", hold_out="Well", seed=seed)
    wells = frame.groupby(["Metadata_Plate", "Metadata_Well"])["Metadata_Split"].nunique()
    assert (wells == 1).all()
    assert all(found == {"train", "test"} for found in sides(frame, "Metadata_Perturbation").values())
    assert f"{(frame['Metadata_Split'] == 'test').sum():,} of {len(frame):,} items" in note[0]


def test_negative_controls_stay_in_training_when_compounds_are_held_out(items, layout):
    frame, note = split(items, layout, hold_out="Perturbation", share=0.9)
    controls = frame["Metadata_Control"] == "negative"
    assert (frame.loc[controls, "Metadata_Split"] == "train").all()
    assert f"{controls.sum()} items of negative controls stay in training" in note[0]
    frame, note = split(items, layout, hold_out="Plate")
    assert set(frame.loc[frame["Metadata_Control"] == "negative", "Metadata_Split"]) == {"train", "test"}
    assert "stay in training" not in note[0]


def test_a_property_of_plates_takes_its_controls_along(items, layout):
    layout = layout.assign(Metadata_Donor=layout["Metadata_Plate"].str[-1].map({"1": "x", "2": "y", "3": "z"}))
    frame, _ = split(items, layout, hold_out="Donor", groups=["y"])
    assert {donor: found.pop() for donor, found in sides(frame, "Metadata_Donor").items()} == {
        "x": "train",
        "y": "test",
        "z": "train",
    }


def test_named_groups_are_held_out(items, layout):
    frame, note = split(items, layout, hold_out="Perturbation", groups=["reticulol A"])
    assert set(frame.loc[frame["Metadata_Split"] == "test", "Metadata_Perturbation"]) == {"reticulol A"}
    assert "held out by Perturbation: reticulol A" in note[0]
    frame, _ = split(items, layout, hold_out="Well", groups=["A01", "B1P1/B02"])
    test = frame[frame["Metadata_Split"] == "test"]
    assert set(test["Metadata_Well"]) == {"A01", "B02"}
    assert set(test.loc[test["Metadata_Well"] == "B02", "Metadata_Plate"]) == {"B1P1"}
    assert test.loc[test["Metadata_Well"] == "A01", "Metadata_Plate"].nunique() == 6


def test_items_without_the_column_stay_in_training_and_are_counted(items, layout):
    frame, note = split(items, layout, hold_out="MoA")
    without = (frame["Metadata_MoA"] == "") & (frame["Metadata_Control"] != "negative")
    assert without.any() and (frame.loc[without, "Metadata_Split"] == "train").all()
    assert f"{without.sum()} items without MoA stay in training" in note[0]


def test_rows_are_those_of_the_tensors_in_order(items, layout):
    frame, note = split(items, layout)
    assert set(frame["Metadata_Split"]) == {"all"} and "transductive" in note[0]
    assert frame.columns[:2].tolist() == ["unit", "row"] and "Metadata_WeakLabel" not in frame
    for unit, table in items.items():
        own = frame[frame["unit"] == unit]
        assert own["row"].tolist() == list(range(len(table)))
        assert own["Metadata_Well"].tolist() == table["Metadata_Well"].tolist()
    joined = frame.merge(layout, on=["Metadata_Plate", "Metadata_Well"], suffixes=("", "_due"))
    assert joined["Metadata_Perturbation"].tolist() == joined["Metadata_Perturbation_due"].tolist()


def test_treatments_are_named_as_evaluations_name_them(items, layout):
    frame, _ = split(items, layout)
    assert frame["Metadata_Treatment"].tolist() == text(frame.drop(columns="Metadata_Treatment"), "Treatment").tolist()
    assert (frame["Metadata_Treatment"] == "DMSO").any() and (frame["Metadata_Treatment"].str.contains(" @ ")).any()


def test_the_split_depends_on_the_seed_and_on_nothing_else(items, layout):
    options = {"label": "MoA", "hold_out": "Perturbation", "shuffle": True}
    one, two, other = (split(items, layout, seed=seed, **options)[0] for seed in (3, 3, 4))
    assert one.equals(two) and not one.equals(other)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hold_out", ["none", "items", "Plate", "Perturbation"])
def test_shuffled_labels_move_whole_wells_and_keep_their_counts(items, layout, hold_out, seed):
    keys = ["Metadata_Plate", "Metadata_Well"]
    true, _ = split(items, layout, "MoA", seed=seed, hold_out=hold_out)
    mixed, note = split(items, layout, "MoA", seed=seed, hold_out=hold_out, shuffle=True)
    assert (true["Metadata_WeakLabel"] == true["Metadata_MoA"]).all() and "random order" in note[1]
    assert mixed.drop(columns="Metadata_WeakLabel").equals(true.drop(columns="Metadata_WeakLabel"))
    assert (mixed.groupby(keys)["Metadata_WeakLabel"].nunique() == 1).all()
    one, two = (frame.drop_duplicates(keys) for frame in (true, mixed))
    labelled = one["Metadata_WeakLabel"] != ""
    assert ((two["Metadata_WeakLabel"] != "") == labelled).all()
    assert (one["Metadata_WeakLabel"] != two["Metadata_WeakLabel"])[labelled].mean() > 0.5
    counted = ["Metadata_WeakLabel"] if hold_out == "items" else ["Metadata_WeakLabel", "Metadata_Split"]
    assert one.groupby(counted).size().equals(two.groupby(counted).size())


def test_events_bring_their_labels_and_are_shuffled_one_by_one():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"Metadata_Plate": "s", "Metadata_Class": random.choice(["G1", "M", ""], 200)})
    items = {"s": table.iloc[:150].assign(Metadata_Sample="s"), "t": table.iloc[150:].assign(Metadata_Sample="t")}
    true, notes = split(items, None, "Class", hold_out="items")
    mixed, _ = split(items, None, "Class", hold_out="items", shuffle=True)
    assert (true["Metadata_WeakLabel"] == true["Metadata_Class"]).all()
    assert (mixed["Metadata_WeakLabel"] != true["Metadata_WeakLabel"]).any()
    for counted in (["Metadata_WeakLabel"], ["Metadata_WeakLabel", "Metadata_Split"]):
        assert true.groupby(counted).size().equals(mixed.groupby(counted).size())
    assert f"{(table['Metadata_Class'] == '').sum()} items of 200 have no label" in notes[1]
    frame, _ = split(items, None, hold_out="Sample", groups=["t"])
    assert sides(frame, "Metadata_Sample") == {"s": {"train"}, "t": {"test"}}


def test_a_well_that_the_layout_lacks_is_listed_and_has_no_label(items, layout):
    ledger = Ledger("split")
    gone = (layout["Metadata_Plate"] == "B1P1") & (layout["Metadata_Well"] == "A01")
    frame, _ = split(items, layout[~gone], "Perturbation", ledger=ledger)
    there = (frame["Metadata_Plate"] == "B1P1") & (frame["Metadata_Well"] == "A01")
    assert there.any() and (frame.loc[there, "Metadata_WeakLabel"] == "").all()
    assert (frame.loc[~there, "Metadata_WeakLabel"] != "").all()
    assert [(row["plate"], row["well"]) for row in ledger.rows] == [("B1P1", "A01")]


def test_a_plate_without_items_is_fine_unless_all_are(items, layout):
    empty = next(iter(items.values()))[:0]
    frame, _ = split({"none": empty, **items}, layout)
    assert len(frame) == sum(map(len, items.values())) and "none" not in set(frame["unit"])
    with pytest.raises(InputError, match="no plate or sample has an item"):
        split({"none": empty}, layout)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hold_out": "Donor"}, "no column Metadata_Donor"),
        ({"hold_out": "Plate", "groups": ["X"]}, "no item has 'X'"),
        ({"hold_out": "Well", "groups": ["P24"]}, "the well 'P24'"),
        ({"hold_out": "Batch", "groups": ["batch1", "batch2"]}, "leaves no item to fit on"),
        ({"hold_out": "Control", "groups": ["negative"]}, "no cell has 'negative'|only positive"),
        ({"hold_out": "Dataset"}, "of which there is only d"),
        ({"label": "Gene"}, "no column Metadata_Gene"),
    ],
)
def test_splits_that_cannot_be_are_one_sentence(items, layout, options, words):
    with pytest.raises(InputError, match=words):
        split(items, layout, **options)


def test_a_query_chooses_what_is_trained_on(items, layout):
    query = "Metadata_MoA != '' or Metadata_Control == 'negative'"
    frame, notes = split(items, layout, samples=query)
    chosen = (frame["Metadata_MoA"] != "") | (frame["Metadata_Control"] == "negative")
    assert (frame["Metadata_Split"] == np.where(chosen, "train", "test")).all() and query in notes[1]
    frame, _ = split(items, layout, hold_out="Plate", samples=query)
    assert not ((frame["Metadata_Split"] == "train") & ~chosen).any()
    assert ((frame["Metadata_Split"] == "test") & chosen).any()
    with pytest.raises(InputError, match="leave no item to train on"):
        split(items, layout, samples="Metadata_Plate == 'none'")
