"""The index of a plate: every kind of naming gives the same rows, and bad images cost their site and nothing else."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from phenoloom.core.errors import InputError
from phenoloom.core.images import read_image
from phenoloom.core.ledger import SCHEMA
from phenoloom.core.tables import INDEX_SCHEMA
from phenoloom.ingest import geometry
from phenoloom.ingest.index import index_plate, split
from phenoloom.ingest.listing import list_plate
from phenoloom.ingest.prepare import prepare

PATTERN = {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"}
CHANNELS = {"DNA": {"source": "w1"}, "ER": {"source": "w2"}}


@pytest.fixture
def plate(tmp_path, write_tiff):
    """Folder of a plate: wells A01 and B02, sites 1 and 2, channels w1 and w2, every image different."""
    folder = tmp_path / "images"
    number = 0
    for well in ("A01", "b2"):
        for site in (1, 2):
            for channel in ("w1", "w2"):
                number += 1
                write_tiff(folder / f"{well}_s{site}_{channel}.tif", seed=number)
    return folder


def index(folder, channels=CHANNELS, images=PATTERN, **more):
    return index_plate("d", "b", "P", str(folder), channels, images, **more)


def places(result):
    return [(row["well"], row["site"], row["channel"]) for row in result.rows]


def sites_lost(result):
    return {(one.well, one.site) for one in result.problems if one.unit == "site" and one.severity == "lost"}


def reasons(result):
    return " | ".join(one.reason for one in result.problems)


def test_a_plate_without_faults_has_a_row_per_plane(plate):
    result = index(plate)
    assert result.problems == []
    expected = [(well, site, channel) for well in ("A01", "B02") for site in (1, 2) for channel in ("DNA", "ER")]
    assert places(result) == expected
    first = result.rows[0]
    assert (first["width"], first["height"], first["dtype"], first["page"]) == (48, 32, "uint16", 0)
    assert first["size"] == os.path.getsize(first["path"]) and len(first["digest"]) == 32
    assert result.table().schema == INDEX_SCHEMA


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def boolean(path):
    tifffile.imwrite(path, np.ones((32, 48), bool))


def colour(path):
    tifffile.imwrite(path, np.ones((32, 48, 3), np.uint8), photometric="rgb")


def garbage(path):
    path.write_bytes(b"II*\0" + b"\xff" * 500)


def other_size(path):
    tifffile.imwrite(path, np.ones((32, 50), np.uint16))


def other_type(path):
    tifffile.imwrite(path, np.ones((32, 48), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncate, "cut off"),
        (empty, "is empty"),
        (boolean, "bool"),
        (colour, "RGB"),
        (garbage, "has 0 page"),
        (other_size, "50x32 where the plate has 48x32"),
        (other_type, "uint8 where most"),
        (lambda path: path.unlink(), "no usable image of ER"),
        (lambda path: (path.unlink(), os.symlink("/nowhere/x", path)), "does not exist"),
    ],
)
def test_a_bad_image_costs_its_site_and_nothing_else(plate, spoil, words):
    spoil(plate / "A01_s2_w2.tif")
    result = index(plate)
    assert sites_lost(result) == {("A01", 2)}
    assert {(well, site) for well, site, _ in places(result)} == {("A01", 1), ("B02", 1), ("B02", 2)}
    assert len(places(result)) == 6
    assert words in reasons(result)
    table = result.ledger()
    assert table.schema == SCHEMA
    assert "site left out: no usable image of ER" in table["reason"].to_pylist()


def test_the_same_image_twice_is_harmless_and_listed(plate):
    (plate / "again").mkdir()
    shutil.copy(plate / "A01_s1_w1.tif", plate / "again" / "A1_s01_W1.TIF")
    result = index(plate)
    assert len(result.rows) == 8 and sites_lost(result) == set()
    assert [(one.severity, one.kind) for one in result.problems] == [("flagged", "duplicate")]


def test_two_images_for_one_place_are_ambiguous_and_cost_the_site(plate, write_tiff):
    write_tiff(plate / "again" / "A01_s1_w1.tif", seed=99)
    result = index(plate)
    assert sites_lost(result) == {("A01", 1)}
    assert "2 images claim this place, none is used" in reasons(result)


def test_a_well_with_fewer_sites_is_listed(plate, write_tiff):
    for channel in ("w1", "w2"):
        write_tiff(plate / f"C03_s1_{channel}.tif")
    result = index(plate)
    assert [(one.kind, one.well, one.severity) for one in result.problems] == [("uneven", "C03", "flagged")]


def test_other_channels_and_thumbnails_are_left_aside(plate, write_tiff):
    write_tiff(plate / "A01_s1_w9.tif")
    write_tiff(plate / "A01_s1_w1_thumb.tif")
    (plate / "notes.txt").write_text("x")
    listing = list_plate(str(plate), "P", CHANNELS, PATTERN)
    assert listing.aside == {"other channels": 1, "thumbnails": 1, "other names": 1}
    assert len(listing.found) == 8


def test_what_cannot_be_listed_is_said(plate, tmp_path):
    with pytest.raises(InputError, match="none of the channels w3"):
        index(plate, {"DNA": {"source": "w3"}})
    with pytest.raises(InputError, match="no image that fits"):
        index(plate, images={"format": "phenix"})
    with pytest.raises(InputError, match="does not exist"):
        index(tmp_path / "nowhere")
    with pytest.raises(InputError, match="site_base: 0"):
        (tmp_path / "zero").mkdir()
        shutil.copy(plate / "A01_s1_w1.tif", tmp_path / "zero" / "A01_s0_w1.tif")
        index(tmp_path / "zero")


def test_sites_from_zero_become_sites_from_one(tmp_path, write_tiff):
    for site in (0, 1):
        write_tiff(tmp_path / f"A01_s{site}_w1.tif", seed=site)
    result = index(tmp_path, {"DNA": {"source": "W01"}}, {**PATTERN, "site_base": 0})
    assert places(result) == [("A01", 1, "DNA"), ("A01", 2, "DNA")]


def test_one_folder_may_hold_several_plates(tmp_path, write_tiff):
    for name in ("P_A01", "Q_A01"):
        write_tiff(tmp_path / f"{name}_w1.tif")
    result = index(
        tmp_path, {"DNA": {"source": "w1"}}, {"format": "pattern", "pattern": "{plate}_{well}_{channel}.tif"}
    )
    assert [os.path.basename(row["path"]) for row in result.rows] == ["P_A01_w1.tif"]


def test_a_regular_expression_and_a_single_channel(tmp_path, write_tiff):
    write_tiff(tmp_path / "x-C-07.tif")
    result = index(tmp_path, {"DNA": {}}, {"format": "pattern", "regex": r".*-(?P<row>[A-H])-(?P<column>\d\d)\.tif"})
    assert places(result) == [("C07", 1, "DNA")]


def test_imagexpress_planes_and_wavelength_names(tmp_path, write_tiff):
    guid = "BEDC2073-A983-4B98-95E9-84466707A25D"
    for step in ("", "ZStep_1/", "ZStep_2/"):
        write_tiff(tmp_path / f"TimePoint_1/{step}exp_A01_s1_w1{guid}.tif", seed=len(step))
        write_tiff(tmp_path / f"TimePoint_1/{step}exp_A01_s1_w1_thumb{guid}.tif")
    (tmp_path / "exp.HTD").write_text('"HTSInfoFile", Version 1.0\n"WaveName1", "DAPI"\n"Waves", TRUE\n')
    channels = {"DNA": {"source": "dapi"}}
    with pytest.raises(InputError, match="images.plane.*projection"):
        index(tmp_path, channels, {"format": "imagexpress"})
    for plane, folder in (("projection", "TimePoint_1"), (2, "ZStep_2")):
        result = index(tmp_path, channels, {"format": "imagexpress", "plane": plane})
        assert [row["path"].split("/")[-2] for row in result.rows] == [folder]
    both = {"low": {"source": "w1@1"}, "high": {"source": "w1@2"}}
    assert places(index(tmp_path, both, {"format": "imagexpress"})) == [("A01", 1, "low"), ("A01", 1, "high")]
    with pytest.raises(InputError, match="images.plane is 7"):
        index(tmp_path, channels, {"format": "imagexpress", "plane": 7})


HARMONY = """<?xml version="1.0" encoding="utf-8"?>
<EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV6">{maps}<Images>{images}</Images></EvaluationInputData>"""


