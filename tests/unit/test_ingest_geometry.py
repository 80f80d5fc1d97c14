"""Declared geometry, tables of plates and counts, as the DAG asks for them."""

import os
import subprocess
import sys

import pytest

from phenoloom.core.errors import InputError
from phenoloom.ingest import geometry


def test_a_standard_plate_has_all_its_wells_and_sites():
    pairs = geometry.sites({"wells": 384, "sites": 9})
    assert len(pairs) == 384 * 9
    assert pairs[0] == ("A01", 1) and pairs[-1] == ("P24", 9)


def test_rectangles_and_single_wells_are_joined_without_duplicates():
    wells = {well for well, _ in geometry.sites({"wells": ["b2-C3", "C03", "H12"]})}
    assert wells == {"B02", "B03", "C02", "C03", "H12"}


@pytest.mark.parametrize("wells", [["Q"], ["A01-Z"], 97])
def test_a_geometry_that_is_none_is_said(wells):
    with pytest.raises(InputError, match="geometry"):
        geometry.sites({"wells": wells})


def test_plates_are_found_beside_the_table_first(tmp_path, monkeypatch):
    (tmp_path / "study" / "images").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    table = tmp_path / "study" / "plates.tsv"
    table.write_text(
        "\ufeffBatch\tPlate\timages\tplatemap\tdonor\n1\tP 1\timages\t\tD7\n2\tP2\telsewhere\tmap.tsv\tD8\n\n"
    )
    monkeypatch.chdir(tmp_path)
    assert geometry.read_plates("study/plates.tsv") == [
        ("1", "P 1", "study/images", ""),
        ("2", "P2", "elsewhere", "map.tsv"),
    ]
    assert geometry.plate_rows("study/plates.tsv")[0]["donor"] == "D7"


def test_plates_can_be_left_out_by_name(tmp_path):
    table = tmp_path / "plates.csv"
    table.write_text("plate,images\nP1,x\nP2,y\nP3,z\n")
    assert [row[1] for row in geometry.read_plates(table, None, ["P2"])] == ["P1", "P3"]
    with pytest.raises(InputError, match="exclude_plates of dataset d names the plate P4, which there is not; did you"):
        geometry.read_plates(table, "d", ["P4"])
    with pytest.raises(InputError, match="exclude_plates names every plate; keep at least one"):
        geometry.read_plates(table, None, ["P1", "P2", "P3"])


def test_a_shared_table_gives_each_dataset_its_rows(tmp_path):
    table = tmp_path / "plates.csv"
    table.write_text("dataset,plate,images\na,P1,x\nb,P1,y\n")
    assert geometry.read_plates(table, "b") == [("1", "P1", "y", "")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plate\timages\nP\tx\nP\ty\n", "P is listed more than once"),
        ("plate\timage\nP\tx\n", "lacks the column images"),
        ("plate\timages\n\tx\n", "line 2"),
        ("plate\timages\n", "lists no plates"),
        ("", "empty"),
    ],
)
def test_a_bad_table_of_plates_is_named(tmp_path, text, words):
    table = tmp_path / "plates.tsv"
    table.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        geometry.read_plates(table)
    assert str(table) in str(error.value)


def test_no_summary_means_nothing_is_indexed(tmp_path):
    assert geometry.read_summary(tmp_path / "summary.json") == {}
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(InputError, match="prepare"):
        geometry.read_summary(tmp_path / "summary.json")


def test_the_dag_does_not_pay_for_heavy_imports():
    code = "import sys, phenoloom.ingest.geometry; print({'pandas', 'numpy', 'pyarrow'} & set(sys.modules))"
    library = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=library)
    assert done.stdout.strip() == "set()"
