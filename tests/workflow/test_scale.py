"""What keeps large studies quick to resolve: few inputs, no jobs for what is indexed already, tables read once."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import yaml

from phenoloom.config.loading import read_config
from phenoloom.config.study import Study
from phenoloom.ingest import geometry
from phenoloom.ingest.prepare import prepare

PIPELINE = Path(__file__).resolve().parents[2] / "resources/pipelines/translocation.cppipe"
WELLS = ("A01", "A02", "A03", "A04")


def write_study(folder, sites_per_job=1, wells=WELLS):
    """Write a study of two plates with a declared geometry and no images; return its config's path."""
    (folder / "map.tsv").write_text("well\tperturbation\tcontrol\nA01\tDMSO\tnegative\n")
    rows = "".join(f"b\t{plate}\timages/{plate}\tmap.tsv\n" for plate in ("one", "two"))
    (folder / "plates.tsv").write_text("batch\tplate\timages\tplatemap\n" + rows)
    pipeline = {"pipeline": str(PIPELINE), "seconds_per_site": 60, "minutes_per_job": sites_per_job}
    dataset = {
        "plates": "plates.tsv",
        "channels": {"DNA": {}, "GFP": {}},
        "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
        "geometry": {"wells": list(wells), "sites": 1, "width": 64, "height": 48},
        "features": {"cellprofiler": pipeline},
    }
    config = {"study": "wide", "datasets": {"screen": dataset}, "evaluation": {"nsc": {"metric": "nsc"}}}
    (folder / "wide.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder / "wide.yaml"


def write_images(folder, wells=WELLS):
    """Write one site of two channels for each well of both plates."""
    generator = np.random.default_rng(1)
    for plate in ("one", "two"):
        (folder / "images" / plate).mkdir(parents=True)
        for well in wells:
            for channel in ("DNA", "GFP"):
                pixels = generator.integers(0, 4096, (48, 64), np.uint16)
                tifffile.imwrite(folder / f"images/{plate}/{well}_s1_{channel}.tif", pixels)


def dry_run(snakemake, folder, *options):
    """[(rule, number of inputs)] of the jobs of a dry run."""
    done = snakemake(folder, *options, "--dry-run", "--configfile", "wide.yaml")
    blocks = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", done.stdout + done.stderr, flags=re.M)
    assert blocks
    lines = [(rule, re.search(r"^    input: (.*)$", block, flags=re.M)) for rule, block in blocks]
    return [(rule, len(line[1].split(", ")) if line else 0) for rule, line in lines]


def test_jobs_of_the_whole_study_do_not_take_files_of_every_batch(snakemake, tmp_path):
    found = []
    for name, size in (("few", 4), ("many", 1)):
        (tmp_path / name).mkdir()
        write_study(tmp_path / name, size)
        found.append(dry_run(snakemake, tmp_path / name))
    few, many = found
    assert Counter(rule for rule, _ in few)["cellprofiler"] == 2
    assert Counter(rule for rule, _ in many)["cellprofiler"] == 8
    # The montage shows masks, which lie in the batches of the few plates that it draws from.
    wide = {rule for rule, number in Counter(rule for rule, _ in few).items() if number == 1} - {"figure_montage"}
    assert {"ledger", "dataset_summary", "report", "profile"} <= wide
    assert {rule: number for rule, number in few if rule in wide} == {
        rule: number for rule, number in many if rule in wide
    }


def test_what_prepare_indexed_needs_no_jobs(snakemake, tmp_path, monkeypatch):
    write_study(tmp_path)
    write_images(tmp_path)
    rules = Counter(rule for rule, _ in dry_run(snakemake, tmp_path))
    assert rules["index"] == 8 and rules["plate_index"] == 2
    monkeypatch.chdir(tmp_path)
    prepare(read_config("wide.yaml"), "results/wide", threads=1, say=str)
    prepared = Counter(rule for rule, _ in dry_run(snakemake, tmp_path, "--forceall"))
    assert prepared == rules - Counter(index=8, plate_index=2)


@pytest.fixture(scope="module")
def indexed_twice(snakemake, tmp_path_factory):
    """Folders of results whose images were indexed by jobs and by `prepare`; one image of plate two is empty."""
    folders = {}
    for how in ("jobs", "prepare"):
        folder = tmp_path_factory.mktemp(how)
        write_study(folder)
        write_images(folder)
        (folder / "images/two/A02_s1_GFP.tif").write_bytes(b"")
        folders[how] = folder / "results/wide/screen/index"
        if how == "jobs":
            files = [f"results/wide/screen/index/{plate}.ledger.parquet" for plate in ("one", "two")]
            snakemake(folder, *files, "--configfile", "wide.yaml")
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                prepare(read_config("wide.yaml"), "results/wide", threads=1, say=str)
    return folders


@pytest.mark.parametrize("file", ["one.parquet", "one.ledger.parquet", "two.parquet", "two.ledger.parquet"])
def test_jobs_and_prepare_index_alike(indexed_twice, file):
    assert (indexed_twice["jobs"] / file).read_bytes() == (indexed_twice["prepare"] / file).read_bytes()


def test_the_ledger_of_a_plate_has_what_its_batches_lost(indexed_twice):
    lost = pq.read_table(indexed_twice["prepare"] / "two.ledger.parquet").to_pylist()
    assert [(row["well"], row["unit"]) for row in lost] == [("A02", "image"), ("A02", "site")]
    assert pq.read_metadata(indexed_twice["prepare"] / "one.ledger.parquet").num_rows == 0


def test_images_beyond_the_geometry_count_once_however_many_batches_there_are(snakemake, tmp_path):
    write_study(tmp_path, wells=WELLS[:2])
    write_images(tmp_path)
    folder = "results/wide/screen/index"
    snakemake(tmp_path, f"{folder}/one.ledger.parquet", "--configfile", "wide.yaml")
    assert pq.read_metadata(tmp_path / folder / "one.parquet").num_rows == 4
    (row,) = pq.read_table(tmp_path / folder / "one.ledger.parquet").to_pylist()
    assert row["count"] == 2 and "lie beyond the declared geometry" in row["reason"]


def ask_for_every_job(study):
    """Ask a study what the rules ask it for each of their jobs; returns the number of batches."""
    asked = 0
    for plate in study.plates("screen"):
        for batch in study.batches("screen", plate):
            study.plate_row("screen", plate)
            study.n_sites("screen", plate, batch)
            study.batch_size("screen")
            study.seconds_per_site("screen")
            study.image_shape("screen")
            asked += 1
    return asked


@pytest.mark.parametrize("indexed", [True, False])
def test_files_are_read_once_however_many_jobs_ask(tmp_path, monkeypatch, indexed):
    path = write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    if indexed:
        write_images(tmp_path)
        prepare(read_config(path), "results/wide", threads=1, say=str)
    reads = Counter()

    def counted(name):
        function = getattr(geometry, name)

        def count(*arguments, **options):
            reads[name] += 1
            return function(*arguments, **options)

        return count

    for name in ("read_plates", "read_summary", "sites", "batch_size"):
        monkeypatch.setattr(geometry, name, counted(name))
    assert ask_for_every_job(Study(read_config(path), "results/wide")) == 8
    assert reads == Counter(read_plates=1, read_summary=1, batch_size=1) + Counter(sites=int(not indexed))
