"""What of a study's results its RO-Crate lists: final tables, drawings, the record file by file, all else by folder."""

import json
from dataclasses import dataclass
from pathlib import Path

#: What is listed file by file, and what each is. `{}` stands for the datasets.
FILES = {
    "report.html": "The report: every figure and table on one page",
    "evaluation.parquet": "Every score of the study",
    "evaluation.csv": "Every score of the study",
    "comparison.parquet": "Differences between profiles, unit by unit",
    "comparison.csv": "Differences between profiles, unit by unit",
    "ledger.parquet": "Everything that could not be used or is odd, where and why",
    "run_times.parquet": "Time and memory of all jobs up to the evaluation",
    "evaluation/*/*/*/*.parquet": "What lies behind a score",
    "{}/layout.parquet": "Wells of all plate maps",
    "{}/summary/*.parquet": "Counts of what was laid out, imaged, kept and measured",
    "{}/profiles/*/*/*.parquet": "Profiles, and what was dropped on the way to them",
    "{}/profiles/*/*/tvn.npz": "What a typical variation normalisation was fitted to",
    "{}/profiles/*/*/deep_sets/*": "A network that makes wells of cells: weights, card, log, and which wells taught it",
    "{}/cell_profiles/*/*/*": "Profile of single cells: the embedding of each, what was fitted, what was left out",
    "{}/anndata/*.h5ad": "Single cells as AnnData: features, metadata, embedding, map and clusters of every profile",
    "figures/**/*.svg": "Figure",
    "provenance/config.yaml": "The study's config as resolved, all defaults filled in",
    "provenance/versions.json": "Versions of the software, digests of the pinned environments",
    "provenance/code.json": "Fingerprint of the code of each rule, and the state of the workflow's repository",
    "provenance/benchmarks.tsv": "What Snakemake measured of each job",
    "provenance/jobs.tsv": "The jobs of all runs: when they ran, what they had, how they ended",
    "provenance/failures.tsv": "The jobs that failed in the last run, and why",
    "provenance/code/LICENSE": "Licence of the workflow",
}
#: What is listed by folder only: it may hold a hundred thousand files.
FOLDERS = {
    "{}/profiles/*/*/cell_sets": "Single cells of each plate as a network that makes wells of them reads them",
    "{}/images": "Simulated images, one folder per plate and batch of sites",
    "{}/index": "Index of all images, with the size and digest of each file",
    "{}/manifests": "Files of all samples of single events, with the size and digest of each",
    "{}/events": "Single events that can be used: metadata, labels and the instrument's measurements, per sample",
    "{}/stacks": "Images of single events, one stack per sample",
    "{}/quality": "Quality measures and flags of images and sites, per plate",
    "{}/illumination": "Illumination functions, per plate and channel",
    "{}/cellprofiler": "CellProfiler's measurements, per plate and batch of sites",
    "{}/representations": "Tables of features of single cells, or as they entered",
    "figures": "All figures: drawings and the table behind each",
    "logs": "Log of each job",
    "benchmarks": "Snakemake's benchmark table of each job",
    "provenance/runs": "The events of each run, one JSON object per line",
    "provenance/code": "The workflow as it was when the last run ended",
}
#: Of one pattern so many files are listed; more are left to the folder's description.
MOST = 300


@dataclass(frozen=True)
class Part:
    """A file or folder of the results by its path there, and what it is."""

    path: str
    name: str
    description: str
    folder: bool = False


def parts(results, datasets):
    """The Parts of a study's results that are there."""
    results, titles = Path(results), _titles(Path(results) / "figures")
    found = []
    for pattern, what in _spread(FILES, datasets):
        paths = sorted(path.relative_to(results).as_posix() for path in results.glob(pattern) if path.is_file())
        paths = [path for path in paths if not Path(path).name.startswith(".")]
        if len(paths) <= MOST:
            found += [Part(path, titles.get(path, path), what) for path in paths]
        elif "/" in pattern:
            top = pattern.split("/*")[0]
            found.append(Part(top, top, f"{what}: {len(paths):,} files that are not listed one by one", folder=True))
    known = {part.path for part in found}
    found += [
        Part(path, path, what, folder=True)
        for path, what in _spread(FOLDERS, datasets)
        if (results / path).is_dir() and path not in known
    ]
    return found


def _spread(table, datasets):
    for pattern, what in table.items():
        names = datasets if pattern.startswith("{}") else [""]
        yield from ((pattern.replace("{}", name), what) for name in names)


def _titles(folder):
    """Titles of the drawings by their paths in the results, from the lists that lie beside them."""
    found = {}
    for path in folder.rglob("figures.json"):
        where = path.parent.relative_to(folder.parent).as_posix()
        for figure in json.loads(path.read_text(encoding="utf-8")).get("figures", []):
            found[f"{where}/{figure['name']}.svg"] = figure.get("title") or figure["name"]
    return found
