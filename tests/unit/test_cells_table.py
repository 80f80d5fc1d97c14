"""The cells of a plate: streamed from its batches, filtered, with every loss counted and a least coverage."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from phenoloom.cellprofiler.storage import join_sites, write_site
from phenoloom.cells.filters import keep_cells
from phenoloom.cells.table import write_plate
from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger


@pytest.fixture
def plate(tmp_path):
    """Return a function that makes a plate of batches and writes its cells.

    batches: list of {site: number of cells or reason of failure}; well A01. Returns (cells, images, ledger) frames.
    """

    def make(batches, options=None, coverage=0.5, excluded=None, extra=None, unusable=None):
        paths, failures = [], []
        for number, sites in enumerate(batches, start=1):
            folder = tmp_path / f"b{number}"
            folder.mkdir()
            rows, listed = [], []
            for row, (site, count) in enumerate(sites.items(), start=1):
                where = {"dataset": "d", "batch": "b", "plate": "p", "well": "A01", "site": site}
                rows.append({"number": row, **where})
                if isinstance(count, str):
                    listed.append({**where, "severity": "lost", "unit": "site", "count": 1, "reason": count})
                    listed[-1].update(site=str(site), stage="cellprofiler", channel=None)
                    del listed[-1]["batch"]
                    continue
                numbers = np.arange(1, count + 1)
                box = {f"AreaShape_BoundingBox{side}": 10.0 * numbers for side in ("Minimum_X", "Minimum_Y")}
                box |= {f"AreaShape_BoundingBox{side}": 10.0 * numbers + 10 for side in ("Maximum_X", "Maximum_Y")}
                nuclei = {"AreaShape_Area": 100.0 + numbers, "Number_Object_Number": numbers, **box}
                if extra and number == extra:
                    nuclei["Only_Here"] = numbers
                cells = {
                    "AreaShape_Area": 200.0 + numbers,
                    "Parent_Nuclei": numbers[::-1],
                    "Number_Object_Number": numbers,
                }
                images = {"Count_Nuclei": float(count), "Width_DNA": 100.0, "Height_DNA": 100.0, "FileName_DNA": "f"}
                write_site(folder, row, images, {"Nuclei": nuclei, "Cells": cells}, {})
            paths.append(tmp_path / f"{number}.h5")
            join_sites(paths[-1], folder, rows, {})
            failures.append(tmp_path / f"{number}.jsonl")
            failures[-1].write_text("".join(json.dumps(row) + "\n" for row in listed), "utf-8")
        ledger = Ledger("cells", dataset="d", plate="p")
        written = tmp_path / "cells.parquet", tmp_path / "images.parquet"
        given = (options or {}, coverage, ledger, excluded, {"rule": "cells"}, unusable)
        write_plate(paths, failures, written, *given)
        return pd.read_parquet(written[0]), pd.read_parquet(written[1]), ledger.frame()

    return make


def test_batches_become_row_groups_and_image_numbers_continue(plate, tmp_path):
    cells, images, ledger = plate([{1: 2, 2: 0}, {3: 3}])
    assert cells["Metadata_ImageNumber"].tolist() == [1, 1, 3, 3, 3]
    assert cells["Metadata_Site"].tolist() == [1, 1, 3, 3, 3]
    assert cells["Nuclei_AreaShape_Area"].tolist() == [102, 101, 103, 102, 101], "joined by parents"
    assert images["Metadata_Count_Cells"].tolist() == [2, 0, 3]
    assert images["Image_Count_Nuclei"].tolist() == [2, 0, 3]
    assert ledger.empty
    file = pq.ParquetFile(tmp_path / "cells.parquet")
    assert file.num_row_groups == 2
    assert file.schema_arrow.field("Nuclei_AreaShape_Area").type == "float"


@pytest.mark.parametrize("where", [1, 2])
def test_a_feature_of_one_batch_only_is_nan_in_the_others(plate, where):
    cells, _, _ = plate([{1: 2}, {2: 3}], extra=where)
    present = cells["Nuclei_Only_Here"].notna().tolist()
    assert present == ([True] * 2 + [False] * 3 if where == 1 else [False] * 2 + [True] * 3)


def test_failures_are_in_the_ledger_and_coverage_decides(plate):
    cells, _, ledger = plate([{1: 2, 2: "LoadData (module 1): truncated"}, {3: 1}])
    assert len(cells) == 3
    assert ledger[["stage", "site", "reason"]].values.tolist() == [
        ["cellprofiler", "2", "LoadData (module 1): truncated"]
    ]


def test_too_few_sites_fail_with_one_sentence_of_plate_numbers_reasons_and_mend(plate):
    with pytest.raises(InputError) as error:
        plate([{1: 2, 2: "bad", 3: "bad", 4: "worse"}])
    assert str(error.value) == (
        "only 1 of 4 sites of plate p gave features, less than the coverage of 0.5; most frequent reasons: "
        "bad (2 sites); worse (1 sites); mend them and `make retry`, lower 'coverage', or go on without the plate by "
        "the dataset's exclude_plates"
    )


@pytest.mark.parametrize(("good", "coverage"), [(1, 0.1), (3, 0.3), (7, 0.7), (9, 0.9), (10, 1)])
def test_a_plate_at_the_coverage_passes(plate, good, coverage):
    cells, _, ledger = plate([{site: 1 if site <= good else "bad" for site in range(1, 11)}], coverage=coverage)
    assert len(cells) == good and len(ledger) == 10 - good


def test_sites_excluded_by_quality_are_dropped_counted_and_count_against_coverage(plate):
    excluded = pd.DataFrame(
        {
            "Metadata_Well": "A01",
            "Metadata_Site": [1, 2, 3],
            "Metadata_Excluded": [False, True, False],
            "Metadata_Flags": ["", "out_of_focus", "saturated"],
        }
    )
    cells, images, ledger = plate([{1: 2, 2: 5, 3: 1}], excluded=excluded)
    assert sorted(set(cells["Metadata_Site"])) == sorted(images["Metadata_Site"]) == [1, 3]
    assert ledger[["site", "reason"]].values.tolist() == [["2", "excluded by quality control: out_of_focus"]]


def test_exclusion_counts_against_coverage(plate):
    excluded = pd.DataFrame(
        {"Metadata_Well": "A01", "Metadata_Site": [1, 2], "Metadata_Excluded": True, "Metadata_Flags": "out_of_focus"}
    )
    with pytest.raises(InputError, match=r"only 1 of 3 sites.*out_of_focus \(2 sites\)"):
        plate([{1: 2, 2: 5, 3: 1}], excluded=excluded)


def test_sites_that_the_index_lost_count_against_coverage_and_their_images_do_not(plate):
    earlier = Ledger("index")
    earlier.add("x.tif is cut off", unit="image")
    earlier.add("site left out: no usable image of DNA", unit="site", count=2)
    earlier.add("odd", severity="flagged", unit="site")
    with pytest.raises(InputError, match=r"only 1 of 3 sites.*no usable image of DNA \(2 sites\);"):
        plate([{1: 2}], coverage=0.5, unusable=earlier.frame())


def test_sites_without_cells_give_an_empty_table_of_the_right_columns(plate):
    cells, images, _ = plate([{1: 0, 2: 0}])
    assert len(cells) == 0 and "Cells_AreaShape_Area" in cells
    assert images["Metadata_Count_Cells"].tolist() == [0, 0]


def test_filters_drop_and_count_cells_across_batches(plate):
    options = {"border": "Nuclei", "outliers": {"Nuclei_AreaShape_Area": 1.5}}
    cells, images, ledger = plate([{1: 9}, {2: 2}], options)
    counted = dict(zip(ledger["reason"], ledger["count"], strict=True))
    assert counted["Nuclei touches the border of the image"] == 1
    assert sum(counted.values()) + len(cells) == 11
    assert images["Metadata_Count_Cells"].sum() == len(cells)
    assert cells["Nuclei_AreaShape_BoundingBoxMaximum_X"].max() < 100


def test_filters_that_need_absent_features_say_so(plate):
    with pytest.raises(InputError, match="Nuclei_Absent.*cells.outliers"):
        plate([{1: 2}], {"outliers": {"Nuclei_Absent": 3}})


def test_wells_with_few_cells_are_dropped():
    cells = pd.DataFrame({"Metadata_Well": ["A01"] * 3 + ["A02"] * 2})
    keep, reasons = keep_cells(cells, {"minimum_per_well": 3}, [], [])
    assert keep.tolist() == [True] * 3 + [False] * 2
    assert reasons == {"its well has fewer than 3 cells": 2}


def test_nan_is_no_outlier_and_each_cell_counts_once():
    area = np.r_[np.linspace(90, 110, 40), 1000.0, np.nan]
    cells = pd.DataFrame({"Metadata_Well": "A01", "A": area, "B": area})
    keep, reasons = keep_cells(cells, {"outliers": {"A": 6, "B": 6}}, [], [])
    assert keep.tolist() == [True] * 40 + [False, True]
    assert list(reasons.values()) == [1]