def harmony_image(row, column, field, plane, channel, name=""):
    file = f"r{row:02d}c{column:02d}f{field:02d}p{plane:02d}-ch{channel}sk1fk1fl1.tiff"
    named = f"<ChannelName>{name}</ChannelName>" if name else ""
    return file, (
        f'<Image Version="1"><id>1</id><URL>../../{file}</URL><Row>{row}</Row><Col>{column}</Col><FieldID>{field}'
        f"</FieldID><PlaneID>{plane}</PlaneID><TimepointID>0</TimepointID><ChannelID>{channel}</ChannelID>{named}</Image>"
    )


@pytest.mark.parametrize("version", [5, 6])
def test_harmony_index_names_channels_and_missing_files(tmp_path, write_tiff, version):
    listed = [harmony_image(2, 24, f, 1, c, "HOECHST 33342" if version == 5 else "") for f in (1, 2) for c in (1,)]
    for name, _ in listed[:1]:
        write_tiff(tmp_path / "Images" / name)
    maps = '<Maps><Map><Entry ChannelID="1"><ChannelName>HOECHST 33342</ChannelName></Entry></Map></Maps>'
    text = HARMONY.format(maps=maps if version == 6 else "", images="".join(text for _, text in listed))
    (tmp_path / "Images" / "Index.idx.xml").write_text(text)
    result = index(tmp_path, {"DNA": {"source": "Hoechst 33342"}}, {"format": "phenix"})
    assert places(result) == [("B24", 1, "DNA")]
    assert sites_lost(result) == {("B24", 2)} and "does not exist" in reasons(result)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x><Image><URL>&b;</URL></Image></x>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        "<x><Image>",
        "",
    ],
)
def test_hostile_and_broken_xml_is_refused(tmp_path, text):
    (tmp_path / "Index.xml").write_text(text)
    with pytest.raises(InputError, match="Index.xml"):
        index(tmp_path, {"DNA": {"source": "1"}}, {"format": "phenix"})


