"""Counts per well and plate, and the warnings that follow from them."""

import numpy as np
import pandas as pd
import report_study

from phenoloom.report import summary


def plate(name="P1", shape=6, sites=2, seed=0):
    """Tables of one plate: layout, index, quality, sites, measured sites, cells; the last well lacks images."""
    layout = report_study.layout([name], shape, n=4, seed=seed)
    wells = layout["Metadata_Well"].tolist()[:-1]
    index = pd.DataFrame(
        [
            {"plate": name, "well": well, "batch": "b", "site": site, "channel": channel}
            for well in wells
            for site in range(sites)
            for channel in ("DNA", "ER")
        ]
    )
    named = {"plate": "Metadata_Plate", "well": "Metadata_Well", "site": "Metadata_Site", "channel": "Metadata_Channel"}
    quality = index.rename(columns=named).assign(Metadata_Flags="", Quality_Background=np.arange(len(index)))
    quality.loc[0, "Metadata_Flags"] = "saturated"
    places = quality.drop_duplicates(["Metadata_Well", "Metadata_Site"])
    sites_table = places[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].assign(Metadata_Excluded=False)
    sites_table.iloc[0, 3] = True
    measured = sites_table[~sites_table["Metadata_Excluded"]]
    cells = layout[layout["Metadata_Well"].isin(wells[:-1])].assign(Metadata_Count_Cells=10)
    tables = {"layout": layout, "index": index, "quality": quality, "sites": sites_table, "measured": measured}
    return {**tables, "cells": cells}


def test_counts_of_a_plate_add_up():
    wells = summary.count_wells(**plate())
    counts = summary.count_plates(wells).iloc[0]
    assert (counts["Wells"], counts["Wells_Imaged"], counts["Wells_Empty"]) == (6, 5, 1)
    assert (counts["Sites"], counts["Sites_Excluded"], counts["Sites_Measured"]) == (10, 1, 9)
    assert (counts["Images"], counts["Images_Flagged"], counts["Cells"]) == (20, 1, 40)
    assert counts["Coverage"] == 0.9


def test_what_is_not_known_is_not_zero():
    wells = summary.count_wells(report_study.layout(["P1"], 6))
    assert wells[summary.COUNTS].isna().all().all()
    counts = summary.count_plates(wells).iloc[0]
    assert np.isnan(counts["Cells"]) and np.isnan(counts["Coverage"]) and counts["Wells"] == 6
    imaged = summary.count_wells(**plate())
    missing = imaged[imaged["Sites"] == 0]
    assert len(missing) == 1 and missing["Cells"].isna().all()


def test_wells_that_the_plate_map_lacks_are_counted():
    tables = plate()
    tables["layout"] = tables["layout"].iloc[1:]
    wells = summary.count_wells(**tables)
    assert len(wells) == 6
    assert summary.count_plates(wells)["Wells_Unlabelled"].tolist() == [1]
    assert (wells["Metadata_Batch"] == "batch 1").all()


def test_plates_come_in_natural_order():
    plates, wells, quality = summary.summarize([plate("P10"), plate("P9")], ["none"])
    assert plates["Metadata_Plate"].tolist() == ["P9", "P10"]
    assert len(wells) == 12 and set(quality.columns) >= {"Metadata_Channel", "Quality_Background"}


def test_quality_is_the_median_of_the_sites():
    quality = summary.well_quality(plate()["quality"])
    first = quality[quality["Metadata_Channel"] == "DNA"].iloc[0]
    assert first["Quality_Background"] == np.median([0, 2])


def test_an_empty_dataset_has_empty_tables():
    plates, wells, quality = summary.summarize([])
    assert len(plates) == len(wells) == len(quality) == 0
    assert summary.dataset_warnings("d", plates, wells, 0.8) == [("serious", "d: it has no plates or wells to count.")]


def test_the_first_known_value_of_several_representations_counts():
    first = pd.DataFrame({"Metadata_Plate": ["P"], "Metadata_Well": ["A01"], "Metadata_Count_Cells": [7]})
    second = first.assign(Metadata_Count_Cells=99, Feature=0.5)
    joined = summary.known_wells([first, second, pd.DataFrame()])
    assert joined["Metadata_Count_Cells"].tolist() == [7] and joined["Feature"].tolist() == [0.5]
    assert summary.known_wells([]).empty


def test_warnings_name_the_plates_and_the_gravest_come_first():
    tables = plate()
    tables["measured"] = tables["measured"].iloc[:2]
    tables["layout"] = tables["layout"].assign(Metadata_Control="")
    plates, wells, _ = summary.summarize([tables])
    found = summary.dataset_warnings("d", plates, wells, 0.8)
    assert found[0] == ("serious", "d: 1 plate below the required coverage of 80 % of the sites (P1).")
    texts = " ".join(text for _, text in found)
    assert "without negative controls" in texts and "no images, 1 in all" in texts
    assert [severity for severity, _ in found] == sorted(
        (severity for severity, _ in found), key=["serious", "caution", "note"].index
    )


def test_a_sound_dataset_gives_no_grave_warning():
    tables = [plate(name, seed=seed) for seed, name in enumerate(["P1", "P2", "P3"])]
    for table in tables:
        table["index"] = pd.concat(
            [table["index"], table["index"].iloc[:4].assign(well=table["layout"]["Metadata_Well"].iloc[-1])]
        )
        table["measured"] = table["sites"]
    plates, wells, _ = summary.summarize(tables)
    assert {severity for severity, _ in summary.dataset_warnings("d", plates, wells, 0.8)} <= {"note"}


def test_treatments_are_named_with_dose_and_unit():
    frame = pd.DataFrame(
        {
            "Metadata_Perturbation": ["a", "b", "c"],
            "Metadata_Concentration": [0.30, np.nan, 2],
            "Metadata_Unit": ["µM", "µM", ""],
        }
    )
    assert summary.treatment(frame).tolist() == ["a @ 0.3 µM", "b", "c @ 2"]


def test_sites_that_the_index_lost_count_against_coverage():
    ledger = pd.DataFrame(
        {
            "plate": ["P", "P", "P"],
            "well": ["A01", "A02", "A02"],
            "site": ["2", "1", "1"],
            "unit": ["site", "site", "image"],
            "severity": ["lost", "lost", "lost"],
        }
    )
    layout = pd.DataFrame({"Metadata_Plate": ["P", "P"], "Metadata_Well": ["A01", "A02"]})
    index = pd.DataFrame({"batch": "b", "plate": "P", "well": ["A01"], "site": [1], "channel": ["DNA"]})
    measured = pd.DataFrame({"Metadata_Plate": ["P"], "Metadata_Well": ["A01"], "Metadata_Site": [1]})
    wells = summary.count_wells(layout, index=index, measured=measured, unusable=ledger)
    assert wells["Sites"].tolist() == [2, 1]
    assert summary.count_plates(wells)["Coverage"].tolist() == [1 / 3]
