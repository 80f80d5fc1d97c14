"""What reruns after a change: a table of changes x stages, from dry runs of copies of a study that ran once."""

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import tifffile
import yaml

import finished_study
from finished_study import CONFIG, LATER, PLATES, command, config, write_config, write_plates

pytestmark = finished_study.needs_cellprofiler

# ---------------------------------------------------------------- stages, each with all that follows from it

REPORT = {"report", "all"}
SCORED = REPORT | {"evaluation_table", "figure_evaluation", "ledger", "run_times", "figure_run_times"}
EVALUATED = SCORED | {"evaluate"}
PROFILED = EVALUATED | {"profile", "figure_umap"}
AGGREGATED = PROFILED | {"aggregate", "dataset_summary", "figure_plate_heatmaps"}
CELLS = AGGREGATED | {"cells"}
MEASURED = CELLS | {"cellprofiler", "figure_montage"}
ILLUMINATED = MEASURED | {"illumination_screen", "figure_illumination"}
QUALITY = ILLUMINATED | {"quality"}

#: Layout of the whole study: for the counts and the montage. The wells of a plate take their own map.
LAID_OUT = AGGREGATED | {"layout", "figure_montage"}

# ---------------------------------------------------------------- changes


def option(*path, value):
    """Change one option of the config: a path of keys and list positions, and what comes there."""

    def change(folder):
        content = config()
        block = content
        for key in path[:-1]:
            block = block.setdefault(key, {}) if isinstance(block, dict) else block[key]
        assert block.get(path[-1]) != value
        block[path[-1]] = value
        write_config(folder, content)

    return change


def edit(path, old, new):
    """Replace text in a file; it must be there once, so that an edit cannot miss without a word."""

    def change(folder):
        text = (folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")

    return change


def append(path, text):
    """Add text at the end of a file."""

    def change(folder):
        with open(folder / path, "a", encoding="utf-8") as file:
            file.write(text)

    return change


def touch(*paths):
    """Renew the time stamps of files, and only these."""

    def change(folder):
        for path in paths:
            os.utime(folder / path)

    return change


def both(*changes):
    """Several changes at once."""

    def change(folder):
        for one in changes:
            one(folder)

    return change


def other_pixels(folder):
    """Mend one image of plate two: another one under the same name."""
    path = folder / "images/two/B02_s1_AGP.tif"
    tifffile.imwrite(path, tifffile.imread(path)[::-1], photometric="minisblack", metadata=None)


def plates(*names):
    """Another table of plates."""
    return lambda folder: write_plates(folder, names)


def turned_around(folder):
    """The same options in another order; names that a study gives (channels, chains, evaluations) keep theirs."""
    path = folder / CONFIG
    path.write_text(yaml.safe_dump(_reversed(config()), sort_keys=False), encoding="utf-8")


def _reversed(block, name=None):
    if isinstance(block, list):
        return [_reversed(item) for item in block]
    if not isinstance(block, dict):
        return block
    keys = list(block) if name in ("channels", "profiles", "evaluation") else list(reversed(block))
    return {key: _reversed(block[key], key) for key in keys}


SCREEN = ("datasets", "screen")
CELLPROFILER = (*SCREEN, "features", "cellprofiler")
LIBRARY = "workflow/lib/phenoloom"
PIPELINE = "resources/pipelines/cytoskeleton.cppipe"
#: A line of code that does nothing, and one that is none.
CODE, COMMENT = "\nUNUSED = 1\n", "\n# why it is so\n"

#: Name of a change: (the change, the rules that run, and the wildcards to which their jobs are limited).
CHANGES = {
    # options
    "an option of illumination": (option(*SCREEN, "illumination", "downsample", value=4), ILLUMINATED, {}),
    "an option of quality": (option(*SCREEN, "quality", "exclude", value="flagged"), QUALITY, {}),
    "an option of cellprofiler": (option(*CELLPROFILER, "seconds_limit", value=99), MEASURED, {}),
    "longer jobs of the same sites": (option(*CELLPROFILER, "minutes_per_job", value=1.1), REPORT, {}),
    "a filter of cells": (option(*SCREEN, "cells", "minimum_per_well", value=3), CELLS, {}),
    "the aggregation of a chain": (
        option("profiles", "raw", 0, "aggregate", "operation", value="mean"),
        AGGREGATED,
        {"profile": "raw"},
    ),
    "a later step of a chain": (
        option("profiles", "default", 1, "normalize", "method", value="mad_robustize"),
        PROFILED,
        {"profile": "default"},
    ),
    "an option of an evaluation": (
        option("evaluation", "replicates", "null_size", value=200),
        EVALUATED,
        {"evaluation": "replicates"},
    ),
    "an evaluation less": (
        option("evaluation", value={"replicates": config()["evaluation"]["replicates"]}),
        SCORED,
        {},
    ),
    "the seed": (option("seed", value=2), EVALUATED | {"figure_umap"}, {}),
    "the title of the report": (option("report", "title", value="Another"), REPORT, {}),
    "an option of the montage": (option("report", "montage", "per", value=1), REPORT | {"figure_montage"}, {}),
    "a default written out": (option(*SCREEN, "quality", "exclude", value="none"), set(), {}),
    "the order of the options": (turned_around, set(), {}),
    # tables
    "a row of a plate map": (edit("two.tsv", "taxol", "nocodazole"), LAID_OUT, {"plate": "two"}),
    "a table of annotations": (edit("annotations.tsv", "PI3K", "mTOR"), LAID_OUT, {}),
    "a plate added": (plates(*PLATES, LATER), QUALITY | LAID_OUT, {"plate": LATER}),
    "a plate removed": (plates("one"), QUALITY | LAID_OUT, {"plate": "none"}),
    "another map for a plate": (
        edit("plates.tsv", "two\timages/two\ttwo.tsv", "two\timages/two\tone.tsv"),
        LAID_OUT,
        {"plate": "two"},
    ),
    # images and pipelines
    "one image": (other_pixels, QUALITY, {"plate": "two"}),
    "a setting of the pipeline": (edit(PIPELINE, "(Min,Max):15,90", "(Min,Max):15,91"), MEASURED, {}),
    "touched inputs": (
        touch("images/two/B02_s1_AGP.tif", "one.tsv", "plates.tsv", "annotations.tsv", PIPELINE, CONFIG),
        set(),
        {},
    ),
    # code
    "code that all stages share": (
        append(f"{LIBRARY}/core/tables.py", CODE),
        QUALITY | LAID_OUT | {"comparison"},
        {},
    ),
    "code of illumination": (append(f"{LIBRARY}/illumination/estimation.py", CODE), ILLUMINATED, {}),
    "code of profiles": (append(f"{LIBRARY}/profiles/scaling.py", CODE), AGGREGATED, {}),
    "code of the report page": (append(f"{LIBRARY}/report/assembly.py", CODE), REPORT, {}),
    "code of one figure": (append(f"{LIBRARY}/report/embedding.py", CODE), REPORT | {"figure_umap"}, {}),
    "code of a rule's script": (append("workflow/scripts/evaluate.py", CODE), EVALUATED, {}),
    "comments of library and scripts": (
        both(
            append(f"{LIBRARY}/core/tables.py", COMMENT),
            append(f"{LIBRARY}/illumination/estimation.py", COMMENT),
            edit(f"{LIBRARY}/profiles/scaling.py", "with pycytominer's scalers", "by the scalers of pycytominer"),
            append("workflow/scripts/cellprofiler.py", COMMENT),
            append("workflow/scripts/evaluate.py", COMMENT),
            append("workflow/rules/profiles.smk", COMMENT),
        ),
        set(),
        {},
    ),
    "documents": (both(append("README.md", "More.\n"), append("docs/explanation/design.md", "More.\n")), set(), {}),
    # environments
    "a pin of profiles": (append("workflow/envs/profiles.yaml", "  - zlib=1.3.1\n"), CELLS | {"comparison"}, {}),
    "a pin of cellprofiler": (append("workflow/envs/cellprofiler-py39.txt", "zlib==1\n"), MEASURED, {}),
    "a comment on the pins": (append("workflow/envs/profiles.yaml", "# why\n"), set(), {}),
}

# ---------------------------------------------------------------- dry runs


def jobs(output):
    """{(rule, its wildcards as a sorted tuple of pairs)} of the jobs that a dry run lists."""
    found = set()
    for block in re.split(r"^(?=(?:local)?rule )", output, flags=re.M)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block)[1]
        given = re.search(r"^    wildcards: (.*)$", block, flags=re.M)
        pairs = [part.split("=", 1) for part in given[1].split(", ")] if given else []
        found.add((rule, tuple(sorted(map(tuple, pairs)))))
    return found


