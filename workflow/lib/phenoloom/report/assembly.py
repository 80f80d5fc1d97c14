"""Puts tables and sections together into what the report's template shows."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from phenoloom import __version__
from phenoloom.core.words import count, duration
from phenoloom.report import contents
from phenoloom.report.page import Section, as_yaml, embed, number, percent, render, slug
from phenoloom.report.run_times import per_stage
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


def page(templates, config, datasets, maps, profiles, dropped, scores, evaluation, ledger, jobs, run, versions):
    """The report as text, embedding figures up to the configured size.

    templates: folder with report.html.j2, report.css and report.js. datasets: list of Dataset. maps, evaluation, run:
    Section. profiles: (dataset, representation, profile) -> numbers. dropped: the same -> table of what was dropped.
    scores, ledger, jobs: DataFrames. versions: rows of :func:`contents.version_rows`.
    """
    templates = Path(templates)
    options = config.get("report") or {}
    script = (templates / "report.js").read_text(encoding="utf-8")
    budget = int(float(options.get("megabytes", 15)) * 1e6) - TEXT_BYTES
    sections = [maps, evaluation, run]
    for dataset in datasets:
        sections += [part for part in (dataset.plates, dataset.illumination, dataset.montage) if part]
    embed(_by_turns(sections), max(0, budget))
    groups = contents.ledger_groups(ledger)
    dropped_rows, n_dropped = contents.capped(contents.dropped_groups(dropped), contents.DROPPED_ROWS)
    main = contents.score_rows(scores[contents.headline(scores)])
    score_rows, n_scores = contents.capped(main, contents.SCORE_ROWS)
    return render(
        templates,
        {
            "title": options.get("title") or f"Study {config['study']}",
            "study": config["study"],
            "version": __version__,
            "css": Markup((templates / "report.css").read_text(encoding="utf-8")),
            "script": Markup(script),
            "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            "lead": _lead(datasets, profiles, scores),
            "tiles": _tiles(datasets),
            "warnings": _warnings(datasets, scores, ledger, config),
            "coverage": config.get("coverage", 0.8),
            "datasets": [_dataset_view(dataset) for dataset in datasets],
            "profiles": contents.profile_rows(profiles),
            "maps": maps,
            "dropped": dropped_rows,
            "n_dropped": n_dropped,
            "scores": score_rows,
            "n_scores": n_scores,
            "more_scores": contents.more_scores(scores),
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


def _tiles(datasets):
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


def _warnings(datasets, scores, ledger, config):
    found = []
    for dataset in datasets:
        found += dataset_warnings(dataset.name, dataset.plates_table, dataset.wells_table, config.get("coverage", 0.8))
    found += contents.exclusion_warnings(config)
    found += contents.evaluation_warnings(scores)
    lost = ledger[ledger["severity"] == "lost"]
    if len(lost):
        stages = ", ".join(f"{stage} {int(part['count'].sum()):,}" for stage, part in lost.groupby("stage", sort=False))
        found.append(("note", f"The ledger lists what was lost, by stage: {stages}."))
    order = {"serious": 0, "caution": 1, "note": 2}
    return sorted(found, key=lambda row: order[row[0]])