def test_cellvoyager_names_and_measurement_data(tmp_path, write_tiff):
    names = [f"X_B03_T0001F{site:03d}L01A01Z01C{channel:02d}.tif" for site in (1, 2) for channel in (1, 2)]
    for number, name in enumerate(names):
        write_tiff(tmp_path / name, seed=number)
    channels = {"DNA": {"source": "C1"}, "ER": {"source": "C02"}}
    by_name = index(tmp_path, channels, {"format": "cellvoyager"})
    assert places(by_name) == [("B03", 1, "DNA"), ("B03", 1, "ER"), ("B03", 2, "DNA"), ("B03", 2, "ER")]
    records = "".join(
        f'<bts:MeasurementRecord bts:Type="IMG" bts:Row="2" bts:Column="3" bts:FieldIndex="{site}" bts:TimePoint="1" '
        f'bts:ZIndex="1" bts:ActionIndex="1" bts:Ch="{channel}">{names[2 * site + channel - 3]}</bts:MeasurementRecord>'
        for site in (1, 2)
        for channel in (1, 2)
    )
    records += '<bts:MeasurementRecord bts:Type="ERR" bts:Row="2" bts:Column="3" bts:FieldIndex="3">no focus'
    records += "</bts:MeasurementRecord>"
    text = (
        f'<bts:MeasurementData xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0">{records}</bts:MeasurementData>'
    )
    (tmp_path / "MeasurementData.mlf").write_text(text)
    by_index = index(tmp_path, channels, {"format": "cellvoyager"})
    assert places(by_index) == places(by_name)
    assert "not taken (no focus)" in reasons(by_index) and sites_lost(by_index) == {("B03", 3)}


@pytest.mark.parametrize("form", ["paths", "urls"])
def test_load_data_of_the_gallery(tmp_path, write_tiff, form):
    folder = "/home/ubuntu/bucket/projects/cpg/images/P__2020-Measurement1/Images"
    for site in (1, 2):
        for channel in (1, 2):
            write_tiff(
                tmp_path / f"here/P__2020-Measurement1/Images/r01c01f0{site}-ch{channel}.tiff", seed=site * channel
            )
    if form == "paths":
        header = "FileName_OrigDNA,PathName_OrigDNA,FileName_OrigER,PathName_OrigER,"
        cells = "r01c01f0{s}-ch1.tiff,{f},r01c01f0{s}-ch2.tiff,{f}/,"
    else:
        header = "URL_OrigDNA,URL_OrigER,"
        cells = "s3://b{f}/r01c01f0{s}-ch1.tiff,s3://b{f}/r01c01f0{s}-ch2.tiff,"
    header += "FileName_IllumDNA,PathName_IllumDNA,Metadata_Plate,Metadata_Well,Metadata_Site\n"
    rows = [cells.format(s=site, f=folder) + f"IllumDNA.npy,/x,P,A1,{site}\n" for site in (1, 2)]
    rows.append(cells.format(s=1, f=folder) + "IllumDNA.npy,/x,Q,A1,1\n")
    (tmp_path / "load_data.csv").write_text(header + "".join(rows))
    channels = {"DNA": {"source": "OrigDNA"}, "ER": {}}
    options = {"format": "load_data", "root": str(tmp_path / "here")}
    for place in (tmp_path, tmp_path / "load_data.csv"):
        result = index(place, channels, options)
        assert places(result) == [("A01", 1, "DNA"), ("A01", 1, "ER"), ("A01", 2, "DNA"), ("A01", 2, "ER")]
        assert result.problems == []
    with pytest.raises(InputError, match="no rows of plate 'Z'"):
        index_plate("d", "b", "Z", str(tmp_path), channels, options)


