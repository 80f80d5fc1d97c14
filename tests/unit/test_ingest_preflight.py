"""Preflight: every fault planted in a study is on the list, a study without faults has an empty one."""

import shutil

import numpy as np
import pytest
import tifffile

from phenoloom.core import files
from phenoloom.core.images import ImageError, read_plane
from phenoloom.ingest import facts, preflight

CHAIN = [{"aggregate": {"operation": "median"}}, {"normalize": {"samples": "Metadata_Control == 'negative'"}}]
MAP = "well\tperturbation\tcontrol\nA01\tDMSO\tnegative\nA02\tx\t\nA03\ty\t\n"


@pytest.fixture
def study(tmp_path, write_tiff):
    """A study without faults: two plates, three wells, two sites, two channels."""
    for plate in ("P1", "P2"):
        for number in range(12):
            well, site, channel = f"A0{number // 4 + 1}", number // 2 % 2 + 1, "DE"[number % 2]
            write_tiff(tmp_path / plate / f"{well}_s{site}_{channel}.tif", seed=number)
    (tmp_path / "map.tsv").write_text(MAP)
    (tmp_path / "plates.tsv").write_text("plate\timages\tplatemap\nP1\tP1\tmap.tsv\nP2\tP2\tmap.tsv\n")
    block = {
        "plates": str(tmp_path / "plates.tsv"),
        "channels": {"DNA": {"source": "D"}, "ER": {"source": "E"}},
        "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
        "illumination": {"method": "median"},
    }
    return {"study": "s", "coverage": 0.5, "datasets": {"d": block}, "profiles": {"default": CHAIN}}


def listed(study):
    findings, _ = preflight.preflight(study)
    return [f"{one.severity} {one.where}: {one.text}" for one in findings]


def test_nothing_is_wrong_with_a_study_without_faults(study):
    findings, estimate = preflight.preflight(study)
    assert findings == []
    assert (estimate.sites, estimate.images) == (12, 24)
    assert "Nothing is wrong" in preflight.report("s", findings, estimate)


def test_all_faults_are_listed_at_once(study, tmp_path, write_tiff):
    first, second = tmp_path / "P1", tmp_path / "P2"
    (first / "A01_s1_D.tif").unlink()
    (first / "A02_s1_D.tif").write_bytes(b"")
    tifffile.imwrite(first / "A02_s2_D.tif", np.zeros((9, 9), np.uint16))
    tifffile.imwrite(first / "A03_s1_D.tif", np.zeros((32, 48), np.uint8))
    write_tiff(first / "again" / "A03_s2_D.tif", seed=55)
    for path in second.glob("A03*"):
        path.unlink()
    for site in (1, 2):
        for channel in "DE":
            write_tiff(second / f"B07_s{site}_{channel}.tif")
    (tmp_path / "map2.tsv").write_text(MAP.replace("negative", ""))
    (tmp_path / "plates.tsv").write_text(
        "plate\timages\tplatemap\nP1\tP1\tmap.tsv\nP2\tP2\tmap2.tsv\nP3\tP3\tmap.tsv\nP4\tP2\tno.tsv\n"
    )
    lines = "\n".join(listed(study))
    for words in (
        "warning d/P1: A01 site 1 DNA: site left out: no usable image of DNA",
        "A02_s1_D.tif is empty",
        "A02_s2_D.tif is 9x9 where the plate has 48x32",
        "A03_s1_D.tif is uint8 where most",
        "2 images claim this place, none is used",
        "warning d/P2: 1 wells of the plate map have no images: A03",
        "warning d/P2: 1 wells have images but are not in the plate map: B07",
        "error d/P2: the plate map has no negative control, which default.normalize needs",
        "error d/P3",
        "error d: plate P4: the plate map",
        "error d/P1: only 1 of 6 sites are usable",
    ):
        assert words in lines, words
    assert lines.index("error") < lines.index("warning")


