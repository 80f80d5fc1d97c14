"""Puts tables and sections together into what the report's template shows."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from phenoloom import __version__
from phenoloom.core.words import count, duration
from phenoloom.evaluation import weak_labels
from phenoloom.report import contents
from phenoloom.report.cell_scores import method_tables
from phenoloom.report.chains import chain_of
from phenoloom.report.page import Section, as_yaml, embed, number, percent, render, slug
from phenoloom.report.run_times import per_stage
from phenoloom.report.samples import label_rows, reason_rows, sample_warnings
from phenoloom.report.summary import dataset_warnings

#: Bytes that the page may take beside its figures.
TEXT_BYTES = 1_500_000


@dataclass
class Dataset:
    """Tables (as `summary` counts them) and sections of one dataset; illumination and montage None without images."""

    name: str
    plates_table: object
    wells_table: object
    plates: Section
    illumination: Section = None
    montage: Section = None

    @property
    def images(self):
        """Whether the dataset starts from images."""
        return self.illumination is not None


@dataclass
class CellDataset:
    """Tables (as `samples` counts them) and figures of one dataset of single cells. merged: names of the datasets that
    it is put together from.
    """

    name: str
    samples: object
    labels: object
    lost: object
    figures: Section
    merged: list


def page(
    templates,
    config,
    datasets,
    maps,
    profiles,
    dropped,
    scores,
    comparison,
    evaluation,
    ledger,
    jobs,
    run,
    versions,
    cell_datasets=(),
    cell_profiles=None,
    models=(),
    training=None,
    attention=None,
    aggregations=(),
    relevances=(),
):
    """The report as text, embedding figures up to the configured size.

    templates: folder with report.html.j2, report.css and report.js. datasets: list of Dataset. maps, evaluation, run:
    Section. profiles: (dataset, representation, profile) -> numbers. dropped: the same -> table of what was dropped.
    scores, comparison, ledger, jobs: DataFrames. versions: rows of :func:`contents.version_rows`. cell_datasets: list
    of CellDataset. cell_profiles: as profiles, of single cells. models: rows of :func:`models.card_rows`. training,
    attention: Section. aggregations: of :func:`aggregation.aggregation_view`. relevances: of
    :func:`relevance.relevance_view`.
    """
    cell_profiles = cell_profiles or {}
    chains = {name: chain_of(steps) for name, steps in (config.get("cell_profiles") or {}).items()}
    templates = Path(templates)
    options = config.get("report") or {}
    script = (templates / "report.js").read_text(encoding="utf-8")
    budget = int(float(options.get("megabytes", 15)) * 1e6) - TEXT_BYTES
    sections = [maps, evaluation, run]
    for dataset in datasets:
        sections += [part for part in (dataset.plates, dataset.illumination, dataset.montage) if part]
    sections += [dataset.figures for dataset in cell_datasets]
    sections += [part for part in (training, attention) if part]
    sections += [one["figures"] for one in (*aggregations, *relevances)]
    embed(_by_turns(sections), max(0, budget))
    groups = contents.ledger_groups(ledger)
    of_cells = contents.dropped_groups({key: table for key, table in dropped.items() if key in cell_profiles})
    of_wells = contents.dropped_groups({key: table for key, table in dropped.items() if key not in cell_profiles})
    dropped_rows, n_dropped = contents.capped(of_wells + contents.merged_profiles(of_cells), contents.DROPPED_ROWS)
    main = contents.score_rows(scores[contents.headline(scores) & (scores["level"] != "cells")])
    score_rows, n_scores = contents.capped(main, contents.SCORE_ROWS)
    differences, n_differences = contents.capped(comparison, contents.SCORE_ROWS)
    return render(
        templates,
        {
            "title": options.get("title") or f"Study {config['study']}",
            "study": config["study"],
            "version": __version__,
            "css": Markup((templates / "report.css").read_text(encoding="utf-8")),
            "script": Markup(script),
            "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            "lead": _lead([*datasets, *cell_datasets], {**profiles, **cell_profiles}, scores),
            "tiles": _tiles(datasets, cell_datasets),
            "warnings": _warnings(datasets, cell_datasets, scores, chains, ledger, config),
            "nothing_wrong": _nothing_wrong(datasets, cell_datasets),
            "coverage": config.get("coverage", 0.8),
            "datasets": [_dataset_view(dataset) for dataset in datasets],
            "cell_datasets": [_cells_view(dataset, config["datasets"][dataset.name]) for dataset in cell_datasets],
            "models": models,
            "training": training,
            "attention": attention,
            "aggregations": aggregations,
            "relevances": relevances,
            "profiles": contents.profile_rows(profiles),
            "cell_profiles": contents.cell_profile_rows(cell_profiles, chains),
            "methods": method_tables(scores, chains, config.get("evaluation") or {}),
            "maps": maps,
            "dropped": dropped_rows,
            "n_dropped": n_dropped,
            "scores": score_rows,
            "n_scores": n_scores,
            "more_scores": contents.more_scores(scores),
            "differences": differences,
            "n_differences": n_differences,
            "evaluation": evaluation,
            "ledger": groups[: contents.LEDGER_GROUPS],
            "n_groups": len(groups),
            "n_ledger": len(ledger),
            "run": run,
            "stages": [] if jobs.empty else per_stage(jobs).to_dict("records"),
            "versions": versions,
            "config": as_yaml(config),
        },
        {"duration": duration, "groupby_in_order": _groups},
    )


def _by_turns(sections):
    """Pictures of all sections: the first of each, then the second of each, so that a small budget serves all."""
    queues = [list(section.pictures) for section in sections]
    turns = []
    while any(queues):
        turns += [queue.pop(0) for queue in queues if queue]
    return turns


def _groups(pictures):
    """Pictures grouped by their group, in order of first appearance."""
    groups = {}
    for picture in pictures:
        groups.setdefault(picture.group, []).append(picture)
    return list(groups.values())


def _dataset_view(dataset):
    rows, total = contents.capped(dataset.plates_table, contents.PLATE_ROWS)
    sums = contents.totals(dataset.plates_table)
    names = contents.names_of(dataset.wells_table)
    controls = {name: dataset.plates_table[name].sum() for name in ("Wells_Negative", "Wells_Positive")}
    return {
        "name": dataset.name,
        "anchor": slug("dataset", dataset.name),
        "images": dataset.images,
        "rows": rows,
        "n_rows": total,
        "totals": {**sums, **names, **controls},
        "source": f"{dataset.name}/summary",
        "plates": dataset.plates,
        "illumination": dataset.illumination,
        "montage": dataset.montage,
    }


def _cells_view(dataset, block):
    rows, total = contents.capped(dataset.samples, contents.PLATE_ROWS)
    lost = reason_rows(dataset.lost)
    found = dataset.samples["Found"]
    events = block.get("events") or {}
    joined = events.get("format") == "sorter" and events["join"]["check"]
    remarks = [_remarks(row, joined) for row in rows]
    return {
        "name": dataset.name,
        "anchor": slug("dataset", dataset.name),
        "rows": [
            {**row, "labels": _labels_of(dataset, row), "remarks": said}
            for row, said in zip(rows, remarks, strict=True)
        ],
        "n_rows": total,
        "totals": {
            "Found": found.sum() if found.notna().all() else None,
            "Lost": dataset.samples["Lost"].sum() if found.notna().all() else None,
            "Kept": dataset.samples["Kept"].sum(),
        },
        "labels": label_rows(dataset.labels),
        "reasons": lost,
        "remarks": any(remarks),
        "merged": dataset.merged,
        "source": f"{dataset.name}/summary",
        "figures": dataset.figures,
    }


def _remarks(row, joined):
    """What is to say of one sample. joined: whether its images had to follow the pulses of its FCS file."""
    said = [row["Unchecked"]] if row["Unchecked"] else ["images verified by the pulse areas"] if joined else []
    return said + ([f"{count(row['Odd'], 'deviation')} of its FCS file"] if row["Odd"] else [])


def _labels_of(dataset, row):
    """Number of labels of one sample, or its only label."""
    same = (dataset.labels["Metadata_Sample"] == row["Metadata_Sample"]) & (
        dataset.labels["Metadata_Dataset"] == row["Metadata_Dataset"]
    )
    names = sorted(set(dataset.labels.loc[same, "Label"]))
    return names[0] if len(names) == 1 else count(len(names), "label") if names else ""


def _tiles(datasets, cell_datasets):
    tiles = _plate_tiles(datasets) if datasets or not cell_datasets else []
    if not cell_datasets:
        return tiles
    if not datasets:
        tiles = [{"label": "Datasets", "value": number(len(cell_datasets)), "note": ""}]
    else:
        tiles[0]["value"] = number(len(datasets) + len(cell_datasets))
    own = [dataset for dataset in cell_datasets if not dataset.merged]  # cells of merged ones are counted already
    found, kept = (sum(int(dataset.samples[name].sum()) for dataset in own) for name in ("Found", "Kept"))
    labels = set().union(*(set(dataset.labels["Label"]) for dataset in own), set())
    n_samples = sum(len(dataset.samples) for dataset in own)
    return [
        *tiles,
        {"label": "Samples", "value": number(n_samples), "note": ""},
        {
            "label": "Events",
            "value": number(found),
            "note": f"{number(found - kept)} lost" if found > kept else "none lost",
        },
        {"label": "Single cells", "value": number(kept), "note": "events that can be used"},
        {"label": "Labels", "value": number(len(labels)), "note": "" if labels else "none given"},
    ]


def _plate_tiles(datasets):
    sums = [contents.totals(dataset.plates_table) for dataset in datasets]

    def total(name):
        known = [found[name] for found in sums if found[name] == found[name]]
        return sum(known) if known else None

    sites, measured = total("Sites"), total("Sites_Measured")
    perturbations = set().union(*(set(dataset.wells_table["Metadata_Perturbation"]) for dataset in datasets), set()) - {
        ""
    }
    mechanisms = set().union(*(set(dataset.wells_table["Metadata_MoA"]) for dataset in datasets), set()) - {""}
    excluded = total("Sites_Excluded")
    tiles = [
        {"label": "Datasets", "value": number(len(datasets)), "note": ""},
        {
            "label": "Plates",
            "value": number(total("Plates") or 0),
            "note": f"in {count(int(total('Batches') or 0), 'batch', 'batches')}" if total("Batches") else "",
        },
        {"label": "Wells", "value": number(total("Wells")), "note": ""},
        {
            "label": "Perturbations",
            "value": number(len(perturbations)),
            "note": count(len(mechanisms), "mechanism") if mechanisms else "mechanisms not given",
        },
    ]
    if sites is not None:
        tiles.append(
            {
                "label": "Sites",
                "value": number(sites),
                "note": f"{number(excluded)} excluded" if excluded is not None else "",
            }
        )
        tiles.append(
            {
                "label": "Coverage",
                "value": percent(measured / sites if measured is not None and sites else None),
                "note": "of the sites gave features",
            }
        )
    tiles.append(
        {
            "label": "Cells",
            "value": number(total("Cells")),
            "note": "kept after the filters" if total("Cells") is not None else "not counted",
        }
    )
    return tiles


def _lead(datasets, profiles, scores):
    names = ", ".join(dataset.name for dataset in datasets[:4]) + (" and more" if len(datasets) > 4 else "")
    return (
        f"{count(len(datasets), 'dataset')} ({names}), {count(len(profiles), 'set of profiles', 'sets of profiles')}, "
        f"{count(len(scores), 'score')}. Every figure states what it shows, how it was computed and from how many."
    )


def _nothing_wrong(datasets, cell_datasets):
    """What an empty list of warnings means."""
    right = [
        *(["every plate has its images, controls and coverage"] if datasets or not cell_datasets else []),
        *(["every sample has its cells"] if cell_datasets else []),
        "every evaluation gave a value",
    ]
    return ", and ".join([", ".join(right[:-1]), right[-1]])


def _warnings(datasets, cell_datasets, scores, chains, ledger, config):
    found = []
    for dataset in cell_datasets:
        found += sample_warnings(dataset.name, dataset.samples, dataset.labels, config.get("coverage", 0.8))
    for dataset in datasets:
        found += dataset_warnings(dataset.name, dataset.plates_table, dataset.wells_table, config.get("coverage", 0.8))
    found += contents.exclusion_warnings(config)
    found += weak_labels.warnings(config)
    found += contents.evaluation_warnings(scores, chains)
    lost = ledger[ledger["severity"] == "lost"]
    if len(lost):
        stages = ", ".join(f"{stage} {int(part['count'].sum()):,}" for stage, part in lost.groupby("stage", sort=False))
        found.append(("note", f"The ledger lists what was lost, by stage: {stages}."))
    order = {"serious": 0, "caution": 1, "note": 2}
    return sorted(found, key=lambda row: order[row[0]])