def test_pages_of_an_ome_tiff_are_channels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 99, (2, 3, 8, 9)).astype(np.uint16)  # planes, channels
    metadata = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
    tifffile.imwrite(tmp_path / "A01_s1.ome.tif", pixels, metadata=metadata, photometric="minisblack")
    channels = {"DNA": {"source": "dapi"}, "far": {"source": "Cy5@1"}}
    images = {"format": "ome", "pattern": "{well}_s{site}.ome.tif", "plane": 2}
    result = index(tmp_path, channels, images)
    assert [(row["channel"], row["page"]) for row in result.rows] == [("DNA", 3), ("far", 2)]
    assert (read_image(result.rows[0]) == pixels[1, 0]).all() and (read_image(result.rows[1]) == pixels[0, 2]).all()


def test_plain_pages_are_named_in_the_config(tmp_path):
    for site, count in ((1, 2), (2, 3)):
        tifffile.imwrite(tmp_path / f"A01_s{site}.tif", np.zeros((count, 8, 9), np.uint16), photometric="minisblack")
    (tmp_path / "A01_s3.tif").write_bytes(b"")
    images = {"format": "ome", "pattern": "{well}_s{site}.tif", "pages": ["DNA", "ER"]}
    result = index(tmp_path, {"DNA": {}, "ER": {}}, images)
    assert [(row["site"], row["page"]) for row in result.rows] == [(1, 0), (1, 1)]
    assert sites_lost(result) == {("A01", 2), ("A01", 3)}
    assert "has 3 pages where images.pages names 2" in reasons(result)


def study(tmp_path, folder, **more):
    """Config of one dataset of one plate with a name that is hostile to paths."""
    (tmp_path / "plates.tsv").write_text(f"batch\tplate\timages\nb\tP 1/<x>\t{folder}\n")
    block = {"plates": str(tmp_path / "plates.tsv"), "channels": CHANNELS, "images": PATTERN, **more}
    return {"study": "s", "datasets": {"d": block}}


PIPELINE = {
    "pipeline": str(Path(__file__).resolve().parents[2] / "resources/pipelines/translocation.cppipe"),
    "images": {"OrigGFP": "ER"},
}
SMALL = {"features": {"cellprofiler": {**PIPELINE, "minutes_per_job": 1, "seconds_per_site": 30}}}  # 2 sites a batch


