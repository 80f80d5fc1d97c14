"""The report's section on learned aggregations: whether they help, by which table, and what they cost."""

import numpy as np

from phenoloom.cell_sets.stratification import VALIDATION
from phenoloom.core.words import count, duration
from phenoloom.evaluation.aggregation import MECHANISMS, PLATE, REPLICATES
from phenoloom.evaluation.aggregation_tables import ALL_BATCHES, CELLS, NETWORK_CELLS, SIDES, WELLS
from phenoloom.metric_learning.splits import ALL, TEST, TRAIN
from phenoloom.profiles.chain import learned
from phenoloom.report.aggregation_figures import COMPOUND_WORDS, PLATES
from phenoloom.report.contents import capped
from phenoloom.report.page import number

#: Rows of table 1 in the page; p-value below which a difference is one.
ROWS, LEVEL = 60, 0.05

FINDS = {REPLICATES: "replicates", MECHANISMS: "other compounds of the same mechanism"}
#: What some of the wells of a side did for the network.
SERVED = {TRAIN: " Part of these wells taught it.", VALIDATION: " Part of these wells chose its weights."}


def aggregation_view(key, strata, sizes, card, jobs, chains, figures):
    """What the template shows of one learned aggregation.

    key: (dataset, representation, profile). strata, sizes: tables of the rule aggregation_scores. card: of its network.
    jobs: run_times.read_benchmarks. chains: {profile: steps} of the config. figures: page.Section.
    """
    dataset, representation, profile = key
    references = [name for name in sizes.loc[sizes["files"] == WELLS, "profile"] if name != profile]
    averaged = [name for name in references if learned(chains.get(name) or []) is None]
    # What speaks of new data first: the page holds a part of the rows.
    order = np.lexsort([strata["batch"] != ALL_BATCHES, strata["plate_side"] != TEST])
    rows, total = capped(_rows(strata.iloc[order]), ROWS)
    return {
        "name": f"{dataset}/{representation}/{profile}",
        "profile": profile,
        "anchor": figures.anchor,
        "sentences": sentences(strata, averaged or references),
        "rows": rows,
        "n_rows": total,
        "batches": len({row["batch"] for row in rows}) > 1,
        "by_side": _by_side(strata),
        "source": f"{dataset}/profiles/{representation}/{profile}/aggregation",
        "costs": costs(key, references, sizes, jobs),
        "card": card_rows(card),
        "figures": figures,
    }


def sentences(strata, references):
    """One sentence per task and side of the plates: whether the learned profile helps, against the best reference.

    strata: evaluation.aggregation_tables.stratum_table. references: names of profiles that it is measured by.
    """
    if not references:
        return ["There is no other profile of these cells; add a chain with the step aggregate to compare with."]
    of_all = strata[(strata["batch"] == ALL_BATCHES) & strata["reference"].isin(references)]
    whole, validation = (of_all[of_all["compounds"] == compounds] for compounds in (ALL, VALIDATION))
    found, place = [], ["task", "plate_side", "reference"]
    for task in FINDS:
        own = whole[whole["task"] == task]
        if own.empty:
            found.append(f"Nothing can be said of finding {FINDS[task]}: no compared well has one to find.")
        for side in SIDES:
            rows = own[own["plate_side"] == side]
            if len(rows):
                row = rows.loc[rows["against"].idxmax()]
                same = (validation[place] == row[place]).all(axis=1)
                found.append(_sentence(row, len(rows), validation[same]))
    return found


def _sentence(row, n_references, validation):
    """validation: DataFrame of the same comparison, of validation compounds only; empty where there is none."""
    best = f" (the best of {n_references} others)" if n_references > 1 else ""
    p = "" if row["pvalue"] != row["pvalue"] else f"{_p(row['pvalue'])}, "
    alone = "".join(f" Validation compounds alone: {_pair(one)}." for _, one in validation.iterrows())
    return (
        f"On {PLATES[row['plate_side']]} it finds {FINDS[row['task']]} {_how(row)} {row['reference']}{best}: "
        f"{_pair(row)}, {p}{count(row['n_plates'], 'plate')} with {_compounds_of(row)}. {_verdict(row)}"
        f"{SERVED.get(row['plate_side'], '')}{alone}"
    )


def _compounds_of(row):
    each = " each" if row["n_plates"] > 1 else ""
    return f"{count(round(row['n_compounds']), 'compound')}{each}"


def _how(row):
    return "as well as" if row["difference"] == 0 else "better than" if row["difference"] > 0 else "worse than"


