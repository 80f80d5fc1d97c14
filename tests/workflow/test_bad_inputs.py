"""A study with every defect that labs send, run for real: one clear sentence for each, and the rest goes on."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import broken_study
from broken_study import CLEAN, COMPOUND, DIRTY, LOST, MAP, PLATES, UNCONTROLLED
from phenoloom.core.ledger import Ledger
from phenoloom.core.names import encode
from phenoloom.core.tables import read_table, stream_table
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.profiling import profile

ROOT = Path(__file__).resolve().parents[2]

needs_cellprofiler = [
    pytest.mark.cellprofiler,
    pytest.mark.skipif(
        shutil.which("phenoloom-cellprofiler", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None,
        reason="the CellProfiler environment is not built (make env)",
    ),
]


def phenoloom(folder, *arguments, before=None):
    """Run `python -m phenoloom` in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/lib")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [sys.executable, "-m", "phenoloom", *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=before,
    )


def outside(folder):
    """Every file beside a folder, with its content's length."""
    return {
        path.relative_to(folder.parent): path.stat().st_size
        for path in folder.parent.rglob("*")
        if folder not in path.parents and path.is_file()
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The broken study's inputs, with a home folder beside it that nothing may touch."""
    folder = tmp_path_factory.mktemp("bad") / "work"
    (folder.parent / "home").mkdir()
    (folder.parent / "home/keep").write_text("mine")
    folder.mkdir()
    broken_study.make(folder)
    (folder / "resources").symlink_to(ROOT / "resources")
    return folder


@pytest.fixture(scope="module")
def scratch_home(study):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(study.parent / "home"))
        patch.setenv("XDG_CACHE_HOME", str(study / ".cache"))
        yield


# ---------------------------------------------------------------- the run on the broken study


@pytest.fixture(scope="module")
def broken(snakemake, study, scratch_home):
    """The folder after a whole run."""
    before = outside(study)
    inputs = sorted(path.name for path in (study / "images").rglob("*"))
    done = phenoloom(study, "prepare", "broken.yaml")
    assert done.returncode == 0, done.stderr
    snakemake(study, "--configfile", "broken.yaml")
    assert outside(study) == before
    assert sorted(path.name for path in (study / "images").rglob("*")) == inputs
    assert not list(study.rglob("pwned"))
    return study


@pytest.fixture(scope="module")
def ledger(broken):
    return read_table(broken / "results/broken/ledger.parquet").fillna({"site": "", "well": "", "plate": ""})


def wells_of(folder, chain):
    return read_table(folder / f"results/broken/screen/profiles/cellprofiler/{chain}/wells.parquet")


def sites_measured(folder, plate):
    table = f"results/broken/screen/representations/cellprofiler/cells/{encode(PLATES[plate])}.images.parquet"
    frame = read_table(folder / table)
    return set(zip(frame["Metadata_Well"], frame["Metadata_Site"], strict=True))


