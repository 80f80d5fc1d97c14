"""Plate maps of all kinds become one row per well; what cannot be is said with the file and the wells."""

import pytest

from phenoloom.core.errors import InputError
from phenoloom.ingest.layouts import read_layout, read_platemap

HOSTILE = 'x"; rm -rf ~ #<script>'


@pytest.fixture
def study(tmp_path):
    """Return a function that writes a plate map (and a table of two plates) and gives the config block."""

    def write(platemap, plates="batch\tplate\timages\tplatemap\nb1\tP1\ti\tmap.tsv\nb2\tP 2\ti\tmap.tsv\n", **block):
        (tmp_path / "plates.tsv").write_text(plates)
        (tmp_path / "map.tsv").write_text(platemap, encoding="utf-8")
        return {"plates": str(tmp_path / "plates.tsv"), **block}

    return write


def test_one_row_per_well_of_every_plate(study):
    layout = read_layout(
        study(
            "well\tcompound\tconcentration\tunit\tcontrol\tmoa\tDonor\n"
            "b2\tA\t1e-1\tµM\t\tkinase\tD1\nA1\tDMSO\t\t\tnegcon\tvehicle\t\na10\tP\t5\tµM\tPositive\t\t\n"
        )
    )
    assert layout["Metadata_Well"].tolist() == ["A01", "A10", "B02"] * 2
    assert layout["Metadata_Plate"].tolist() == ["P1"] * 3 + ["P 2"] * 3
    assert layout["Metadata_Batch"].tolist() == ["b1"] * 3 + ["b2"] * 3
    assert layout["Metadata_Control"].tolist()[:3] == ["negative", "positive", ""]
    assert layout["Metadata_Concentration"].isna().tolist()[:3] == [True, False, False]
    assert layout["Metadata_Concentration"][2] == 0.1
    assert layout["Metadata_MoA"].tolist()[:3] == ["", "", "kinase"]
    assert layout["Metadata_Donor"][2] == "D1"


def test_hostile_names_pass_through_untouched(study):
    block = study(f'well\tperturbation\nA01\t{HOSTILE}\nA02\t{{x}}\nA03\t"a\tb"\nA04\t=1+1\nA05\tNA\nA06\t001\n')
    names = read_layout(block)["Metadata_Perturbation"].tolist()[:6]
    assert names == [HOSTILE, "{x}", "a\tb", "=1+1", "NA", "001"]


@pytest.mark.parametrize(
    ("platemap", "words"),
    [
        ("well\tperturbation\nA01\tx\na1\ty\nB07\tz\nB-07\tz\n", "well A01, B07 more than once"),
        ("well\tperturbation\nA01\tx\nI1!\ty\n", "line 3"),
        ("well\tname\nA01\tx\n", "no column perturbation"),
        ("perturbation\nx\n", "no column well"),
        ("well\tperturbation\tconcentration\nA01\tx\t5 uM\n", "line 2: the concentration '5 uM'"),
        ("", "empty"),
    ],
)
def test_a_bad_plate_map_is_named(study, tmp_path, platemap, words):
    with pytest.raises(InputError, match=words) as error:
        read_layout(study(platemap))
    assert str(tmp_path / "map.tsv") in str(error.value)


def test_missing_maps_are_listed_all_at_once(study):
    block = study("well\tperturbation\nA01\tx\n", "plate\timages\tplatemap\nP1\ti\t\nP2\ti\tno.tsv\nP3\ti\tmap.tsv\n")
    with pytest.raises(InputError) as error:
        read_layout(block)
    assert "plate P1" in str(error.value) and "plate P2" in str(error.value) and "plate P3" not in str(error.value)


def test_barcodes_name_the_map_and_annotations_the_controls(study, tmp_path):
    (tmp_path / "barcodes.csv").write_text("Assay_Plate_Barcode,Plate_Map_Name\nP1,map\nP1,map\nP3,other\n")
    (tmp_path / "compounds.tsv").write_text(
        "broad_sample\tpert_iname\tcontrol_type\nBRD-1\tone\tNA\nNA\tDMSO\tnegcon\n"
    )
    (tmp_path / "map.txt").write_text(
        "well_position\tbroad_sample\tsolvent\nA01\tBRD-1\tDMSO\nA02\t\tDMSO\nA03\tBRD-9\t\n"
    )
    block = study(
        "",
        "plate\timages\nP1\ti\n",
        barcodes={"table": str(tmp_path / "barcodes.csv"), "platemaps": str(tmp_path)},
        annotations={"table": str(tmp_path / "compounds.tsv"), "by": "broad_sample"},
        platemap_columns={"Perturbation": "pert_iname"},
        controls={"column": "control_type", "negative": ["negcon"], "positive": ["poscon"]},
    )
    layout = read_layout(block)
    assert layout["Metadata_Perturbation"].tolist() == ["one", "DMSO", ""]
    assert layout["Metadata_Control"].tolist() == ["", "negative", ""]
    assert layout["Metadata_broad_sample"].tolist() == ["BRD-1", "", "BRD-9"]
    (tmp_path / "plates.tsv").write_text("plate\timages\nP1\ti\nP3\ti\nP4\ti\n")
    with pytest.raises(InputError, match="(?s)P3.*no map called other.*P4.*no such barcode"):
        read_layout(block)


def test_a_barcode_with_two_maps_is_an_error(study, tmp_path):
    (tmp_path / "barcodes.csv").write_text("Assay_Plate_Barcode,Plate_Map_Name\nP1,map\nP1,other\n")
    barcodes = {"table": str(tmp_path / "barcodes.csv"), "platemaps": str(tmp_path)}
    with pytest.raises(InputError, match="P1 two different maps"):
        read_layout(study("", "plate\timages\nP1\ti\n", barcodes=barcodes))


def test_a_negative_control_without_a_name_gets_one(tmp_path):
    (tmp_path / "map.csv").write_text("Well,Perturbation,Control\nA01,,negative\n")
    assert read_platemap(tmp_path / "map.csv")["Metadata_Perturbation"].tolist() == ["negative control"]


def test_a_mapped_column_that_is_absent_is_named(tmp_path):
    (tmp_path / "map.csv").write_text("well,perturbation\nA01,x\n")
    with pytest.raises(InputError, match=r"'dose_um' \(platemap_columns.Concentration\)"):
        read_platemap(tmp_path / "map.csv", {"platemap_columns": {"Concentration": "dose_um"}})
    with pytest.raises(InputError, match="controls.column"):
        read_platemap(tmp_path / "map.csv", {"controls": {"negative": ["x"]}})