def _verdict(row):
    if row["difference"] == 0:
        return "It makes no difference."
    if row["pvalue"] < LEVEL:
        return "It helps." if row["difference"] > 0 else "It does not help."
    return "Whether it helps cannot be told" + (" from one plate." if row["n_plates"] < 2 else ".")


def _pair(row):
    return f"{row['learned']:.2f} against {row['against']:.2f}"


def _p(pvalue):
    return f"p = {number(pvalue, 2)}" if pvalue >= 0.001 else "p < 0.001"


def _rows(strata):
    """Rows of table 1: batches only where there are several."""
    if strata.empty:
        return strata
    one = strata.groupby("task")["batch"].transform("nunique") <= 2
    rows = strata[~one | (strata["batch"] == ALL_BATCHES)]
    return rows.assign(
        side_words=rows["plate_side"].map(PLATES).str.removesuffix(" plates"),
        compound_words=[_compounds(*pair) for pair in zip(rows["compounds"], rows["plate_side"], strict=True)],
    )


def _compounds(compounds, side):
    """Words for the compounds that ask; those that taught on these plates are said to have."""
    taught = {ALL: " (in part taught)", TRAIN: " (taught)"} if side == TRAIN else {}
    return COMPOUND_WORDS[compounds] + taught.get(compounds, "")


def _by_side(strata):
    """Tasks whose candidates are the wells of all plates of a side."""
    wide = strata.loc[strata["candidates"] != PLATE, "task"].unique()
    return [FINDS[task] for task in wide]


def costs(key, references, sizes, jobs):
    """Rows of the table of time and storage: the learned profile, then each reference.

    Seconds of a plate, hours of training and MB of a plate; None where a way has no such stage.
    """
    dataset, representation, profile = key
    n_plates = max(1, int(sizes["n_plates"].iloc[0]))
    own = jobs[jobs["Dataset"] == dataset]

    def seconds(name, *stages):
        begins = tuple(f"{stage}/{representation}.{name}" for stage in stages)
        named = own["Job"].map(lambda job: job in begins or job.startswith(tuple(f"{begin}/" for begin in begins)))
        return own.loc[named.astype(bool), "Seconds"].sum(min_count=1) if len(own) else np.nan

    def stored(name, what):
        found = sizes.loc[(sizes["profile"] == name) & (sizes["files"] == what), "bytes_per_plate"]
        return found.sum(min_count=1) / 1e6

    cells = stored(profile, CELLS)
    rows = []
    for name in (profile, *references):
        arrays = stored(name, NETWORK_CELLS)
        rows.append(
            {
                "profile": name,
                "preparing": _known(seconds(name, "cell_sets") / n_plates),
                "training": _known(seconds(name, "deep_sets")),
                "aggregating": _known(seconds(name, "aggregate_learned", "aggregate") / n_plates),
                "cells": _known(cells) if name == profile else None,
                "arrays": _known(arrays),
                "share": _known(arrays / cells) if cells > 0 else None,
                "wells": _known(stored(name, WELLS)),
            }
        )
    return rows


def _known(value):
    return None if value != value else float(value)


def card_rows(card):
    """(name, value) rows of what is known of the training of a learned aggregation."""
    data, network, options = (card.get(part) or {} for part in ("data", "network", "options"))
    record, sets = card.get("training") or {}, (card.get("options") or {}).get("sets") or {}
    hidden = ("threads", "memory_mb", "hours", "minimum_cells", "sets", "phi", "rho")
    layers = f"{network['phi']} before the sum, {_said(network['rho'])} after it" if "phi" in network else None
    rows = [
        *((name[0].upper() + name[1:], value) for name, value in data.items() if name != "inputs"),
        ("Features", network.get("features")),
        ("Layers", layers),
        ("Parameters", network.get("parameters")),
        ("Label", options.get("label")),
        *((_words(name), value) for name, value in options.items() if name not in (*hidden, "label")),
        *((f"Sets: {_words(name).lower()}", value) for name, value in sets.items()),
        ("Best epoch", record.get("best_epoch")),
        ("Score of the validation wells then", record.get("best_score")),
        ("Epochs done", record.get("epochs")),
        ("Seed", card.get("seed")),
        ("Time", duration(record["seconds"]) if "seconds" in record else None),
        ("Device", record.get("device")),
    ]
    return [(name, _said(value)) for name, value in rows if value not in (None, "", [])]


def _words(name):
    return name[0].upper() + name[1:].replace("_", " ")


def _said(value):
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