@needs_cellprofiler[0]
@needs_cellprofiler[1]
class TestRun:
    @pytest.mark.parametrize(("well", "site"), LOST)
    def test_each_bad_image_is_one_row_that_names_file_and_reason(self, ledger, well, site):
        rows = ledger[(ledger["well"] == well) & (ledger["site"] == str(site)) & (ledger["severity"] == "lost")]
        own = rows[rows["stage"].isin(["index", "quality"])]
        assert (own["unit"] == "site").sum() == 1
        images = own[own["unit"] == "image"]["reason"].tolist()
        reasons = images or own["reason"].tolist()
        assert all(LOST[well, site] in reason for reason in reasons), reasons
        assert all(reason.count("copy it again") <= 1 for reason in reasons)
        if (well, site) != ("B04", 2):  # whose file is not there
            assert len(images) == (2 if (well, site) == ("C01", 1) else 1)
            assert all(f"{well}_s" in reason for reason in images)
        assert (rows["plate"] == PLATES["dirty"]).all()

    def test_the_same_image_twice_is_listed_and_used(self, ledger, broken):
        rows = ledger[(ledger["well"] == "C02") & ledger["reason"].str.contains("the same image is there 2 times")]
        assert rows["severity"].tolist() == ["flagged"]
        assert ("C02", 1) in sites_measured(broken, "dirty")

    @pytest.mark.parametrize(
        ("well", "words"),
        [
            ("D01", "has no usable images"),
            ("D04", "has no cells"),
            ("D02", "is not in the layout; add it to the plate map"),
        ],
    )
    def test_wells_without_profile_are_listed_once_with_the_reason(self, ledger, well, words):
        rows = ledger[(ledger["well"] == well) & (ledger["unit"] == "well")]
        assert len(rows) == 1 and words in rows["reason"].iloc[0] and rows["severity"].iloc[0] == "lost"

    def test_black_images_and_missing_sites_are_flagged(self, ledger):
        flagged = ledger[ledger["severity"] == "flagged"]
        black = flagged[flagged["reason"].str.startswith("constant")]
        assert set(zip(black["well"], black["site"], strict=True)) == {("D03", "1"), ("D04", "1"), ("D04", "2")}
        assert flagged.loc[flagged["reason"].str.contains("where most wells have"), "well"].tolist() == ["E01"]

    def test_sites_in_are_sites_with_features_and_sites_in_the_ledger(self, ledger, broken):
        due = {(well, site) for well in DIRTY for site in (1, 2)} - {("E01", 2)}
        measured = sites_measured(broken, "dirty")
        rows = ledger[(ledger["unit"] == "site") & (ledger["severity"] == "lost")]
        lost = set(zip(rows["well"], rows["site"].astype(int), strict=True))
        assert lost == set(LOST)
        assert measured | lost == due and not measured & lost
        assert sites_measured(broken, "clean") == {(well, 1) for well in CLEAN}
        assert sites_measured(broken, "uncontrolled") == {(well, 1) for well in UNCONTROLLED}

    def test_every_other_well_has_a_profile(self, broken):
        wells = wells_of(broken, "raw")
        found = wells.groupby("Metadata_Plate")["Metadata_Well"].apply(list)
        assert found[PLATES["dirty"]] == [well for well in MAP if well not in ("D01", "D04")]
        assert found[PLATES["clean"]] == CLEAN
        assert found[PLATES["uncontrolled"]] == UNCONTROLLED

    def test_a_well_of_one_cell_has_a_profile(self, broken):
        one = wells_of(broken, "raw").query("Metadata_Well == 'E01'").iloc[0]
        assert one["Metadata_Count_Cells"] == 1
        assert one["Nuclei_AreaShape_Area"] > 100

    def test_names_come_through_as_they_were_given(self, broken):
        dirty = wells_of(broken, "raw").query("Metadata_Plate == @PLATES['dirty']").set_index("Metadata_Well")
        given = {well: name.strip() for well, (name, _) in MAP.items()}
        assert dirty["Metadata_Perturbation"].to_dict() == {well: given[well] for well in dirty.index}

    def test_a_plate_without_controls_is_listed_and_the_others_go_on(self, broken, ledger):
        rows = ledger[ledger["reason"].str.contains("Metadata_Control == 'negative'", regex=False)]
        assert rows["plate"].tolist() == [PLATES["uncontrolled"]]
        assert rows["count"].tolist() == [len(UNCONTROLLED)]
        assert set(wells_of(broken, "default")["Metadata_Plate"]) == {PLATES["dirty"], PLATES["clean"]}

    def test_names_act_nowhere_in_the_report(self, broken):
        page = (broken / "results/broken/report.html").read_text(encoding="utf-8")
        assert "rm -rf ~ #&lt;script&gt;" in page
        for name in ("#<script>", "<img src=x", "alert(1)</script>", "b<1>"):
            assert name not in page, name
        for path in (broken / "results/broken/figures").rglob("*.svg"):
            text = path.read_text(encoding="utf-8")
            assert "<script" not in text and "<img" not in text

    def test_nothing_is_left_half_written(self, broken):
        hidden = [
            path for path in (broken / "results").rglob(".*") if path.name not in (".memory", ".snakemake_timestamp")
        ]
        assert hidden == []

    def test_a_second_run_has_nothing_to_do(self, snakemake, broken, scratch_home):
        phenoloom(broken, "prepare", "broken.yaml")
        done = snakemake(broken, "--configfile", "broken.yaml", "--dry-run")
        assert "Nothing to be done" in done.stdout + done.stderr


