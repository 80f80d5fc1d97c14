"""What a run makes of broken images, wells and plates, and what `retry` makes of them once they are mended."""

import html
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import finished_study
from finished_study import CONFIG, ROOT, command, config, write_config
from phenoloom.core.tables import read_table
from phenoloom.record.events import read_runs

pytestmark = finished_study.needs_cellprofiler

RESULTS = "results/tiny"
CHANNELS = ("DNA", "AGP", "Mito")
#: A coverage that a broken plate reaches.
HALF = 0.5
#: Rules that join plates: what a plate that comes or goes may run again.
JOINED = {"layout", "dataset_summary", "figure_plate_heatmaps", "figure_illumination", "figure_montage", "profile"}
JOINED |= {"figure_umap", "evaluate", "evaluation_table", "figure_evaluation", "ledger", "run_times"}
JOINED |= {"figure_run_times", "report", "all"}
#: What changes where nothing but the joined ledger and the config do.
WRITTEN = {"ledger", "run_times", "figure_run_times", "report", "all"}


def with_config(folder, coverage=0.8, **of_screen):
    """Write the config with a coverage, and with more keys of its dataset."""
    content = {**config(), "coverage": coverage}
    content["datasets"]["screen"].update(of_screen)
    write_config(folder, content)


def damage(folder):
    """Three bad images (cut off, empty, no image) in three wells, and a fourth well under a name that no plate has."""
    one, two = folder / "images/one", folder / "images/two"
    cut = (one / "A02_s1_DNA.tif").read_bytes()
    (one / "A02_s1_DNA.tif").write_bytes(cut[: len(cut) // 2])
    (one / "B02_s1_AGP.tif").write_bytes(b"")
    (two / "A01_s1_Mito.tif").write_text("this is a text")
    for channel in CHANNELS:
        (two / f"B01_s1_{channel}.tif").rename(two / f"Z99_s1_{channel}.tif")


def mend(folder, clean):
    """Bring the images as they should be, with the time stamps that they had, as a careful copy does."""
    shutil.rmtree(folder / "images")
    shutil.copytree(clean / "images", folder / "images")


def run(folder, name="run", results=RESULTS, **options):
    """Run or retry a study; what it printed, its ledger, and the jobs that it ran."""
    said = command(folder, "phenoloom", name, f"{Path(results).name}.yaml", "all", "--cores", "2", **options)
    jobs = {
        (job["rule"], *(job["wildcards"].get(key) for key in ("plate", "batch") if key in job["wildcards"]))
        for job in read_runs(folder / results)[-1].jobs.values()
    }
    return SimpleNamespace(folder=folder, said=said, jobs=jobs, ledger=losses(folder / results))


def losses(results):
    """[(plate, well, unit, stage, reason)] of everything lost."""
    rows = read_table(results / "ledger.parquet").fillna("")
    rows = rows[rows["severity"] == "lost"]
    return rows[["plate", "well", "unit", "stage", "reason"]].to_numpy().tolist()


def dry_run(folder, *arguments):
    """(rule, plate or None) of the jobs that a dry run of Snakemake lists, from its events."""
    events = folder / "events.jsonl"
    command(folder, "snakemake", "--dry-run", *arguments, "--configfile", CONFIG, PHENOLOOM_EVENTS=str(events))
    found = [json.loads(line) for line in events.read_text().splitlines()]
    return {(one["rule"], one["wildcards"].get("plate")) for one in found if one["event"] == "job"}


def assert_same_results(found, due, dataset="screen"):
    """All tables hold the same values, all functions and measurements the same bytes; run times differ, and the time
    stamps that frozen.json remembers.

    found, due: results of the study.
    """
    names = ["ledger.parquet", "evaluation.parquet"]
    for folder in (dataset, "evaluation"):
        names += [path.relative_to(due) for path in sorted((due / folder).rglob("*.*"))]
    assert {".parquet", ".npy", ".h5", ".jsonl"} <= {path.suffix for path in map(Path, names)}
    for name in map(Path, names):
        mine, other = found / name, due / name
        if name.suffix == ".parquet":
            tables = [pq.read_table(path).to_pandas() for path in (mine, other)]
            pd.testing.assert_frame_equal(*tables, check_exact=True, obj=str(name))
        elif name.suffix in (".npy", ".h5", ".jsonl", ".json") and name.name != "frozen.json":
            assert mine.read_bytes() == other.read_bytes(), name


# ---------------------------------------------------------------- broken, mended, and a node that was slow


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A study with bad images and a bad well, after a run."""
    folder = tmp_path_factory.mktemp("broken") / "work"
    folder.mkdir()
    finished_study.make(folder)
    with_config(folder, HALF)
    damage(folder)
    return run(folder)


@pytest.fixture(scope="module")
def mended(broken, finished):
    """The same folder after its images were mended, and a retry during which one batch ran on a slow node."""
    mend(broken.folder, finished)
    return run(broken.folder, "retry", programs=slow_node(broken.folder, "cellprofiler/two/0002.h5"))


@pytest.fixture(scope="module")
def whole(mended):
    """The same folder after another retry."""
    return run(mended.folder, "retry")


def slow_node(folder, output):
    """Folder with a CellProfiler that is given no time for the sites of one batch."""
    real = shutil.which("phenoloom-cellprofiler", path=f"{sys.prefix}/bin") or shutil.which("phenoloom-cellprofiler")
    programs = folder / "slow"
    programs.mkdir()
    launcher = programs / "phenoloom-cellprofiler"
    launcher.write_text(
        f"""#!{sys.executable}
import json, os, sys
given = sys.argv[1:]
if any(argument.endswith({output!r}) for argument in given):
    place = given.index("--options") + 1
    given[place] = json.dumps({{**json.loads(given[place]), "seconds_limit": 0.001}})
os.execv({real!r}, [{real!r}, *given])
"""
    )
    launcher.chmod(0o755)
    return programs


def test_a_broken_study_ends_with_a_report_and_a_ledger_of_exactly_what_is_broken(broken):
    assert (broken.folder / RESULTS / "report.html").is_file()
    lost = {(plate, well, unit): (stage, reason) for plate, well, unit, stage, reason in broken.ledger}
    assert len(lost) == len(broken.ledger)
    images = {key[:2]: reason for key, (stage, reason) in lost.items() if key[2] == "image" and stage == "index"}
    assert images.keys() == {("one", "A02"), ("one", "B02"), ("two", "A01")}
    due = ("A02_s1_DNA.tif is cut off", "is empty (0 bytes)", "not a readable TIFF")
    assert all(words in images[place] for place, words in zip(sorted(images), due, strict=True))
    assert {key[:2] for key in lost if key[2] == "site"} == images.keys()
    wells = {key[:2]: reason for key, (stage, reason) in lost.items() if key[2] == "well"}
    assert wells.pop(("two", "Z99")).endswith("is not in the layout; add it to the plate map to keep it")
    assert wells.keys() == images.keys() | {("two", "B01")}
    assert all("has no usable images" in reason for reason in wells.values())
    assert {key[2] for key in lost} == {"image", "site", "well"}


def test_the_end_of_the_run_and_the_report_of_a_broken_study_tell_of_its_losses(broken):
    assert "Lost, as its ledger says: 5 wells, 3 sites, 3 images. `make retry` tries again" in broken.said
    page = (broken.folder / RESULTS / "report.html").read_text(encoding="utf-8")
    for words in ("A02_s1_DNA.tif is cut off", "has no usable images", "Z99", "2 plates"):
        assert words in page


@pytest.mark.slow
def test_retry_says_what_it_looks_at_and_finds_mended(mended):
    assert "looked at again: 3 sites or images that the index of screen lacks" in mended.said
    assert "screen: 0 of 3 are still lost" in mended.said
    assert {("quality", "one"), ("quality", "two"), ("illumination_screen", "one")} <= mended.jobs


@pytest.mark.slow
def test_a_site_that_a_slow_node_lost_is_the_only_loss_of_a_mended_study(mended):
    sites = [row for row in mended.ledger if row[2] == "site"]
    assert {(plate, stage) for plate, _, _, stage, _ in sites} == {("two", "cellprofiler")}
    assert all("hung for more than 0.001 s" in reason for *_, reason in sites)
    others = [row for row in mended.ledger if row[2] != "site"]
    assert all("gave features; the rows of its sites say why" in reason for *_, reason in others)
    assert {row[:2] for row in map(tuple, others)} == {row[:2] for row in map(tuple, sites)}


@pytest.mark.slow
def test_retry_runs_the_batch_of_a_lost_site_and_what_follows_and_nothing_else(whole):
    assert "run again, with what follows: 1 job of cellprofiler\n  screen two 0002:" in whole.said
    measured = [job for job in whole.jobs if job[0] == "cellprofiler"]
    assert measured == [("cellprofiler", "two", "0002")]
    assert {job[1] for job in whole.jobs if len(job) > 1} == {"two"}
    assert not {"quality", "illumination_screen", "figure_illumination", "layout"} & {job[0] for job in whole.jobs}


@pytest.mark.slow
def test_a_mended_and_retried_study_equals_a_clean_run(whole, finished):
    assert whole.ledger == [] and "Lost" not in whole.said
    assert_same_results(whole.folder / RESULTS, finished / RESULTS)


@pytest.mark.slow
def test_a_study_without_losses_has_nothing_to_retry(whole):
    said = command(whole.folder, "phenoloom", "retry", CONFIG, "all", "--cores", "2", "--dry-run")
    assert "The ledger of tiny names nothing to retry: this is an ordinary run." in said
    assert "Nothing to be done" in said


# ---------------------------------------------------------------- a plate that is left out


@pytest.fixture(scope="module")
def without(finished, tmp_path_factory):
    """A copy of the finished study of which all images of plate two were lost, run without that plate."""
    folder = tmp_path_factory.mktemp("without") / "work"
    shutil.copytree(finished, folder, symlinks=True)
    for path in (folder / "images/two").iterdir():
        path.write_bytes(b"")
    with_config(folder)
    with pytest.raises(AssertionError, match="1 plate cannot be indexed:(.|\n)*plate two(.|\n)*exclude_plates"):
        command(folder, "phenoloom", "run", CONFIG, "all", "--cores", "2")
    with_config(folder, exclude_plates=["two"])
    return run(folder)


def test_a_plate_left_out_is_listed_and_only_what_joins_plates_runs(without):
    assert without.ledger == [["two", "", "plate", "index", "left out by exclude_plates in the study's config"]]
    assert {job[0] for job in without.jobs} == JOINED
    page = (without.folder / RESULTS / "report.html").read_text(encoding="utf-8")
    assert html.escape("screen: 1 plate left out by the study's config (two).") in page.replace("&#39;", "&#x27;")
    wells = read_table(without.folder / RESULTS / "screen/profiles/cellprofiler/raw/wells.parquet")
    assert set(wells["Metadata_Plate"]) == {"one"}


def test_a_plate_that_comes_back_runs_what_joins_plates_again(without, finished):
    mend(without.folder, finished)
    with_config(without.folder)
    command(without.folder, "phenoloom", "prepare", CONFIG)
    assert {rule for rule, _ in dry_run(without.folder)} == JOINED


# ---------------------------------------------------------------- frozen illumination


def freeze(folder):
    """Freeze the functions of a study; the keys that declare them."""
    said = command(folder, "phenoloom", "freeze", CONFIG, "frozen")
    line = next(line for line in said.splitlines() if "functions:" in line)
    pattern = line.split(": ", 1)[1].strip('"')
    assert pattern == "frozen/screen/{plate}/{channel}.npy"
    return {"illumination": {**config()["datasets"]["screen"]["illumination"], "functions": pattern}}


@pytest.fixture(scope="module")
def frozen(finished, tmp_path_factory):
    """A copy of the finished study whose own functions are frozen, before any run."""
    folder = tmp_path_factory.mktemp("frozen") / "work"
    shutil.copytree(finished, folder, symlinks=True)
    with_config(folder, **freeze(folder))
    command(folder, "phenoloom", "prepare", CONFIG)
    return folder


def test_freezing_the_functions_of_a_finished_run_measures_nothing_again(frozen):
    assert {rule for rule, _ in dry_run(frozen)} <= WRITTEN


def test_changed_images_leave_frozen_functions_alone(frozen, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(frozen, folder, symlinks=True)
    image = folder / "images/two/B02_s1_DNA.tif"
    image.write_bytes((folder / "images/two/B02_s1_AGP.tif").read_bytes())
    command(folder, "phenoloom", "prepare", CONFIG)
    jobs = dry_run(folder)
    assert {("quality", "two"), ("cellprofiler", "two"), ("cells", "two")} <= jobs
    assert not {"illumination_screen", "figure_illumination"} & {rule for rule, _ in jobs}
    assert {plate for _, plate in jobs} <= {"two", None}


def test_other_functions_measure_again_and_unfreezing_estimates_again(frozen, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(frozen, folder, symlinks=True)
    path = folder / "frozen/screen/two/DNA.npy"
    np.save(path, np.load(path) * np.float32(1.1))
    assert "1 declared illumination function put in place" in command(folder, "phenoloom", "prepare", CONFIG)
    jobs = dry_run(folder)
    assert ("cellprofiler", "two") in jobs and ("cellprofiler", "one") not in jobs
    with_config(folder)
    with pytest.raises(AssertionError, match="are declared anew: `make prepare"):
        dry_run(folder)
    assert "1 declared illumination function taken away" in command(folder, "phenoloom", "prepare", CONFIG)
    jobs = dry_run(folder)
    assert ("illumination_screen", "two") in jobs and ("illumination_screen", "one") not in jobs


@pytest.mark.slow
def test_a_mended_study_with_frozen_functions_equals_a_clean_run_with_the_same(finished, tmp_path):
    folder, clean = tmp_path / "work", tmp_path / "clean"
    for place in (folder, clean):
        place.mkdir()
        finished_study.make(place)
    with_config(folder, HALF)
    damage(folder)
    run(folder)
    keys = freeze(folder)
    estimated = np.load(finished / RESULTS / "screen/illumination/two/DNA.npy")
    assert (np.load(folder / "frozen/screen/two/DNA.npy") != estimated).any()
    shutil.copytree(folder / "frozen", clean / "frozen")
    for place in (folder, clean):
        with_config(place, HALF, **keys)
    mend(folder, clean)
    retried, fresh = run(folder, "retry"), run(clean)
    assert not {job for job in retried.jobs | fresh.jobs if job[0] == "illumination_screen"}
    assert retried.ledger == fresh.ledger == []
    assert_same_results(folder / RESULTS, clean / RESULTS)


# ---------------------------------------------------------------- a real plate


@pytest.fixture(scope="module")
def plate(shared_data, tmp_path_factory):
    """Return make(name): a folder with the public plate BBBC013 and its study."""

    def make(name):
        folder = tmp_path_factory.mktemp(name)
        for part in ("config", "resources", "profiles", "workflow"):
            (folder / part).symlink_to(ROOT / part)
        shutil.copytree(shared_data("bbbc013") / "images", folder / "data/bbbc013")
        content = yaml.safe_load((ROOT / "config/studies/bbbc013.yaml").read_text(encoding="utf-8"))
        del content["datasets"]["plate"]["download"]
        (folder / "bbbc013.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return folder

    return make


@pytest.mark.slow
def test_a_broken_copy_of_a_real_plate_ends_with_a_report_and_mended_it_equals_a_clean_run(plate):
    results = "results/bbbc013"
    folder, clean = plate("broken"), plate("clean")
    images = folder / "data/bbbc013"
    cut = (images / "Channel2-05-A-05.tif").read_bytes()
    (images / "Channel2-05-A-05.tif").write_bytes(cut[: len(cut) // 2])
    (images / "Channel1-17-B-05.tif").write_bytes(b"")
    (images / "Channel2-90-H-06.tif").write_text("this is a text")
    for channel in (1, 2):
        (images / f"Channel{channel}-30-C-06.tif").rename(images / f"Channel{channel}-30-Z-99.tif")

    broken = run(folder, results=results, timeout=7200)
    assert (folder / results / "report.html").is_file()
    bad, lost = {"A05", "B05", "H06"}, {}
    for _, well, unit, stage, reason in broken.ledger:
        lost.setdefault(unit, []).append((well, stage, reason))
    assert (
        sorted(well for well, stage, _ in lost["image"] if stage == "index")
        == sorted(bad)
        == sorted(well for well, _, _ in lost["image"])
    )
    assert sorted(well for well, _, _ in lost["site"]) == sorted(bad)
    assert {well for well, _, _ in lost["well"]} == bad | {"C06", "Z99"}
    assert [reason for well, _, reason in lost["well"] if well == "Z99"] == [
        "well Z99 of plate BBBC013 is not in the layout; add it to the plate map to keep it"
    ]

    mended = plate("mended")
    shutil.rmtree(images)
    shutil.move(mended / "data/bbbc013", images)
    retried, fresh = (run(place, name, results, timeout=7200) for place, name in ((folder, "retry"), (clean, "run")))
    assert not {"image", "site", "well"} & {unit for _, _, unit, _, _ in retried.ledger}
    assert retried.ledger == fresh.ledger
    assert_same_results(folder / results, clean / results, "plate")