def dry_run(folder, *arguments):
    """Jobs that Snakemake would run in the folder of a study, with the profile that it finds there."""
    return jobs(command(folder, "snakemake", "--dry-run", *arguments, "--configfile", CONFIG))


def after(change, finished, folder):
    """Jobs that run in a copy of the finished study after a change."""
    shutil.copytree(finished, folder, symlinks=True)
    change(folder)
    command(folder, "phenoloom", "prepare", CONFIG, "--threads", "1")
    return dry_run(folder)


@pytest.fixture(scope="module")
def everything(finished):
    """All jobs of the study."""
    return dry_run(finished, "--forceall")


@pytest.fixture(scope="module")
def dry_runs(finished, request, tmp_path_factory):
    """{name of a change: future of the jobs that it reruns}; two at once, for each starts Snakemake afresh."""
    chosen = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(after, change, finished, tmp_path_factory.mktemp("changed") / "work")
            for name, (change, *_) in CHANGES.items()
            if name in chosen
        }


def named_like(jobs, plate, other):
    """The same jobs with one plate in the place of another."""
    return {
        (rule, tuple((key, other if (key, value) == ("plate", plate) else value) for key, value in wildcards))
        for rule, wildcards in jobs
    }


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_reruns_exactly_what_depends_on_it(dry_runs, everything, name):
    _, rules, limits = CHANGES[name]
    known = named_like(everything, PLATES[-1], LATER) if limits.get("plate") == LATER else everything
    expected = {
        (rule, wildcards)
        for rule, wildcards in known
        if rule in rules and all(limits.get(key, value) == value for key, value in wildcards)
    }
    assert rules <= {rule for rule, _ in known}
    found = dry_runs[name].result()
    wrong = {"run and should not": sorted(found - expected), "should run and do not": sorted(expected - found)}
    assert not any(wrong.values()), wrong
