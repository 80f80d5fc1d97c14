"""The documents: links resolve, examples are valid studies, commands and files that they name exist."""

import re
from pathlib import Path

import pytest
import yaml

from phenoloom.config.loading import complete
from phenoloom.config.schema import study_schema
from phenoloom.core.ledger import SCHEMA
from phenoloom.evaluation.evaluate import METRICS
from phenoloom.evaluation.results import COLUMNS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

#: Made by `make demo`, or by the reader who follows a page.
MADE = {"config/studies/mine", "config/studies/mine.yaml", "config/studies/trial.yaml"}


@pytest.fixture(params=PAGES, ids=NAMES)
def page(request):
    return request.param


def anchors(text):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_blocks(text):
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def studies():
    """(page, YAML text) of every fenced block that is a whole study."""
    for page, text in TEXTS.items():
        for block in re.findall(r"^```yaml\n(.*?)^```", text, flags=re.M | re.S):
            if re.search(r"^study:", block, flags=re.M):
                yield pytest.param(block, id=f"{page.stem}-{yaml.safe_load(block)['study']}")


def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(TEXTS[page])):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.is_file(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), f"{target} names no heading"


def test_every_page_can_be_reached_from_the_readme():
    waiting, seen = [ROOT / "README.md"], set()
    while waiting:
        page = waiting.pop()
        if page in seen or page not in TEXTS:
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", TEXTS[page])
        waiting += [(page.parent / link).resolve() for link in links]
    assert seen == set(PAGES)


@pytest.mark.parametrize("block", studies())
def test_examples_are_valid_studies(block):
    assert complete(yaml.safe_load(block))["datasets"]


def test_there_is_an_example_of_every_image_format():
    formats = {
        dataset["images"]["format"]
        for block in (yaml.safe_load(param.values[0]) for param in studies())
        for dataset in block["datasets"].values()
        if "images" in dataset
    }
    schema = study_schema()["properties"]["datasets"]["additionalProperties"]["properties"]["images"]
    assert formats == set(schema["properties"]["format"]["enum"])


def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    code = re.findall(r"`([^`\n]+)`", TEXTS[page]) + re.findall(r"^```sh\n(.*?)^```", TEXTS[page], flags=re.M | re.S)
    named = set(re.findall(r"\bmake (?:-s )?([a-z][a-z-]*)", "\n".join(code)))
    assert named <= known


def test_files_that_are_named_exist(page):
    named = re.findall(
        r"(?<![\w/.{])((?:workflow|config|resources|tests|benchmarks|profiles)/[\w./-]*[\w])", TEXTS[page]
    )
    missing = {name for name in named if not (ROOT / name).exists() and not any(made in name for made in MADE)}
    assert not missing


def test_targets_that_are_named_exist():
    snakefile = (ROOT / "Snakefile").read_text(encoding="utf-8")
    rules = snakefile + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    table = TEXTS[ROOT / "docs/reference/commands.md"].split("## Targets")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, flags=re.M)
    assert len(named) >= 8
    assert all(re.search(rf"^rule {name}:", rules, flags=re.M) for name in named)


def test_the_page_of_evaluations_has_every_metric_and_column():
    text = TEXTS[ROOT / "docs/reference/evaluations.md"]
    headings = set(re.split(r"[\s,]+", " ".join(re.findall(r"^## (.+)$", text, flags=re.M))))
    assert set(METRICS) <= headings
    summary = text.split("## Summary columns")[1].split("\n## ")[0]
    assert all(f"`{name}`" in summary for name in COLUMNS)


def test_the_page_of_tables_has_every_column_of_the_ledger():
    section = TEXTS[ROOT / "docs/reference/tables.md"].split("## Ledger")[1].split("\n## ")[0]
    assert all(f"`{name}`" in section for name in SCHEMA.names)


def test_environment_variables_are_the_ones_that_the_code_reads():
    folders = [ROOT / "workflow", ROOT / "tests"]
    files = [path for folder in folders for path in folder.rglob("*.py") if path != Path(__file__).resolve()]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    read = set(re.findall(r"environ(?:\.get\(|\[)\"(PHENOLOOM_\w+)\"", code))
    table = TEXTS[ROOT / "docs/reference/commands.md"].split("## Environment variables")[1]
    assert set(re.findall(r"`(PHENOLOOM_\w+)`", table)) == read
