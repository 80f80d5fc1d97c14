"""What the report says in words and tables: totals, warnings, what was dropped, the ledger, versions."""

import re

import numpy as np
import pandas as pd

from phenoloom.core.words import count
from phenoloom.report.cell_scores import is_main
from phenoloom.report.chains import HELD_OUT
from phenoloom.report.page import bar
from phenoloom.report.style import natural

#: Rows of a table on the page; the whole tables lie beside the report as Parquet.
PLATE_ROWS, LEDGER_ROWS, LEDGER_GROUPS, SCORE_ROWS, DROPPED_ROWS = 200, 40, 60, 200, 100


def totals(plates):
    """Sums over the plates of :func:`summary.count_plates`; NaN where nothing is known."""
    sums = {
        name: plates[name].sum(min_count=1)
        for name in ("Wells", "Sites", "Sites_Excluded", "Sites_Measured", "Images", "Images_Flagged", "Cells")
    }
    coverage = sums["Sites_Measured"] / sums["Sites"] if sums["Sites"] > 0 else np.nan
    batches = int(plates.loc[plates["Metadata_Batch"] != "", "Metadata_Batch"].nunique())
    return {**sums, "Plates": len(plates), "Batches": batches, "Coverage": coverage}


def names_of(wells):
    """Numbers of perturbations, treatments and mechanisms over all wells of a dataset."""
    from phenoloom.report.summary import treatment

    named = wells[wells["Metadata_Perturbation"] != ""]
    return {
        "Perturbations": named["Metadata_Perturbation"].nunique(),
        "Treatments": treatment(named).nunique(),
        "MoAs": named.loc[named["Metadata_MoA"] != "", "Metadata_MoA"].nunique(),
    }


def evaluation_warnings(table, chains=None):
    """Warnings about main scores without a value or no better than with shuffled labels, one per evaluation.

    chains: {cell profile: Chain}. Cell profiles of shuffled labels are expected to be no better, and it is said where
    they are.
    """
    found = control_warnings(table, chains or {})
    shuffled = [name for name, chain in (chains or {}).items() if chain.shuffled]
    table = table[(table["level"] != "cells") | ~table["profile"].isin(shuffled)]
    keys = ["evaluation", "dataset", "representation", "profile"]
    for (evaluation, *profile), rows in table[headline(table)].groupby(keys, sort=False):
        name = f"{evaluation} of {'/'.join(profile)}"
        labels = [row.label or row.metric for row in rows.itertuples()]
        missing = ~np.isfinite(rows["value"].astype(float).to_numpy())
        weak = rows["pvalue"].astype(float).to_numpy() > 0.05
        if missing.any():
            note = next((text for text in rows.loc[missing, "note"] if isinstance(text, str) and text), "")
            found.append(
                ("caution", f"{name} gave no value for {_some(labels, missing)}{': ' + note if note else ''}.")
            )
        if weak.any():
            largest = "p =" if weak.sum() == 1 else "p up to"
            value = rows.loc[weak, "pvalue"].astype(float).max()
            text = f"no better than with shuffled labels for {_some(labels, weak)} ({largest} {value:.2g})"
            found.append(("note", f"{name} is {text}."))
    return found


def control_warnings(table, chains):
    """Warnings about cell profiles of shuffled labels that tell held-out cells better than chance: a leak."""
    rows = table[(table["metric"] == "held_out_accuracy") & (table["pvalue"].astype(float) <= 0.01)]
    return [
        (
            "serious",
            f"{row.evaluation} of {row.dataset}/{row.representation}/{row.profile} is better than chance on held-out "
            f"cells although its labels were shuffled ({row.value:.2f}, chance {row.null:.2f}): its cells are not "
            "independent.",
        )
        for row in rows[headline(rows)].itertuples()
        if row.profile in chains and chains[row.profile].shuffled and chains[row.profile].setting == HELD_OUT
    ]


def _some(labels, chosen):
    """The first chosen labels, and how many more there are of how many."""
    names = [label for label, yes in zip(labels, chosen, strict=True) if yes]
    more = f" and {len(names) - 2} more of {len(labels)} scores" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


