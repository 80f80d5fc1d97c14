"""JUMP-Target's plate maps, read as published, give what its authors say is on the plates."""

import pytest

from phenoloom.ingest.layouts import read_layout

ROOT = "config/studies"


@pytest.fixture
def jump(shared_data, tmp_path):
    folder = shared_data("platemaps") / "jump_target"

    def layout(kind, number=1, perturbation="pert_iname"):
        name = f"JUMP-Target-{number}_{kind}"
        (tmp_path / "plates.csv").write_text("batch,plate,images\nB,BR1,x\n")
        (tmp_path / "barcodes.csv").write_text(f"Assay_Plate_Barcode,Plate_Map_Name\nBR1,{name}_platemap\n")
        return read_layout(
            {
                "plates": str(tmp_path / "plates.csv"),
                "barcodes": {"table": str(tmp_path / "barcodes.csv"), "platemaps": str(folder)},
                "annotations": {"table": str(folder / f"{name}_metadata.tsv"), "by": "broad_sample"},
                "platemap_columns": {"Perturbation": perturbation},
                "controls": {
                    "column": "control_type",
                    "negative": ["negcon"],
                    "positive": ["poscon_cp", "poscon_orf", "poscon_diverse"],
                },
            }
        )

    return layout


@pytest.mark.parametrize("number", [1, 2])
def test_the_compound_plates(jump, number):
    """The README of JUMP-Target: 64 DMSO wells, 14 compounds twice, 46 controls, one well for each of the others."""
    layout = jump("compound", number)
    assert len(layout) == 384 and layout["Metadata_Well"].is_unique
    negative = layout[layout["Metadata_Control"] == "negative"]
    assert len(negative) == 64 and set(negative["Metadata_Perturbation"]) == {"DMSO"}
    counts = layout[layout["Metadata_Control"] != "negative"]["Metadata_InChIKey"].value_counts()
    twice = layout[layout["Metadata_control_type"] == "poscon_diverse"]["Metadata_Well"]
    assert len(twice) == 28
    assert (counts > 1).sum() >= 14 and counts.sum() == 320
    positive = layout[layout["Metadata_Control"] == "positive"]
    assert positive["Metadata_broad_sample"].nunique() == 46


@pytest.mark.parametrize("kind", ["crispr", "orf"])
def test_the_genetic_plates(jump, kind):
    layout = jump(kind, perturbation="gene")
    assert len(layout) == 384
    assert (layout["Metadata_Control"] == "negative").sum() > 0
    assert (layout["Metadata_Perturbation"] == "").sum() <= 4


def test_the_shipped_layout_of_cpjump1_is_that_of_the_published_profiles(shared_data):
    """CHAMMI-75's profile tables, made by others, carry the compound of each well."""
    import pandas as pd

    folder = shared_data("cpjump1_profiles")
    layout = read_layout(
        {
            "plates": f"{ROOT}/cpjump1/plates.tsv",
            "barcodes": {"table": f"{ROOT}/cpjump1/barcode_platemap.csv", "platemaps": f"{ROOT}/cpjump1/platemaps"},
            "annotations": {"table": f"{ROOT}/cpjump1/compounds.tsv", "by": "broad_sample"},
            "platemap_columns": {"Perturbation": "pert_iname", "MoA": "moa_list"},
            "controls": {"column": "control_type", "negative": ["negcon"], "positive": ["poscon_cp"]},
        }
    )
    published = pd.concat(
        pd.read_csv(path, usecols=["Metadata_Plate", "Metadata_Well", "Metadata_pert_iname", "Metadata_control_type"])
        for path in sorted(folder.glob("BR*/*.csv.gz"))
    )
    both = published.merge(layout, on=["Metadata_Plate", "Metadata_Well"], suffixes=("_published", ""))
    assert len(both) == len(published) == 7 * 384 == len(layout)
    assert (both["Metadata_pert_iname_published"] == both["Metadata_Perturbation"]).all()
    assert ((both["Metadata_control_type_published"] == "negcon") == (both["Metadata_Control"] == "negative")).all()


def test_the_shipped_layout_of_bbbc021_is_that_of_the_published_table(shared_data):
    """330 DMSO wells on 55 plates of 10 weeks, 103 treatments with one of 12 MoAs, as Ljosa et al. have them."""
    import pandas as pd

    layout = read_layout({"plates": f"{ROOT}/bbbc021/plates.tsv"})
    assert layout["Metadata_Plate"].nunique() == 55 and layout["Metadata_Batch"].nunique() == 10
    assert (layout["Metadata_Control"] == "negative").sum() == 330
    known = layout[layout["Metadata_MoA"] != ""]
    assert known.groupby(["Metadata_Perturbation", "Metadata_Concentration"]).ngroups == 103
    assert known["Metadata_MoA"].nunique() == 12 and known["Metadata_Perturbation"].nunique() == 38
    table = shared_data("bbbc021_profiles") / "BBBC021_v1_image.csv.gz"
    images = pd.read_csv(table).drop_duplicates(["Image_Metadata_Plate_DAPI", "Image_Metadata_Well_DAPI"])
    both = images.merge(
        layout,
        left_on=["Image_Metadata_Plate_DAPI", "Image_Metadata_Well_DAPI"],
        right_on=["Metadata_Plate", "Metadata_Well"],
    )
    assert len(both) == len(images) == len(layout)
    assert (both["Image_Metadata_Compound"] == both["Metadata_Perturbation"]).all()
    treated = both["Metadata_Control"] == ""
    assert (both["Image_Metadata_Concentration"] == both["Metadata_Concentration"])[treated].all()