def snapshot(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def test_prepare_writes_manifests_once_and_rewrites_only_what_differs(plate, tmp_path, write_tiff):
    config, results = study(tmp_path, plate, **SMALL), tmp_path / "results"
    prepare(config, results, 1, str)
    folder = results / "d" / "index"
    own = folder / "P~201~2F~3Cx~3E"
    summary = geometry.read_summary(folder / "summary.json")
    assert summary[own.name]["sites"] == [2, 2] and summary[own.name]["plate"] == "P 1/<x>"
    assert (summary[own.name]["width"], summary[own.name]["height"]) == (48, 32)
    assert pq.read_table(own / "0002.parquet")["well"].to_pylist() == ["B02"] * 4
    before = snapshot(folder)
    for path in plate.iterdir():
        os.utime(path)  # touched, not changed
    prepare(config, results, 1, str)
    changed = {str(path) for path, time in snapshot(folder).items() if before[path] != time}
    assert all(path.startswith(".memory") for path in changed)
    before = snapshot(folder)
    write_tiff(plate / "b2_s1_w1.tif", seed=77)
    prepare(config, results, 1, str)
    changed = {path.name for path, time in snapshot(folder).items() if before[path] != time}
    assert changed - {f"{own.name}.parquet"} == {"0002.parquet"}


def test_a_mended_image_leaves_other_batches_alone(plate, tmp_path):
    good = (plate / "A01_s1_w1.tif").read_bytes()
    (plate / "A01_s1_w1.tif").write_bytes(b"")
    config, results = study(tmp_path, plate, **SMALL), tmp_path / "results"
    prepare(config, results, 1, str)
    own = results / "d" / "index" / "P~201~2F~3Cx~3E"
    assert geometry.read_summary(own.parent / "summary.json")[own.name]["sites"] == [1, 2]
    assert len(pq.read_table(own.with_name(f"{own.name}.ledger.parquet"))) == 2
    before = (own / "0002.parquet").stat().st_mtime_ns
    (plate / "A01_s1_w1.tif").write_bytes(good)
    prepare(config, results, 1, str)
    assert geometry.read_summary(own.parent / "summary.json")[own.name]["sites"] == [2, 2]
    assert len(pq.read_table(own.with_name(f"{own.name}.ledger.parquet"))) == 0
    assert (own / "0002.parquet").stat().st_mtime_ns == before


def test_plates_and_batches_that_are_no_more_leave_nothing_behind(plate, tmp_path):
    config, results = study(tmp_path, plate, **SMALL), tmp_path / "results"
    prepare(config, results, 1, str)
    for path in plate.glob("b2*"):
        path.unlink()
    prepare(config, results, 1, str)
    own = results / "d" / "index" / "P~201~2F~3Cx~3E"
    assert [path.name for path in own.iterdir()] == ["0001.parquet"]
    (tmp_path / "plates.tsv").write_text(f"batch\tplate\timages\nb\tP2\t{plate}\n")
    prepare(config, results, 1, str)
    kept = {path.name for path in own.parent.iterdir()}
    assert kept == {".memory", "P2", "P2.parquet", "P2.ledger.parquet", "summary.json"}


def test_batches_without_a_usable_site_are_left_out_but_their_losses_are_listed(plate, tmp_path):
    for path in plate.glob("A01*w1*"):
        path.unlink()
    config, results = study(tmp_path, plate, **SMALL), tmp_path / "results"
    prepare(config, results, 1, str)
    own = results / "d" / "index" / "P~201~2F~3Cx~3E"
    assert geometry.read_summary(own.parent / "summary.json")[own.name]["sites"] == [2]
    ledger = pq.read_table(own.with_name(f"{own.name}.ledger.parquet")).to_pylist()
    assert {(row["well"], row["site"], row["unit"]) for row in ledger} == {("A01", "1", "site"), ("A01", "2", "site")}


def test_all_plates_that_cannot_be_indexed_are_named(plate, tmp_path):
    config, results = study(tmp_path, plate), tmp_path / "results"
    (tmp_path / "plates.tsv").write_text(f"plate\timages\nP1\t{plate}\nP2\t{tmp_path}/no\nP3\t{tmp_path}/neither\n")
    with pytest.raises(InputError, match="(?s)2 plate.*P2|2 plate.*no.*neither"):
        prepare(config, results, 2, str)
    assert (results / "d" / "index" / "P1.parquet").exists()


def test_declared_sites_that_are_absent_are_lost(plate):
    result = index(plate, only=[("A01", 1), ("C03", 1)], shape=(48, 32))
    assert {(well, site) for well, site, _ in places(result)} == {("A01", 1)}
    assert sites_lost(result) == {("C03", 1)} and "no images" in reasons(result)


def test_split_keeps_every_site_for_the_ledger(plate):
    (plate / "b2_s2_w1.tif").unlink()
    result = index(plate)
    batches = split(result, lambda sites, size: [[site] for site in sites], 1)
    assert sorted(site for batch in batches for site in batch) == result.sites and len(batches) == 3


def test_images_beyond_the_declared_geometry_are_listed_once(plate):
    declared = [("A01", 1), ("A01", 2)]
    result = index(plate, only=declared, declared=declared)
    assert places(result) == [("A01", site, channel) for site in (1, 2) for channel in ("DNA", "ER")]
    assert "2 sites of plate P lie beyond the declared geometry, B02 site 1 the first" in reasons(result)
    assert result.ledger(set(declared), first=True).num_rows == 1
    assert result.ledger(set(declared), first=False).num_rows == 0


def test_an_image_replaced_under_the_same_size_and_time_is_seen_when_it_is_looked_at_anew(plate, tmp_path):
    memory = tmp_path / "memory.parquet"
    before = index(plate, memory=memory).rows
    path = plate / "A01_s2_w1.tif"
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert index(plate, memory=memory).rows == before
    assert index(plate, memory=memory, again={("B02", 2)}).rows == before
    after = index(plate, memory=memory, again={("A01", 2)}).rows
    changed = [(row["well"], row["site"], row["channel"]) for row, old in zip(after, before, strict=True) if row != old]
    assert changed == [("A01", 2, "DNA")]
    assert index(plate, memory=memory).rows == after
