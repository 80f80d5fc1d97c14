"""One Opera Phenix field through the pipeline that came with it, unmodified: LoadData, FlagImage, SQLite and all."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from pycytominer.cyto_utils.cells import SingleCells

from cellprofiler_runs import run_script, write_index
from phenoloom.cellprofiler.measurements import read_images, read_objects
from phenoloom.cells.outputs import read_outputs
from phenoloom.cells.table import write_cells, write_plate
from phenoloom.core.ledger import Ledger

pytestmark = [pytest.mark.cellprofiler, pytest.mark.slow]

CHANNELS = ["Brightfield", "ER", "AGP", "Mito", "DNA", "RNA"]
#: Channels whose function the pipeline asks for: it corrects ER by that of AGP.
ILLUMINATED = ["Brightfield", "AGP", "Mito", "DNA", "RNA"]


@pytest.fixture(scope="module")
def field(shared_data, tmp_path_factory):
    """(folder, path of the .h5) after the run; the pipeline's own SQLite database lies in the folder too."""
    folder = tmp_path_factory.mktemp("phenix")
    data = shared_data("phenix_field")
    planes = {name: data / f"r03c03f03p01-ch{n}sk1fk1fl1.tiff" for n, name in enumerate(CHANNELS, start=1)}
    index = write_index(folder / "index.parquet", {("C03", 3): planes}, plate="BR 1")
    functions = {}
    for name in ILLUMINATED:
        # the pipeline divides brightfield and subtracts the others: neutral either way
        functions[name] = folder / f"{name}.npy"
        np.save(functions[name], np.full((1080, 1080), float(name == "Brightfield"), np.float32))
    output, ledger, text = run_script(
        folder, index, data / "analysis.cppipe", CHANNELS, illumination=functions, files=folder / "files.zip"
    )
    assert ledger == [], text[-3000:]
    with zipfile.ZipFile(folder / "files.zip") as archive:
        archive.extractall(folder / "files")
    return folder, output


@pytest.fixture(scope="module")
def cells(field):
    folder, output = field
    (folder / "none.jsonl").write_text("")
    ledger = Ledger("cells", dataset="phenix", plate="BR 1")
    paths = folder / "cells.parquet", folder / "images.parquet"
    write_plate([output], [folder / "none.jsonl"], paths, {}, 1, ledger)
    return pd.read_parquet(paths[0])


def test_cells_are_measured_in_six_channels(field, cells):
    images = read_images(field[1])
    assert images.loc[0, "Image_Count_Cells"] == len(read_objects(field[1])["Cells"]) == len(cells) > 20
    for channel in CHANNELS:
        for name in (f"Cells_Intensity_MeanIntensity_Corr{channel}", f"Nuclei_Granularity_1_Corr{channel}"):
            assert cells[name].notna().all()


def test_what_the_pipeline_writes_itself_is_kept(field):
    names = sorted(path.name for path in (field[0] / "files").iterdir())
    assert names == [
        "CellsOutlines_BR 1_C03_3.tiff",
        "NucleiOutlines_BR 1_C03_3.tiff",
        "alsf_morphology_features.sqlite",
    ]


def test_its_sqlite_database_gives_the_same_cells(field, cells, tmp_path):
    pieces, images = read_outputs([field[0] / "files"], Ledger("enter"))
    write_cells(tmp_path / "c.parquet", pieces, images, ["Cells", "Cytoplasm", "Nuclei"], {}, Ledger("cells"))
    entered = pd.read_parquet(tmp_path / "c.parquet")
    # ExportToDatabase cuts names at 64 characters
    features = [name for name in cells if not name.startswith("Metadata_") and len(name) <= 64]
    assert len(features) > 2900
    assert np.allclose(entered[features], cells[features], rtol=1e-5, atol=1e-6, equal_nan=True)


def test_pycytominer_merges_the_database_to_the_same_cells(field, cells):
    database = field[0] / "files" / "alsf_morphology_features.sqlite"
    theirs = SingleCells(
        f"sqlite:///{database}",
        strata=["Image_Metadata_Plate", "Image_Metadata_Well"],
        image_cols=["ImageNumber"],
        merge_cols=["ImageNumber"],
        image_table_name="Per_Image",
        compartments=["Per_Cells", "Per_Cytoplasm", "Per_Nuclei"],
        compartment_linking_cols={
            "Per_Cytoplasm": {
                "Per_Cells": "Cytoplasm_Parent_Cells",
                "Per_Nuclei": "Cytoplasm_Parent_Nuclei",
            },
            "Per_Cells": {"Per_Cytoplasm": "Cells_Number_Object_Number"},
            "Per_Nuclei": {"Per_Cytoplasm": "Nuclei_Number_Object_Number"},
        },
    ).merge_single_cells(single_cell_normalize=False)
    assert len(theirs) == len(cells)
    features = [name for name in cells if not name.startswith("Metadata_") and name in theirs]
    assert len(features) > 2900
    keys = [name for name in theirs if name.startswith("Metadata_") and "Image_" not in name and name in cells]
    assert "Metadata_Cytoplasm_Parent_Cells" in keys and "Metadata_Cells_Number_Object_Number" in keys
    theirs = theirs.sort_values("Metadata_Cytoplasm_Parent_Cells")
    assert np.allclose(theirs[features].astype(float), cells[features], rtol=1e-5, atol=1e-6, equal_nan=True)
