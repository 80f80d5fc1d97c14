"""Preflight: every fault planted in a study is on the list, a study without faults has an empty one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from phenoloom.cellprofiler.batches import pipeline_digest
from phenoloom.core import files
from phenoloom.core.images import ImageError, read_plane
from phenoloom.ingest import facts, preflight

TRANSLOCATION = Path(__file__).resolve().parents[2] / "resources/pipelines/translocation.cppipe"
CYTOSKELETON = TRANSLOCATION.with_name("cytoskeleton.cppipe")
NAMES_AND_TYPES = """CellProfiler Pipeline: http://www.cellprofiler.org
Version:5

Images:[module_num:1|enabled:True]
    Filter images?:No filtering

NamesAndTypes:[module_num:2|enabled:True]
    Assign a name to:Images matching rules
    Name to assign these images:DNA
    Select the rule criteria:and (file does endwith "_D.tif")
    Name to assign these images:Flat
    Select the rule criteria:and (file does startwith "flat")
"""
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
        "warning d/P2: 1 well of the plate map has no images: A03",
        "warning d/P2: 1 well has images but is not in the plate map: B07",
        "error d/P2: the plate map has no negative control, which default.normalize needs",
        "error d/P3",
        "error d: plate P4: the plate map",
        "error d/P1: only 1 of 6 sites can be used",
    ):
        assert words in lines, words
    assert lines.index("error") < lines.index("warning")


def test_a_plate_left_out_is_a_warning_and_counts_for_nothing(study, tmp_path):
    for path in (tmp_path / "P2").iterdir():
        path.write_bytes(b"")
    assert any(text.startswith("error d/P2: ") and "exclude_plates" in text for text in listed(study))
    study["datasets"]["d"]["exclude_plates"] = ["P2"]
    findings, estimate = preflight.preflight(study)
    assert [(one.severity, one.where) for one in findings] == [("warning", "d/P2")]
    assert "left out" in findings[0].text
    assert estimate.sites == 6
    study["datasets"]["d"]["exclude_plates"] = ["P3"]
    assert any("exclude_plates of dataset d names the plate P3" in text for text in listed(study))


def test_declared_illumination_functions_are_looked_at(study, tmp_path):
    study["datasets"]["d"]["illumination"]["functions"] = str(tmp_path / "{channel}.npy")
    np.save(tmp_path / "DNA.npy", np.ones((32, 48), np.float32))
    np.save(tmp_path / "ER.npy", np.ones((48, 32), np.float32))
    errors = [text for text in listed(study) if "ER.npy is 32x48 pixels where the images of plate P" in text]
    assert len(errors) == 2 == len(listed(study))
    np.save(tmp_path / "ER.npy", np.ones((32, 48), np.float32))
    assert listed(study) == []


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


def test_what_is_on_disk_counts_even_where_a_larger_geometry_is_declared(study):
    study["datasets"]["d"]["geometry"] = {"wells": 96, "sites": 9}
    findings, estimate = preflight.preflight(study)
    assert findings == []
    assert estimate.sites == 12


def test_a_declared_geometry_stands_for_images_that_are_not_there_yet(study, tmp_path):
    shutil.rmtree(tmp_path / "P2")
    study["datasets"]["d"] |= {"geometry": {"wells": ["A01-A03"], "sites": 3}, "download": {"folder": "x", "files": []}}
    _, estimate = preflight.preflight(study)
    assert estimate.sites == 6 + 9


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
    # the sites, and the start of the jobs that come with them
    assert before.cpu_hours + 12 * 30 / 3600 < after.cpu_hours < before.cpu_hours + 12 * 30 / 3600 + 0.1
    # six batches of CellProfiler, cells and wells of two plates, a set of profiles and its map
    assert after.jobs == before.jobs + 6 + 2 + 2 + 1 + 1
    assert after.written_gb > 0


def test_flat_illumination_functions_do_for_a_pipeline_that_asks_for_some(study):
    block = study["datasets"]["d"]
    names = {"OrigTubulin": "DNA", "OrigActin": "ER", "IllumTubulin": {"illumination": "ER"}}
    names["IllumActin"] = {"illumination": "ER"}
    block["features"] = {"cellprofiler": {"pipeline": str(CYTOSKELETON), "minutes_per_job": 1, "images": names}}
    _, estimated = preflight.preflight(study)
    block["illumination"] = {"method": "none"}
    findings, flat = preflight.preflight(study)
    assert findings == []
    assert flat.jobs == estimated.jobs
    block["features"]["cellprofiler"]["images"] |= {
        name: {"file": __file__} for name in ("IllumDNA", "IllumTubulin", "IllumActin")
    }
    _, none = preflight.preflight(study)
    assert none.jobs == flat.jobs - 2


def test_files_that_names_and_types_wants_are_looked_for_among_images_and_further_files(study, tmp_path):
    pipeline = tmp_path / "names.cppipe"
    pipeline.write_text(NAMES_AND_TYPES)
    block = study["datasets"]["d"]
    block["features"] = {"cellprofiler": {"pipeline": str(pipeline), "minutes_per_job": 1, "files": []}}
    assert any("gives the name Flat to files of which the study has none" in line for line in listed(study))
    assert not any("the name DNA" in line for line in listed(study))
    block["features"]["cellprofiler"]["files"] = [str(tmp_path / "flat*.npy")]
    assert any("no file matches" in line for line in listed(study))
    (tmp_path / "flat_1.npy").touch()
    assert listed(study) == []


def test_a_rate_of_another_pipeline_is_said(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = study["datasets"]["d"]
    block["channels"] = {"DNA": {"source": "D"}, "GFP": {"source": "E"}}
    block["features"] = {"cellprofiler": {"pipeline": str(TRANSLOCATION), "minutes_per_job": 1}}
    rate = {"seconds_per_site": 30, "pipeline_digest": pipeline_digest(TRANSLOCATION)}
    (tmp_path / "results/s/d").mkdir(parents=True)
    path = tmp_path / "results/s/d/rate.json"
    path.write_text(json.dumps(rate))
    findings, estimate = preflight.preflight(study)
    assert findings == []
    path.write_text(json.dumps({**rate, "pipeline_digest": "x", "seconds_per_site": 20}))
    assert len(listed(study)) == 1 and "the rate of 20 s a site was measured before" in listed(study)[0]
    assert preflight.preflight(study)[1].cpu_hours == pytest.approx(estimate.cpu_hours - 12 * 10 / 3600)
    path.write_text("{}")
    assert any("holds no measured rate" in line for line in listed(study))


def test_an_evaluation_of_features_on_a_similarity_is_said(study):
    measured = {"pipeline": str(TRANSLOCATION), "minutes_per_job": 1, "seconds_per_site": 30}
    study["datasets"]["d"]["features"] = {"cellprofiler": measured}
    study["profiles"]["fusion"] = [{"aggregate": {"dispersion": "mad"}}, {"fuse": {}}]
    study["evaluation"] = {
        "dose": {"metric": "dose_response"},
        "strength": {"metric": "activity", "method": "energy", "of": ["cellprofiler/*"]},
        "replicates": {"metric": "mean_average_precision"},
        "z_prime": {"metric": "control_separation", "of": ["cellprofiler/default"]},
    }
    found = [line for line in listed(study) if "is a similarity" in line]
    assert [line.split()[:3] for line in found] == [
        ["error", "d/cellprofiler/fusion:", f"evaluation.{name}"] for name in ("dose", "strength")
    ]


def test_an_evaluation_of_nothing_is_said(study):
    study["evaluation"] = {"nsc": {"of": ["cellprofilr/default"]}}
    study["datasets"]["d"]["features"] = {"cellprofiler": {"pipeline": "x", "minutes_per_job": 1}}
    assert any("evaluation.nsc.of: 'cellprofilr/default' matches no" in line for line in listed(study))


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