#: Scores of one evaluation of one profile that stand in the main table.
HEADLINES = 6


def headline(table):
    """Which rows of the evaluation table are main scores: bool Series.

    Those of a dose-response that are of one compound are not, nor are more than HEADLINES of one evaluation. Of the
    clusters of cells those at a matched number are, of held-out labels the balanced accuracy.
    """
    single = (table["metric"] == "dose_response") & ~table["label"].fillna("").astype(str).str.startswith("share")
    single |= table["metric"].isin(["clusters", "held_out_accuracy"]) & ~is_main(table)
    keys = ["evaluation", "dataset", "representation", "profile"]
    rank = table[~single].groupby(keys, sort=False).cumcount().reindex(table.index)
    return ~single & ((rank < HEADLINES) | is_main(table))


def more_scores(table):
    """The rows that are no main scores, by evaluation: [(name, rows capped, number of rows)].

    Those of cells are together for all profiles of a dataset, the main ones among them: a table of their own has these.
    """
    of_cells = table["level"] == "cells"
    found = []
    for rest, keys in (
        (table[~headline(table) & ~of_cells], ["evaluation", "dataset", "representation", "profile"]),
        (table[of_cells], ["evaluation", "dataset", "representation"]),
    ):
        for (evaluation, *profile), part in rest.groupby(keys, sort=False):
            rows, total = capped(score_rows(part), SCORE_ROWS)
            found.append((f"{evaluation} of {'/'.join(profile)}", rows, total))
    return found


def score_rows(table):
    """Rows of the evaluation table for the page, each with the places of its small bar."""
    rows = []
    for record in table.to_dict("records"):
        rows.append({**record, "bar": bar(*(_number(record[name]) for name in ("value", "low", "high", "null")))})
    return rows


def _number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def dropped_groups(tables):
    """One row per profile, kind, step and reason of what the profile chains dropped.

    tables: {(dataset, representation, profile): DataFrame with kind, name, plate, step, reason, count}.
    Returns dicts with profile, kind, step, reason, count (sum), examples (up to three names) and more (names beyond).
    """
    rows = []
    for key, table in tables.items():
        if table.empty:
            continue
        for column in ("kind", "step", "reason", "name"):
            if column not in table:
                table = table.assign(**{column: ""})
        filled = table.fillna({"kind": "", "step": "", "reason": "", "name": ""})
        for (kind, step, reason), part in filled.groupby(["kind", "step", "reason"], sort=False):
            names = [str(name) for name in dict.fromkeys(part["name"]) if str(name)]
            total = part["count"].sum() if "count" in part else len(part)
            rows.append(
                {
                    "profile": "/".join(key),
                    "kind": str(kind),
                    "step": str(step),
                    "reason": str(reason),
                    "count": int(total),
                    "examples": names[:3],
                    "more": max(0, len(names) - 3),
                }
            )
    return rows


def merged_profiles(rows):
    """Rows of :func:`dropped_groups` with those that differ in the profile only as one: `a/b/c` and `a/b/d` as
    `a/b/c, d`.
    """
    merged = {}
    for row in rows:
        where, _, name = row["profile"].rpartition("/")
        key = (where, *(str(value) for label, value in row.items() if label != "profile"))
        merged.setdefault(key, (where, [], row))[1].append(name)
    return [{**row, "profile": f"{where}/{', '.join(names)}"} for where, names, row in merged.values()]


def exclusion_warnings(config):
    """Which plates the study leaves out, as a list of (severity, sentence)."""
    found = []
    for dataset, block in config["datasets"].items():
        names = block.get("exclude_plates") or []
        if names:
            listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            found.append(
                ("caution", f"{dataset}: {count(len(names), 'plate')} left out by the study's config ({listed}).")
            )
    return found


