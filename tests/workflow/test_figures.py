"""Figures come from tables alone: deleted and asked for again, they are drawn again and nothing else, byte by byte."""

import re
import shutil

import pytest

import finished_study
from finished_study import CONFIG, command
from phenoloom.core.files import digest_file

pytestmark = [*finished_study.needs_cellprofiler, pytest.mark.slow]

FIGURES = "results/tiny/figures"


def digests(folder):
    """{path of a figure, its data or list: digest of its content}."""
    return {
        str(path.relative_to(folder)): digest_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def stamps(folder):
    """{path of any other file of the results: when it was written}; what every run records of itself aside."""
    aside = {"figures", "logs", "benchmarks", "provenance", "ro-crate-metadata.json"}
    results = folder / "results/tiny"
    return {
        path: path.stat().st_mtime_ns
        for path in results.rglob("*")
        if path.is_file() and path.relative_to(results).parts[0] not in aside
    }


@pytest.fixture(scope="module")
def drawn_again(finished, tmp_path_factory):
    """(folder, output): a copy of the finished study whose figures were deleted and asked for by the target `figures`.

    Words are hashed in another way, so that no order of a set can hide.
    """
    folder = tmp_path_factory.mktemp("figures") / "work"
    shutil.copytree(finished, folder, symlinks=True)
    shutil.rmtree(folder / FIGURES)
    before = stamps(folder)
    output = command(folder, "phenoloom", "run", CONFIG, "figures", "--cores", "2", PYTHONHASHSEED="7")
    assert stamps(folder) == before
    return folder, output


def test_only_figures_are_drawn(drawn_again):
    rules = set(re.findall(r"^(?:local)?rule (\w+):", drawn_again[1], flags=re.M))
    assert rules == {
        "figures",
        "figure_plate_heatmaps",
        "figure_illumination",
        "figure_montage",
        "figure_umap",
        "figure_evaluation",
        "figure_run_times",
    }


def test_every_figure_and_its_data_have_the_same_bytes(finished, drawn_again):
    first, second = digests(finished / FIGURES), digests(drawn_again[0] / FIGURES)
    assert {path.rsplit(".", 1)[-1] for path in first} == {"svg", "png", "parquet", "json"}
    assert second == first


def test_the_report_shows_no_figure_that_the_target_lacks(finished, drawn_again):
    page = (finished / "results/tiny/report.html").read_text(encoding="utf-8")
    shown = set(re.findall(r"figures/[\w/-]+/[\w-]+(?=[\"< ])", page))
    drawn = digests(drawn_again[0] / FIGURES)
    assert shown == {f"figures/{path.removesuffix('.svg')}" for path in drawn if path.endswith(".svg")}


def test_asked_again_nothing_is_drawn(drawn_again):
    again = command(drawn_again[0], "snakemake", "figures", "--dry-run", "--configfile", CONFIG)
    assert "Nothing to be done" in again
