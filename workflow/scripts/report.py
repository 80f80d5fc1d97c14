"""Rule report: all figures and tables of the study -> one self-contained HTML page."""

import json
import platform
from pathlib import Path

import pyarrow.parquet as pq

from phenoloom.core.files import write_text
from phenoloom.core.job import job
from phenoloom.core.provenance import read_origin, versions
from phenoloom.core.tables import feature_columns, read_table
from phenoloom.metric_learning.splits import ALL, TEST, TRAIN
from phenoloom.profiles.similarities import is_similarity
from phenoloom.report.aggregation import aggregation_view
from phenoloom.report.assembly import CellDataset, Dataset, page
from phenoloom.report.contents import environment_pins, version_rows
from phenoloom.report.models import card_rows
from phenoloom.report.page import section, slug
from phenoloom.report.relevance import relevance_view

#: Whose versions the report lists even if no table recorded them.
PROGRAMS = ("snakemake", "numpy", "pandas", "pyarrow", "scipy", "scikit-image", "scikit-learn", "umap-learn")
PROGRAMS += ("matplotlib", "pycytominer", "copairs", "tifffile", "jinja2")


def main(snakemake):
    with job(snakemake):
        given, config = snakemake.input, snakemake.params.config
        profiles = [tuple(Path(path).parts[-5:][index] for index in (0, 2, 3)) for path in given.wells]
        dropped = {key: read_table(path) for key, path in zip(profiles, given.dropped, strict=True)}
        tables = zip(given.wells, given.treatments, strict=True)
        shapes = {key: shape(*paths, dropped[key]) for key, paths in zip(profiles, tables, strict=True)}
        of_cells = [
            tuple(Path(path).parts[-5:][index] for index in (0, 2, 3)) for path in given.get("cell_profiles", [])
        ]
        dropped |= {key: read_table(path) for key, path in zip(of_cells, given.get("cells_dropped", []), strict=True)}
        cells = {
            key: cell_shape(path, dropped[key])
            for key, path in zip(of_cells, given.get("cell_profiles", []), strict=True)
        }
        tables = [*given.wells, *given.get("cell_profiles", [])]
        recorded = [read_origin(path).get("versions", {}) for path in tables]
        pins = {
            Path(path).stem: environment_pins(Path(path).read_text(encoding="utf-8")) for path in given.environments
        }
        installed = {"python": platform.python_version(), **versions(PROGRAMS)}
        counted = {Path(path).parts[-3] for path in given.get("samples", [])}
        datasets = [dataset(name, snakemake) for name in config["datasets"] if name not in counted]
        text = page(
            Path(given.template).parent,
            config,
            datasets,
            part("maps", "Maps", given.maps, snakemake),
            shapes,
            dropped,
            read_table(given.scores),
            read_table(given.comparison),
            part("evaluation", "Evaluation", given.evaluation, snakemake),
            read_table(given.ledger),
            read_table(given.run_times),
            part("run", "Time and memory", given.run, snakemake),
            version_rows(installed, recorded, pins),
            [cell_dataset(name, snakemake) for name in config["datasets"] if name in counted],
            cells,
            card_rows({Path(path).parts[-3:-1]: json.loads(Path(path).read_text()) for path in given.get("cards", [])}),
            part("training", "Training", given.get("training", []), snakemake),
            part("attention", "Attention", given.get("attention", []), snakemake),
            aggregations(snakemake),
            relevances(snakemake),
        )
        write_text(snakemake.output[0], text)


def shape(wells, treatments, dropped):
    """Sizes of one set of profiles; one of similarities has no features."""
    schema = pq.read_schema(wells)
    return {
        "wells": pq.read_metadata(wells).num_rows,
        "treatments": pq.read_metadata(treatments).num_rows,
        "features": 0 if is_similarity(schema.names) else len(feature_columns(schema)),
        "dropped": int(dropped.loc[dropped["kind"] == "feature", "name"].nunique()),
    }


def cell_shape(cells, dropped):
    """Sizes of one profile of single cells."""
    split = pq.read_table(cells, columns=["Metadata_Split"])["Metadata_Split"].to_pandas().value_counts()
    return {
        "cells": int(split.sum()),
        "fitted": int(split.get(TRAIN, 0) + split.get(ALL, 0)),
        "held_out": int(split.get(TEST, 0)),
        "dimensions": len(feature_columns(pq.read_schema(cells))),
        "dropped": int(dropped.loc[dropped["kind"] == "feature", "name"].nunique()),
    }


def part(anchor, title, folders, snakemake):
    """A section of the figures in `folders`, whose paths are shown as they lie beside the report."""
    results = Path(snakemake.input.ledger).parent
    folders = [folders] if isinstance(folders, str) else list(folders)
    return section(slug(anchor), title, folders, lambda folder: Path(folder).relative_to(results).as_posix())


def dataset(name, snakemake):
    """Tables and figures of one dataset, found among the inputs by their folder."""
    given = snakemake.input

    def find(paths, place):
        return [path for path in paths if Path(path).parts[place] == name]

    def figures(kind):
        found = find(given.get(kind, []), -2)
        return part(f"{kind}-{name}", kind, found, snakemake) if found else None

    return Dataset(
        name,
        read_table(find(given.plates, -3)[0]),
        read_table(find(given.counts, -3)[0]),
        figures("plate_heatmaps"),
        figures("illumination"),
        figures("montage"),
    )


def aggregations(snakemake):
    """What is shown of every learned aggregation; its tables, card and figures stand in one order."""
    given, config = snakemake.input, snakemake.params.config
    kinds = ("aggregation_strata", "aggregation_sizes", "aggregation_cards", "aggregation")
    found, jobs = [], read_table(given.run_times)
    for strata, sizes, card, folder in zip(*(given.get(kind, []) for kind in kinds), strict=True):
        key = Path(folder).parts[-4], *Path(folder).parts[-2:]
        figures = part("-".join(("aggregation", *key)), "Learned aggregation", folder, snakemake)
        tables = read_table(strata), read_table(sizes), json.loads(Path(card).read_text(encoding="utf-8"))
        found.append(aggregation_view(key, *tables, jobs, config["profiles"], figures))
    return found


def relevances(snakemake):
    """Which cells count in every learned aggregation; tables and figures stand in one order."""
    given, found = snakemake.input, []
    kinds = ("relevance_wells", "relevance_features", "relevance")
    for wells, features, folder in zip(*(given.get(kind, []) for kind in kinds), strict=True):
        key = Path(folder).parts[-4], *Path(folder).parts[-2:]
        figures = part("-".join(("relevance", *key)), "Which cells count", [folder], snakemake)
        found.append(relevance_view(key, read_table(wells), read_table(features), figures))
    return found


def cell_dataset(name, snakemake):
    """Tables and figures of one dataset of single cells."""
    given = snakemake.input
    tables = [
        read_table(path)
        for kind in ("samples", "labels", "lost")
        for path in given[kind]
        if Path(path).parts[-3] == name
    ]
    folders = [path for path in given.get("cells", []) if Path(path).parts[-3] == name]
    merged = (snakemake.params.config["datasets"][name].get("merge") or {}).get("datasets", [])
    return CellDataset(name, *tables, part(f"cells-{name}", "Cells", folders, snakemake), list(merged))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
