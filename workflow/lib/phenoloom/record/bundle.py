"""The folder `provenance/` of a study: config, versions, code, benchmarks and jobs, as they were when a run ended."""

import contextlib
import hashlib
import json
import platform
import re
from importlib import metadata
from pathlib import Path

import yaml

import phenoloom
from phenoloom.core.code import LIBRARY
from phenoloom.core.files import write_if_changed
from phenoloom.record import git, jobs

#: The checkout: what a run is made by.
ROOT = LIBRARY.parents[1]
#: What is kept of it, folders with all that is in them.
SOURCES = ("Snakefile", "LICENSE", "workflow", "resources")


def write(results, config, codes, runs, root=ROOT):
    """Write all files of the folder, each only where it differs; return the versions and the state of git.

    config: the study's config as resolved. codes: fingerprint of each rule, {rule: digest}. runs: all Runs of the
    study, the last one being that which ends. root: the checkout.
    """
    folder, benchmarks = Path(results) / "provenance", jobs.read_benchmarks(f"{results}/benchmarks")
    text = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=120)
    write_if_changed(folder / "config.yaml", text.encode())
    found, state = versions(root), git.state(root)
    write_if_changed(folder / "versions.json", _json(found))
    known = {rule: code for rule, code in codes.items() if isinstance(code, str)}  # the targets by name have none
    write_if_changed(folder / "code.json", _json({"rules": known, "git": state}))
    ran = jobs.rows_of_jobs(runs, benchmarks)
    measured = jobs.rows_of_benchmarks(runs, benchmarks, list(config["datasets"]))
    write_if_changed(folder / "jobs.tsv", jobs.table(ran, jobs.JOB_COLUMNS))
    write_if_changed(folder / "benchmarks.tsv", jobs.table(measured, jobs.BENCHMARK_COLUMNS))
    copy_code(root, folder / "code")
    return found, state


def versions(root=ROOT):
    """Versions of what runs the head: phenoloom, Python, the machine, every package; digests of all pinned files."""
    packages = {found.metadata["Name"]: found.version for found in metadata.distributions()}
    return {
        "phenoloom": phenoloom.__version__,
        "snakemake": packages.get("snakemake"),
        "python": platform.python_version(),
        "cellprofiler": _pinned(root, "cellprofiler-py39.txt", "cellprofiler"),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "environments": {path.name: digest(path) for path in pinned_files(root)},
        "installed": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def pinned_files(root=ROOT):
    """The files that pin the environments."""
    return sorted(path for path in (Path(root) / "workflow" / "envs").iterdir() if path.suffix in (".txt", ".yaml"))


def _pinned(root, file, package):
    text = (Path(root) / "workflow" / "envs" / file).read_text(encoding="utf-8")
    return re.search(rf"^{package}==(\S+)", text, re.M | re.I)[1]


def digest(path):
    """Hexadecimal SHA-256 of a file, as other tools give it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_code(root, folder):
    """Make a folder hold the workflow as it is now, changes that no commit has included."""
    root, folder = Path(root), Path(folder)
    kept = {path.relative_to(root): path for source in SOURCES for path in _files(root / source)}
    for name, path in kept.items():
        write_if_changed(folder / name, path.read_bytes())
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):  # it holds something
                path.rmdir()
        elif path.relative_to(folder) not in kept:
            path.unlink()


def _files(path):
    if path.is_file():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file())
    return [file for file in found if "__pycache__" not in file.parts and not file.name.startswith(".")]


def _plain(value):
    """A config as plain dicts, lists and scalars, whatever classes it came in."""
    return json.loads(json.dumps(value, default=str))


def _json(value):
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
