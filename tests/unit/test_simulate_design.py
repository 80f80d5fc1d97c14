"""The simulated study is a fair experiment: controls, replicates, compounds over batches, positions shuffled."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from phenoloom.core.errors import InputError
from phenoloom.core.names import decode, encode
from phenoloom.simulate.design import defects_of, design, planted, plates, sites, truth
from phenoloom.simulate.options import DEFAULTS, DETECTABLE, MECHANISMS, PROPERTIES, complete

SCHEMA = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "simulate.schema.yaml"


@pytest.fixture(scope="module")
def wells():
    return design({})


def test_every_well_of_every_plate_is_there_once(wells):
    assert len(wells) == 2 * 3 * 24
    assert not wells.duplicated(["plate", "well"]).any()
    assert list(wells[["batch", "plate"]].drop_duplicates().itertuples(index=False, name=None)) == plates({})
    assert sorted(wells["well"].unique()) == [well for well, _ in sites({})]


def test_plates_have_controls_of_both_kinds(wells):
    counts = wells.groupby("plate")["control"].value_counts().unstack()
    assert (counts["negative"] == 6).all()
    assert (counts["positive"] == 2).all()


def test_every_moa_has_other_compounds_in_every_batch(wells):
    labelled = wells[wells["moa"] != ""]
    assert labelled["moa"].nunique() == len(MECHANISMS)
    assert (labelled.groupby(["moa", "batch"])["perturbation"].nunique() == 1).all()
    assert (labelled.groupby("moa")["perturbation"].nunique() == 2).all()
    assert (labelled.groupby("moa")["batch"].nunique() == 2).all()
    assert (labelled.groupby("perturbation")["batch"].nunique() == 1).all()


def test_every_treatment_has_a_replicate_on_each_plate_of_its_batch_in_another_place(wells):
    groups = wells[wells["control"] == ""].groupby(["perturbation", "concentration"])
    assert (groups["plate"].nunique() == 3).all()
    assert (groups.size() == 3).all()
    assert (groups["well"].nunique() == 3).all()


def test_truth_grows_with_dose_and_inactives_are_untouched(wells):
    active = wells[wells["moa"] != ""]
    strengths = active.groupby(["perturbation", "dose"])["strength"].first().unstack()
    assert (strengths[1] < strengths[2]).all()
    assert (active["active"] == (active["strength"] >= DETECTABLE)).all()
    assert active["active"].all()
    inert = wells[wells["perturbation"].str.startswith("inertol")]
    assert inert["perturbation"].nunique() == 4
    assert (inert["strength"] == 0).all() and not inert["active"].any() and (inert["moa"] == "").all()
    table = truth({})
    factors = [f"Truth_{name.title().replace('_', '')}" for name in PROPERTIES]
    untouched = table["Truth_Strength"] == 0
    assert (table.loc[untouched, factors] == 1).all(axis=None)
    assert (table.loc[~untouched, factors] != 1).any(axis=1).all()


def test_weak_doses_are_not_called_active():
    weak = design({"concentrations": [0.1, 30]})
    low = weak[(weak["moa"] != "") & (weak["dose"] == 1)]
    assert (low["strength"] > 0).all() and not low["active"].any()


def test_effect_scale_zero_plants_nothing_but_keeps_the_study():
    with_effects, without = design({}), design({"effect_scale": 0})
    same = ["batch", "plate", "well", "perturbation", "control", "moa", "defects"]
    pd.testing.assert_frame_equal(with_effects[same], without[same])
    assert (without["strength"] == 0).all() and (without["effect"] == "").all() and not without["active"].any()
    assert all(value == 1 for value in planted("", 0.0).values())


def test_odd_names_of_real_labs_occur(wells):
    assert 'Compound "7"; <β>' in set(wells["perturbation"])
    assert "B1 P3" in set(wells["plate"])
    assert all(decode(encode(plate)) == plate for plate in wells["plate"])


def test_defects_lie_in_negative_controls_of_different_plates(wells):
    hit = wells[wells["defects"] != ""]
    assert sorted(kind for text in hit["defects"] for kind in defects_of(text, 1)) == ["out_of_focus", "saturated"]
    assert (hit["control"] == "negative").all()
    assert hit["plate"].is_unique
    assert design({"out_of_focus_sites": 0, "saturated_sites": 0})["defects"].eq("").all()
    assert defects_of("1=saturated; 3=debris", 3) == ["debris"]


def test_defects_never_meet_on_one_site():
    few = design(
        {"wells": 6, "plates_per_batch": 1, "batches": 1, "mechanisms": ["cell count"], "sites": 2}
        | {"inactive_compounds": 0, "negative_controls": 2, "debris_sites": 9}
    )
    items = [item for text in few["defects"] for item in text.split("; ") if item]
    placed = [
        (well, item.split("=")[0])
        for well, text in zip(few["well"], few["defects"], strict=True)
        for item in text.split("; ")
        if item
    ]
    assert len(placed) == len(set(placed)) == len(items) > 2


def test_the_design_is_the_same_every_time_and_follows_the_seed(wells):
    pd.testing.assert_frame_equal(wells, design({}))
    assert not wells.equals(design({"seed": 2}))


def test_truth_reads_as_a_layout_with_what_is_planted():
    table = truth({})
    layout = ["Batch", "Plate", "Well", "Perturbation", "Concentration", "Unit", "Control", "MoA"]
    assert {f"Metadata_{name}" for name in layout} <= set(table)
    high = table[(table["Metadata_MoA"] == "nuclear size") & (table["Truth_Dose"] == 2)].iloc[0]
    assert high["Truth_NuclearArea"] == pytest.approx(1.7 ** (30 / 33))
    assert high["Truth_CellCount"] == 1


def test_defaults_are_those_of_the_schema():
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    assert {key: value["default"] for key, value in schema["properties"].items()} == DEFAULTS
    assert all(value["description"] for value in schema["properties"].values())
    assert json.dumps(DEFAULTS)


def test_a_plate_too_small_is_refused_with_the_mend():
    with pytest.raises(InputError, match="cannot hold 24 controls and treatments; raise wells"):
        complete({"wells": 12})
    with pytest.raises(InputError, match="no option 'sits'"):
        complete({"sits": 2})


def test_larger_plates_are_filled_with_replicates():
    large = design({"wells": 96, "plates_per_batch": 1})
    sizes = large[large["control"] == ""].groupby(["perturbation", "concentration"]).size()
    assert (sizes == 5).all()
    assert len(large) == 2 * 96
