"""Code fingerprints: a line of library code changes them, a comment or a docstring does not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(ROOT / "workflow" / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "script.py").write_text('"""Doc."""\nfrom phenoloom.core.ledger import Ledger\nprint(Ledger)\n')
    (tmp_path / "pins").write_text("numpy==2\n# comment\n")
    return tmp_path


def fingerprint(checkout):
    code = "from phenoloom.core.code import fingerprint; print(fingerprint('script.py', ['pins']))"
    environment = {"PYTHONPATH": str(checkout / "lib"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_comments_and_docstrings_do_not_count(checkout):
    before = fingerprint(checkout)
    edit(checkout / "script.py", '"""Doc."""', '"""Another."""\n# why')
    edit(checkout / "lib/phenoloom/core/ledger.py", '"""The failure ledger', '"""Ledger')
    edit(checkout / "pins", "# comment", "# another")
    assert fingerprint(checkout) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("script.py", "print(Ledger)", "print(1)"),
        ("lib/phenoloom/core/ledger.py", '"lost", "flagged"', '"lost", "kept"'),
        ("lib/phenoloom/core/files.py", "0o666", "0o600"),  # imported by tables, which ledger imports
        ("pins", "numpy==2", "numpy==3"),
    ],
)
def test_code_and_pins_count(checkout, file, old, new):
    before = fingerprint(checkout)
    edit(checkout / file, old, new)
    assert fingerprint(checkout) != before


def test_modules_that_are_not_imported_do_not_count(checkout):
    before = fingerprint(checkout)
    edit(checkout / "lib/phenoloom/core/wells.py", "1536: (32, 48)", "1536: (1, 1)")
    assert fingerprint(checkout) == before
