"""The report's part on learned aggregations: what it says of them, what they cost, and their figures."""

import numpy as np
import pandas as pd
import pytest
from test_evaluation_aggregation import HOSTILE, PROFILES, scored, tables

from phenoloom.core.tables import read_table
from phenoloom.evaluation import aggregation_tables
from phenoloom.report import aggregation, aggregation_figures, models
from phenoloom.report.gallery import Gallery
from phenoloom.report.page import Section

KEY = ("d", "cells", "learned")


@pytest.fixture
def gallery(tmp_path):
    """An empty folder of figures."""
    return Gallery(tmp_path / "figures")


def stratum(**values):
    """A row of the table of strata."""
    row = {"task": "replicates", "candidates": "plate", "plate_side": "test", "compounds": "all"}
    row |= {"batch": "all batches", "reference": "average", "learned": 0.31, "against": 0.36, "difference": -0.05}
    row |= {
        "low": -0.1,
        "high": 0.0,
        "relative": -0.14,
        "welch_t": -1.4,
        "pvalue": 0.2,
        "n_plates": 4,
        "n_compounds": 8.6,
    }
    return {**row, **values}


def sentence(**values):
    """What is said of one row."""
    return aggregation.sentences(pd.DataFrame([stratum(**values)]), ["average"])[0]


def test_a_sentence_gives_numbers_and_verdict():
    worse = "On test plates it finds replicates worse than average: 0.31 against 0.36, p = 0.20, "
    worse += "4 plates with 9 compounds each. "
    assert sentence() == worse + "Whether it helps cannot be told."
    assert sentence(pvalue=0.01).endswith("p = 0.010, 4 plates with 9 compounds each. It does not help.")
    better = {"learned": 0.5, "difference": 0.14, "pvalue": 1e-5}
    assert "better than average: 0.50 against 0.36, p < 0.001, 4 plates with 9 compounds each. It helps." in sentence(
        **better
    )
    assert sentence(plate_side="train", **better).endswith("It helps. Part of these wells taught it.")
    assert sentence(pvalue=np.nan, n_plates=1).endswith(
        "1 plate with 9 compounds. Whether it helps cannot be told from one plate."
    )


def test_validation_compounds_and_no_difference_are_said():
    rows = [stratum(), stratum(compounds="validation", learned=0.2, against=0.3)]
    assert aggregation.sentences(pd.DataFrame(rows), ["average"])[0].endswith(
        "cannot be told. Validation compounds alone: 0.20 against 0.30."
    )
    equal = {"learned": 1.0, "against": 1.0, "difference": 0.0, "pvalue": np.nan}
    assert sentence(**equal) == (
        "On test plates it finds replicates as well as average: 1.00 against 1.00, 4 plates with 9 compounds each. "
        "It makes no difference."
    )


def test_it_is_measured_by_the_best_of_the_others_and_says_when_there_is_nothing():
    strata = pd.DataFrame([stratum(), stratum(reference="median", against=0.4, difference=-0.09)])
    said = aggregation.sentences(strata, ["average", "median"])
    assert "worse than median (the best of 2 others): 0.31 against 0.40" in said[0]
    assert said[1].startswith("Nothing can be said of finding other compounds of the same mechanism")
    assert "average: 0.31 against 0.36" in aggregation.sentences(strata, ["average"])[0]
    assert aggregation.sentences(strata.iloc[:0], [])[0].startswith("There is no other profile of these cells")


def test_costs_are_those_of_the_stages_of_each_way():
    jobs = [("cell_sets/cells.learned/P1", 30), ("cell_sets/cells.learned/P2", 50), ("deep_sets/cells.learned", 7200)]
    jobs += [("aggregate_learned/cells.learned/P1", 4), ("aggregate/cells.average/P1", 1), ("aggregate/cells.av/P1", 9)]
    jobs = pd.DataFrame([{"Dataset": "d", "Job": job, "Seconds": float(seconds)} for job, seconds in jobs])
    jobs = pd.concat([jobs, jobs.assign(Dataset="other", Seconds=1e6)], ignore_index=True)
    sizes = [("learned", aggregation_tables.CELLS, 4e6), ("learned", aggregation_tables.NETWORK_CELLS, 2e6)]
    sizes += [("learned", aggregation_tables.WELLS, 8e4), ("average", aggregation_tables.WELLS, 2e4)]
    sizes = pd.DataFrame(sizes, columns=["profile", "files", "bytes"]).assign(n_plates=2)
    sizes["bytes_per_plate"] = sizes["bytes"] / 2
    ours, theirs = aggregation.costs(KEY, ["average"], sizes, jobs)
    assert (ours["preparing"], ours["training"], ours["aggregating"]) == (40, 7200, 2)
    assert (ours["cells"], ours["arrays"], ours["share"], ours["wells"]) == (2, 1, 0.5, 0.04)
    assert (theirs["preparing"], theirs["training"], theirs["aggregating"], theirs["cells"]) == (None, None, 0.5, None)
    nothing = aggregation.costs(KEY, [], sizes, jobs.iloc[:0])[0]
    assert nothing["aggregating"] is None and nothing["wells"] == 0.04