def test_a_channel_that_is_nowhere_is_said_once(study):
    study["datasets"]["d"]["channels"]["Mito"] = {"source": "M"}
    assert listed(study) == [
        f"error d/{plate}: no image of channel Mito at any site; check its 'source' in channels"
        for plate in ("P1", "P2")
    ]


def test_bad_tables_are_listed_beside_bad_images(study, tmp_path):
    (tmp_path / "map.tsv").write_text(MAP + "a1\tz\t\n")
    (tmp_path / "P1" / "A01_s1_D.tif").write_bytes(b"")
    lines = listed(study)
    assert any("lists the well A01 more than once" in line for line in lines)
    assert any("is empty" in line for line in lines)
    (tmp_path / "plates.tsv").write_text("plate\nP1\n")
    assert any("lacks the column images" in line for line in listed(study))


def test_plates_of_another_size_are_said(study, tmp_path):
    for path in (tmp_path / "P2").iterdir():
        tifffile.imwrite(path, np.zeros((8, 8), np.uint16))
    assert any("8x8 uint16 where those of most plates are 48x32" in line for line in listed(study)) or any(
        "48x32 uint16 where those of most plates are 8x8" in line for line in listed(study)
    )


def test_images_yet_to_be_fetched_are_no_error(study, tmp_path):
    shutil.rmtree(tmp_path / "P2")
    study["datasets"]["d"]["download"] = {"folder": "x", "files": []}
    assert [line[:12] for line in listed(study)] == ["warning d/P2"]
    study["datasets"]["d"].pop("download")
    assert [line[:10] for line in listed(study)] == ["error d/P2"]


def test_sites_of_a_declared_geometry_that_are_absent_are_said(study):
    study["datasets"]["d"]["geometry"] = {"wells": ["A01-A03"], "sites": 3}
    lines = listed(study)
    assert sum("A01 site 3: site left out: no images" in line for line in lines) == 2


def test_tables_that_enter_must_exist(study, tmp_path):
    (tmp_path / "there.csv").write_text("x")
    study["datasets"]["d"]["representations"] = {
        "old": {"table": str(tmp_path / "the*.csv")},
        "new": {"table": [str(tmp_path / "no.csv")]},
    }
    assert [line for line in listed(study) if "representations" in line] == [
        f"error d: {tmp_path}/no.csv does not exist; check representations.new in the study's config"
    ]


def test_what_the_pipeline_lacks_is_said(study, tmp_path):
    study["datasets"]["d"]["features"] = {
        "cellprofiler": {"pipeline": str(tmp_path / "no.cppipe"), "minutes_per_job": 1, "seconds_per_site": 60}
    }
    assert any("no.cppipe does not exist" in line for line in listed(study))


def test_the_estimate_grows_with_sites_and_seconds(study):
    block = study["datasets"]["d"]
    _, before = preflight.preflight(study)
    block["features"] = {"cellprofiler": {"pipeline": "x", "minutes_per_job": 1, "seconds_per_site": 30}}
    _, after = preflight.preflight(study)
    assert after.cpu_hours == pytest.approx(before.cpu_hours + 12 * 30 / 3600)
    assert after.jobs == before.jobs + 4 + 6 + 2  # two more batches of index each, six of CellProfiler, two of cells
    assert after.written_gb > 0


def test_headers_are_read_but_no_pixels_and_no_contents(study, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("preflight read more than headers")

    monkeypatch.setattr(facts, "digest_file", forbidden)
    monkeypatch.setattr(files, "digest_file", forbidden)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", forbidden)
    with pytest.raises(ImageError, match="more than headers"):
        read_plane(study["datasets"]["d"]["plates"].replace("plates.tsv", "P1/A01_s1_D.tif"))
    assert listed(study) == []


def test_the_list_is_written_as_text_and_table(study, tmp_path):
    findings, estimate = preflight.preflight(study)
    text = preflight.write(tmp_path / "out", "s", findings, estimate)
    assert (tmp_path / "out" / "preflight.txt").read_text() == text
    assert (tmp_path / "out" / "preflight.parquet").exists()
