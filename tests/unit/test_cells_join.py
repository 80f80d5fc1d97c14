"""Compartments become cells: by their parents, with CytoTable's names, every loss counted."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.cells import join
from phenoloom.core.errors import InputError


def table(numbers, images=None, **columns):
    return pd.DataFrame({"ImageNumber": images or [1] * len(numbers), "ObjectNumber": numbers, **columns})


def three(parents_cells=(1, 2), parents_nuclei=(1, 2)):
    return {
        "Cells": table([1, 2], AreaShape_Area=[10.0, 20.0], Parent_Nuclei=list(parents_nuclei)),
        "Cytoplasm": table([1, 2], AreaShape_Area=[1.0, 2.0], Parent_Cells=list(parents_cells), Parent_Nuclei=[2, 1]),
        "Nuclei": table([1, 2], AreaShape_Area=[5.0, 6.0]),
    }


def test_compartments_are_joined_by_their_parents_not_by_their_order():
    cells, refused, orphans = join.join_compartments(three(parents_cells=(2, 1)))
    assert refused == {} and orphans == 0
    assert cells["Cytoplasm_AreaShape_Area"].tolist() == [1, 2]
    assert cells["Cells_AreaShape_Area"].tolist() == [20, 10]
    assert cells["Nuclei_AreaShape_Area"].tolist() == [6, 5]
    assert cells["Metadata_Cells_Number_Object_Number"].tolist() == [2, 1]
    assert cells["Cells_AreaShape_Area"].dtype == np.float32


def test_names_follow_cytotable():
    cells, _, _ = join.join_compartments(three())
    assert [name for name in cells if name.startswith("Metadata_")] == [
        "Metadata_ImageNumber",
        "Metadata_ObjectNumber",
        "Metadata_Cells_Parent_Nuclei",
        "Metadata_Cells_Number_Object_Number",
        "Metadata_Cytoplasm_Parent_Cells",
        "Metadata_Cytoplasm_Parent_Nuclei",
        "Metadata_Cytoplasm_Number_Object_Number",
        "Metadata_Nuclei_Number_Object_Number",
    ]
    features = {name: list(frame.columns) for name, frame in three().items()}
    metadata, columns = join.joined_columns(features)
    assert set(metadata + columns) == set(cells.columns)


def test_the_same_object_number_at_another_image_is_another_object():
    objects = {
        "Cells": table([1, 1], [1, 2], AreaShape_Area=[10.0, 20.0], Parent_Nuclei=[1, 1]),
        "Nuclei": table([1, 1], [2, 1], AreaShape_Area=[5.0, 6.0]),
    }
    cells, _, _ = join.join_compartments(objects)
    assert cells["Nuclei_AreaShape_Area"].tolist() == [6, 5]


def test_objects_without_a_parent_are_dropped_and_counted():
    cells, _, orphans = join.join_compartments(three(parents_cells=(0, 7)))
    assert len(cells) == 0 and orphans == 2
    objects = three(parents_cells=(1, 7))
    cells, _, orphans = join.join_compartments(objects)
    assert cells["Metadata_ObjectNumber"].tolist() == [1] and orphans == 1


def test_a_duplicate_object_number_costs_its_image_only():
    objects = {
        "Cells": table([1, 1, 1], [1, 1, 2], AreaShape_Area=[1.0, 2, 3], Parent_Nuclei=[1, 1, 1]),
        "Nuclei": table([1, 1], [1, 2], AreaShape_Area=[5.0, 6.0]),
    }
    cells, refused, _ = join.join_compartments(objects)
    assert cells["Metadata_ImageNumber"].tolist() == [2]
    assert list(refused) == [1] and "Cells" in refused[1]


def test_nuclei_alone_are_cells():
    cells, _, _ = join.join_compartments({"Nuclei": three()["Nuclei"]})
    assert cells["Nuclei_AreaShape_Area"].tolist() == [5, 6]


def test_a_chain_of_parents_is_followed():
    objects = three()
    objects["Cytoplasm"] = objects["Cytoplasm"].drop(columns="Parent_Nuclei")
    cells, _, _ = join.join_compartments(objects)
    assert cells["Nuclei_AreaShape_Area"].tolist() == [5, 6]


def test_without_parents_nothing_says_what_belongs_together():
    objects = three()
    objects["Cytoplasm"] = objects["Cytoplasm"].drop(columns=["Parent_Nuclei", "Parent_Cells"])
    with pytest.raises(InputError, match="Parent_"):
        join.join_compartments(objects)


def test_an_image_without_objects_gives_no_cells():
    objects = {name: frame.iloc[:0] for name, frame in three().items()}
    cells, refused, orphans = join.join_compartments(objects)
    assert len(cells) == 0 and refused == {} and orphans == 0
    assert "Cells_AreaShape_Area" in cells


def test_choice_of_compartments():
    assert join.choose_compartments(["PH3", "Nuclei", "Cells"]) == ["Cells", "Nuclei"]
    assert join.choose_compartments(["Blobs"]) == ["Blobs"]
    assert join.choose_compartments(["A", "B"], ["B"]) == ["B"]
    for available, wanted in ((["A", "B"], None), ([], None), (["A"], ["C"])):
        with pytest.raises(InputError, match="compartments"):
            join.choose_compartments(available, wanted)


def test_cells_agree_with_pycytominer(shared_data, tmp_path):
    """The same tables merged by pycytominer's SingleCells from an SQLite database give the same cells."""
    import sqlite3

    from pycytominer.cyto_utils.cells import SingleCells

    folder = shared_data("cellprofiler_output_malformed") / "A01-1"
    objects = {name: pd.read_csv(folder / f"{name}.csv") for name in ("Cells", "Cytoplasm", "Nuclei")}
    file = tmp_path / "cells.sqlite"
    with sqlite3.connect(file) as connection:
        image = pd.read_csv(folder / "Image.csv")
        renamed = {"Metadata_Plate": "Image_Metadata_Plate", "Metadata_Well": "Image_Metadata_Well"}
        image = image.assign(TableNumber=1).rename(columns=renamed)
        image.to_sql("Image", connection, index=False)
        for name, frame in objects.items():
            frame = frame.add_prefix(f"{name}_").rename(
                columns={f"{name}_ImageNumber": "ImageNumber", f"{name}_ObjectNumber": "ObjectNumber"}
            )
            frame = frame[[c for c in frame if "Parent" in c or "Area" in c or "Intensity_Mean" in c or "Number" in c]]
            frame.assign(TableNumber=1).to_sql(name, connection, index=False)
    theirs = SingleCells(
        f"sqlite:///{file}", strata=["Image_Metadata_Plate", "Image_Metadata_Well"]
    ).merge_single_cells(single_cell_normalize=False)
    ours, _, _ = join.join_compartments(objects)
    assert len(ours) == len(theirs) == 10
    features = [name for name in theirs if name in ours and not name.startswith("Metadata_")]
    assert len(features) > 50
    assert np.array_equal(
        ours[features].to_numpy(), theirs.sort_values("Metadata_Cytoplasm_Parent_Cells")[features].to_numpy(np.float32)
    )