# ---------------------------------------------------------------- said before anything runs


def test_preflight_lists_everything_at_once(study, scratch_home):
    done = phenoloom(study, "run", "broken.yaml", "preflight")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    for (well, site), word in LOST.items():
        if (well, site) != ("E03", 1):  # headers are read, and this one is sound
            assert any(f"{well} site {site}" in line and word in line for line in lines), (well, site)
    for words in (
        "the same image is there 2 times",
        "images: D01",
        "plate map: D02",
        "where most wells have 2",
        f"error   screen/{PLATES['uncontrolled']}: the plate map has no negative control",
    ):
        assert sum(words in line for line in lines) == 1, words
    assert sum(line.startswith("error ") for line in lines) == 1


def variant(study, tmp_path, change=lambda config: None, **files):
    """A copy of the study with the images linked, its config changed, files rewritten; returns the folder."""
    folder = tmp_path / "variant"
    folder.mkdir()
    for path in study.iterdir():
        if path.name in ("images", "resources"):
            (folder / path.name).symlink_to(path)
        elif path.is_file():
            shutil.copy(path, folder)
    config = broken_study.config()
    change(config)
    (folder / "broken.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def said(done):
    """The one sentence of a command that failed."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_a_well_twice_stops_the_run_before_anything_is_computed(study, tmp_path, scratch_home):
    text = "well\tperturbation\tcontrol\na01\tDMSO\tnegative\nA1\tx\t\nb02\ty\t\nB02\tz\t\n"
    folder = variant(study, tmp_path, clean__tsv=text)
    sentence = said(phenoloom(folder, "run", "broken.yaml", "all", "--cores", "1"))
    assert "clean.tsv lists the well A01, B02 more than once; keep one line per well" in sentence
    assert not (folder / "results").exists()
    assert "lists the well A01, B02" in phenoloom(folder, "run", "broken.yaml", "preflight").stdout


def _rename_key(config):
    config["datasets"]["screen"]["ilumination"] = config["datasets"]["screen"].pop("illumination")


def _no_plates(config):
    config["datasets"]["screen"]["plates"] = "none.tsv"


def _no_pipeline(config):
    config["datasets"]["screen"]["features"]["cellprofiler"]["pipeline"] = "none.cppipe"


def _lacking_channel(config):
    config["datasets"]["screen"]["features"]["cellprofiler"]["pipeline"] = "resources/pipelines/cell_painting.cppipe"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_rename_key, "unknown key 'ilumination'; did you mean 'illumination'"),
        (_no_plates, "none.tsv does not exist; check 'plates' in the study's config"),
        (_no_pipeline, "none.cppipe does not exist"),
        (_lacking_channel, "asks for the image OrigER, and no channel of the study (DNA, GFP) stands for it"),
    ],
)
def test_a_wrong_config_is_said_before_anything_runs(snakemake, study, tmp_path, scratch_home, change, words):
    folder = variant(study, tmp_path, change)
    checked = phenoloom(folder, "run", "broken.yaml", "preflight")
    assert checked.returncode == 1 and words in checked.stdout + checked.stderr
    done = phenoloom(folder, "run", "broken.yaml", "all", "--cores", "1")
    text = done.stdout + done.stderr
    assert done.returncode != 0 and words in text and "Traceback" not in text
    assert not (folder / "results/broken/screen").exists()


def test_snakemake_itself_says_what_a_pipeline_lacks_before_any_job(snakemake, study, tmp_path, scratch_home):
    folder = variant(study, tmp_path)
    assert phenoloom(folder, "prepare", "broken.yaml").returncode == 0
    config = broken_study.config()
    _lacking_channel(config)
    (folder / "broken.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = snakemake(folder, "--configfile", "broken.yaml", check=False)
    assert done.returncode != 0
    assert "asks for the image OrigER, and no channel of the study" in done.stdout + done.stderr
    assert not list(folder.glob("results/broken/logs/**/*.log"))


def test_a_config_that_is_no_yaml_is_one_sentence(study, tmp_path, scratch_home):
    folder = variant(study, tmp_path, broken__yaml="study: [unclosed\n")
    assert "broken.yaml" in said(phenoloom(folder, "prepare", "broken.yaml"))


# ---------------------------------------------------------------- coverage, full disk


@pytest.fixture(scope="module")
def half(study, tmp_path_factory):
    """Two small plates of the study; most images of one are cut off. Returns (folder, path of a cells table)."""
    folder = variant(study, tmp_path_factory.mktemp("half"), lambda config: config.update(coverage=0.8))
    (folder / "images").unlink()
    for name in ("clean", "uncontrolled"):
        shutil.copytree(study / "images" / name, folder / "images" / name)
    for well in CLEAN[:5]:
        with open(folder / f"images/clean/{well}_s1_DNA.tif", "r+b") as file:
            file.truncate(4000)
    lines = (study / "plates.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "plates.tsv").write_text("".join([lines[0], *lines[2:]]), encoding="utf-8")
    assert phenoloom(folder, "prepare", "broken.yaml").returncode == 0
    return folder, f"results/broken/screen/representations/cellprofiler/cells/{encode(PLATES['uncontrolled'])}.parquet"


@needs_cellprofiler[0]
@needs_cellprofiler[1]
def test_a_plate_of_low_coverage_fails_with_the_reasons_and_the_others_go_on(snakemake, half, scratch_home):
    folder, cells = half
    done = snakemake(folder, "features", "--keep-going", "--configfile", "broken.yaml", check=False)
    assert done.returncode != 0
    words = f"only 3 of 8 sites of plate {PLATES['clean']} gave features, less than the coverage of 0.8; "
    words += "most frequent reasons: "
    words += "site left out: no usable image of DNA (5 sites)"
    log = folder / f"results/broken/logs/screen/cells/{encode(PLATES['clean'])}.log"
    assert log.read_text(encoding="utf-8").count(words) == 1
    assert words in done.stdout + done.stderr
    assert len(read_table(folder / cells)) > 50
    assert not (folder / cells).with_name(f"{encode(PLATES['clean'])}.parquet").exists()


@needs_cellprofiler[0]
@needs_cellprofiler[1]
def test_a_full_disk_fails_a_job_and_leaves_nothing_behind(snakemake, half, scratch_home):
    """A limit on the size of files stands for the disk; the table is larger, logs and ledgers are smaller."""
    folder, cells = half
    snakemake(folder, cells, "--configfile", "broken.yaml")
    size = (folder / cells).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        done = snakemake(folder, cells, "--forcerun", "cells", "--configfile", "broken.yaml", check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.returncode != 0
    assert f"{cells} cannot be written (File too large); make room" in done.stdout + done.stderr
    assert not (folder / cells).exists()
    assert not list((folder / cells).parent.glob(".*"))
    snakemake(folder, cells, "--configfile", "broken.yaml")
    assert (folder / cells).stat().st_size == size


def test_a_full_disk_while_indexing_is_one_sentence(study, tmp_path, scratch_home):
    folder = variant(study, tmp_path)
    done = phenoloom(
        folder, "prepare", "broken.yaml", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    )
    assert "cannot be written (File too large); make room and give the same command again" in said(done)
    assert not [path for path in folder.rglob(".*") if path.is_file()]
    assert not list(folder.rglob("summary.json"))


def test_a_table_in_pieces_leaves_nothing_on_a_full_disk(tmp_path):
    piece = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 200))).add_prefix("Cells_F_")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"), stream_table(tmp_path / "cells.parquet") as write:
            for _ in range(5):
                write(piece)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- features


def test_a_feature_without_any_value_is_dropped_with_its_reason():
    wells = pd.DataFrame(
        {
            "Metadata_Plate": "p",
            "Metadata_Well": ["A01", "A02", "A03"],
            "Metadata_Perturbation": [COMPOUND, "b", "c"],
            "Cells_Sound": [1.0, 2.0, 4.0],
            "Cells_Nothing": np.nan,
        }
    )
    dropped = Dropped()
    profiles, _ = profile([wells], [], Ledger("profile"), dropped)
    assert "Cells_Nothing" not in profiles and "Cells_Sound" in profiles
    rows = dropped.frame().query("name == 'Cells_Nothing'")
    assert len(rows) == 1 and rows["kind"].iloc[0] == "feature" and "no" in rows["reason"].iloc[0]
