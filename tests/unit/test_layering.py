"""A stage of the library imports from earlier stages and the core only."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "lib" / "phenoloom"
ORDER = [
    "core",
    "simulate",
    "ingest",
    "quality",
    "illumination",
    "cellprofiler",
    "cells",
    "cytometry",
    "crops",
    "profiles",
    "metric_learning",
    "tensors",
    "networks",
    "training",
    "models",
    "cell_sets",
    "embedding",
    "evaluation",
    "report",
    "slurm",
    "record",
    "planning",
    "running",
]
#: How sites are cut into batches, what a pipeline asks for, what is evaluated, and rates of work: known before images
#: are indexed.
AHEAD = {
    ("ingest", "phenoloom.cellprofiler.batches"),
    ("ingest", "phenoloom.cellprofiler.pipeline"),
    ("ingest", "phenoloom.evaluation.plan"),
    ("ingest", "phenoloom.profiles.chain"),
    ("ingest", "phenoloom.planning"),
    ("ingest", "phenoloom.illumination.frozen"),
    ("ingest", "phenoloom.cytometry.preflight"),
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("stage", ORDER)
def test_a_stage_looks_back_only(stage):
    later = ORDER[ORDER.index(stage) + 1 :]
    found = [
        f"{path.relative_to(LIBRARY)}: {name}"
        for path in sorted((LIBRARY / stage).rglob("*.py"))
        for name in imports(path)
        if name.split(".")[0] == "phenoloom"
        and len(name.split(".")) > 2
        and name.split(".")[1] in [*later, "config"]
        and not any(stage == who and name.startswith(what) for who, what in AHEAD)
    ]
    assert found == []


def test_the_library_knows_no_snakemake_and_loads_no_pickles():
    for path in sorted(LIBRARY.rglob("*.py")):
        text = path.read_text()
        assert "import snakemake" not in text, path
        assert "allow_pickle=True" not in text and "pickle.load" not in text, path
        assert "shell=True" not in text, path


def test_every_stage_is_listed():
    folders = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*ORDER, "config", "commands"}