def ledger_groups(ledger):
    """Ledger rows grouped by stage, severity, unit and kind of reason; the most frequent reasons of a stage first.

    Reasons that differ only in the row's own plate and well, in paths, names in quotes or numbers are one kind. Each
    group has rows (number of entries), count (sum), example (the first reason), and entries (up to LEDGER_ROWS dicts).
    """
    if ledger.empty:
        return []
    ledger = ledger.fillna({name: "" for name in ledger.columns if name != "count"})
    keys = [reason_kind(_unplaced(*row)) for row in ledger[["reason", "plate", "well"]].itertuples(index=False)]
    keys = pd.Series(keys, index=ledger.index)
    groups = []
    for (stage, severity, unit, _), part in ledger.groupby(
        [ledger["stage"], ledger["severity"], ledger["unit"], keys], sort=False
    ):
        reasons = part["reason"].unique()
        groups.append(
            {
                "stage": stage,
                "severity": severity,
                "unit": unit,
                "rows": len(part),
                "count": int(part["count"].fillna(1).sum()),
                "example": reasons[0],
                "others": len(reasons) - 1,
                "entries": part.head(LEDGER_ROWS).to_dict("records"),
            }
        )
    order = {stage: number for number, stage in enumerate(dict.fromkeys(ledger["stage"]))}
    return sorted(groups, key=lambda group: (order[group["stage"]], group["severity"] != "lost", -group["count"]))


def _unplaced(reason, plate, well):
    """The reason without the names of its own plate and well."""
    for word, name in (("well", well), ("plate", plate)):
        reason = reason.replace(f"{word} {name}", word) if name else reason
    return reason


def reason_kind(reason):
    """A reason without what differs between units: paths, quoted names and numbers.

    >>> reason_kind("a/b/x_1.tif is empty (0 bytes)") == reason_kind("c/y_2.tif is empty (0 bytes)")
    True
    """
    text = re.sub(r"\S*[/\\]\S*|\S+\.(?:tiff?|csv|h5|parquet|png|xml)\b", "…", str(reason))
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", text)
    return re.sub(r"\d+(?:\.\d+)?", "#", text)


def profile_rows(shapes):
    """Rows of the table of profiles. shapes: (dataset, representation, profile) -> wells, treatments, features."""
    return [{"profile": "/".join(key), **numbers} for key, numbers in shapes.items()]


def cell_profile_rows(shapes, chains):
    """Rows of the table of cell profiles. shapes: (dataset, representation, profile) -> cells, fitted, held_out,
    dimensions, dropped. chains: {profile: Chain}.
    """
    return [{"profile": "/".join(key), "chain": chains[key[-1]].words, **numbers} for key, numbers in shapes.items()]


def version_rows(installed, recorded, pins):
    """(program, version, where) rows: installed here, recorded in the tables' origin, pinned in the environments.

    installed: name -> version. recorded: list of name -> version. pins: environment -> {name: version}. A program that
    has other versions in the tables than here shows both.
    """
    rows = []
    found = {}
    for versions in recorded:
        for name, version in versions.items():
            found.setdefault(name, set()).add(version)
    for name in sorted(set(installed) | set(found), key=natural):
        known = sorted(found.get(name, set()) | ({installed[name]} if name in installed else set()), key=natural)
        rows.append((name, " and ".join(known), "recorded in the tables" if name in found else "this report"))
    seen = {name for name, _, _ in rows}
    for environment, versions in pins.items():
        rows += [(name, version, f"pinned in {environment}") for name, version in versions.items() if name not in seen]
    return rows


def environment_pins(text):
    """name -> version of the `name=version` and `name==version` lines of a conda environment file."""
    import yaml

    pins = {}
    queue = list((yaml.safe_load(text) or {}).get("dependencies") or [])
    while queue:
        item = queue.pop(0)
        if isinstance(item, dict):
            queue.extend(entry for value in item.values() for entry in value)
        else:
            match = re.match(r"^(?:[^:]+::)?([A-Za-z0-9_.\[\]-]+?)\s*={1,2}\s*([^=\s;]+)", str(item))
            if match:
                pins[match[1]] = match[2]
    return pins


def capped(rows, number):
    """(first rows, total): what fits on the page and how many there are."""
    rows = list(rows) if not isinstance(rows, pd.DataFrame) else rows.to_dict("records")
    return rows[:number], len(rows)