def test_the_card_is_told_in_words():
    card = {"data": {"train wells": 16, "compounds": 6, "inputs": {}}, "seed": 1, "training": {"best_epoch": 7}}
    card |= {"network": {"features": 4, "phi": 64, "rho": [32, 64], "parameters": 4512}}
    card["options"] = {
        "label": "Treatment",
        "test_plates": ["P3"],
        "validation_plates": [],
        "sets": {"cells": [60, 10]},
    }
    rows = dict(aggregation.card_rows(card))
    assert rows["Train wells"] == "16" and rows["Layers"] == "64 before the sum, 32, 64 after it"
    assert rows["Test plates"] == "P3" and rows["Sets: cells"] == "60, 10" and rows["Best epoch"] == "7"
    assert "Validation plates" not in rows and "Device" not in rows
    assert aggregation.card_rows({}) == []


def test_the_view_names_batches_only_where_there_are_several():
    _, strata = tables(PROFILES)
    sizes = pd.DataFrame({"profile": ["learned", "mean"], "files": aggregation_tables.WELLS, "n_plates": 4})
    sizes["bytes_per_plate"] = 10.0
    jobs = pd.DataFrame(columns=["Dataset", "Job", "Seconds"])
    given = (sizes, {}, jobs, {"mean": [{"aggregate": {}}]}, Section("s-a", "Learned aggregation"))
    view = aggregation.aggregation_view(KEY, strata, *given)
    assert view["batches"] and {row["batch"] for row in view["rows"]} == {"all batches", "b1", "b2"}
    single = strata[strata["batch"].isin(["all batches", "b1"])]
    view = aggregation.aggregation_view(KEY, single, *given)
    assert not view["batches"] and len(view["sentences"]) == 6
    assert {row["compound_words"] for row in view["rows"] if row["plate_side"] == "train"} == {
        "all (in part taught)",
        "training (taught)",
        "validation",
    }
    empty = aggregation.aggregation_view(KEY, strata.iloc[:0], *given)
    assert empty["rows"] == [] and len(empty["sentences"]) == 2


def test_figures_hold_what_their_tables_do(gallery):
    shared, queries = scored(PROFILES)
    plates = aggregation_tables.plate_table(queries, shared.left_out)
    strata = aggregation_tables.stratum_table(plates, "learned", seed=0, n_bootstrap=20)
    for task in ("replicates", "MoA"):
        aggregation_figures.add_plates(gallery, plates, strata, task, "learned")
    aggregation_figures.add_mechanisms(gallery, aggregation_tables.mechanism_table(queries), "learned")
    names = [entry.name for entry in gallery.entries]
    assert names == ["replicates_1", "replicates_2", "replicates_3", "mechanisms_1", "mechanisms_2", "mechanisms_3"] + [
        "each_mechanism_1"
    ]
    data = read_table(gallery.folder / "replicates_1.parquet")
    assert (
        data["mean_average_precision"].tolist()
        == plates.loc[plates["task"] == "replicates", "mean_average_precision"].tolist()
    )
    points = read_table(gallery.folder / "each_mechanism_1.parquet")
    assert set(points["plate_side"]) == {"train", "validation", "test"} and len(points) == 9


def test_the_map_shows_the_wells_of_the_best_pairs(gallery):
    _, queries = scored(PROFILES)
    compounds = aggregation_tables.compound_table(queries)
    features = [f"F{number}" for number in range(8)]
    few = {name: (table[table["Metadata_Well"] == "A01"], features) for name, table in PROFILES.items()}
    aggregation_figures.add_maps(gallery, few, compounds, "learned", 1)
    data = read_table(gallery.folder / "map.parquet")
    assert len(data) == 8 and set(data["Profile"]) == {"learned", "mean"} and HOSTILE in set(data["Metadata_Plate"])
    aggregation_figures.add_maps(gallery, few, compounds.iloc[:0], "learned", 1)
    assert gallery.entries[-1].caption.startswith("All treated wells")


def test_nothing_to_draw_gives_words(gallery):
    _, queries = scored({"learned": PROFILES["learned"].assign(Metadata_MoA="")})
    plates = aggregation_tables.plate_table(queries, pd.Series(dtype=int))
    strata = aggregation_tables.stratum_table(plates, "learned", seed=0)
    aggregation_figures.add_plates(gallery, plates, strata, "replicates", "learned")
    aggregation_figures.add_plates(gallery, plates, strata, "MoA", "learned")
    aggregation_figures.add_mechanisms(gallery, aggregation_tables.mechanism_table(queries), "learned")
    assert len(gallery.notes) == 2 and all("nothing to show because" in note for note in gallery.notes)
    controls = PROFILES["learned"].assign(Metadata_Control="negative")
    compounds = aggregation_tables.compound_table(queries)
    aggregation_figures.add_maps(gallery, {"learned": (controls, ["F0", "F1"])}, compounds, "learned", 1)
    assert "no well without missing values" in gallery.notes[-1]


@pytest.mark.parametrize(
    ("pvalue", "said"), [(0.2, "ns"), (0.05, "ns"), (0.049, "*"), (0.001, "**"), (1e-5, "****"), (np.nan, "")]
)
def test_stars(pvalue, said):
    assert aggregation_figures.stars(pvalue) == said


def test_the_log_of_sets_is_labelled_so(gallery):
    log = pd.DataFrame({"step": [1, 2], "loss": [3.0, 2.0], "learning_rate": 1e-3, "images_per_second": 9.0})
    models.add_losses(gallery, {("learned", "all"): log}, items="sets")
    assert "sets per second" in gallery.entries[0].caption and "images" not in gallery.entries[0].caption
