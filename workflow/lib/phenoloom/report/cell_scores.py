"""Scores of cell profiles side by side: a table of methods and datasets, its figure, and measures over clusterings."""

import re
import zlib

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from phenoloom.core.names import encode
from phenoloom.core.words import count
from phenoloom.report import style
from phenoloom.report.chains import HELD_OUT, METHODS, TRANSDUCTIVE, in_order
from phenoloom.report.style import shorten

#: Measures of clusters that stand in the table, and those that are drawn over the number of clusters.
MAIN, DRAWN = ("purity", "entropy purity"), ("purity", "entropy purity", "ARI", "silhouette")
#: Labels of the rows of clusters whose number was matched, such as `jurkat: purity, 7 clusters matched`.
_MATCHED = re.compile(
    r"^(?:(?P<group>.*): )?(?P<measure>purity|entropy purity), (?P<clusters>[0-9,]+ clusters?) matched$"
)
ACCURACY = "balanced accuracy"

_LOOKS = {HELD_OUT: style.ACCENT, TRANSDUCTIVE: style.WARNING}
_SHUFFLED = "#9aa5b1"


def main_rows(scores):
    """Rows of the evaluation table that compare cell profiles: purities at matched numbers of clusters, and accuracy.

    Returns a DataFrame with the columns of `scores`, and place (dataset, and the group that was scored by itself),
    measure and clusters ("7 clusters", "" for accuracy).
    """
    rows = []
    for record in scores[scores["level"] == "cells"].to_dict("records"):
        found = _MATCHED.match(str(record["label"])) if record["metric"] == "clusters" else None
        if found:
            group = found["group"] or ""
            place = record["dataset"] if group in ("", record["dataset"]) else f"{record['dataset']}: {group}"
            rows.append({**record, "place": place, "measure": found["measure"], "clusters": found["clusters"]})
        elif record["metric"] == "held_out_accuracy" and record["label"] == ACCURACY:
            rows.append({**record, "place": record["dataset"], "measure": ACCURACY, "clusters": ""})
    return pd.DataFrame(rows, columns=[*scores.columns, "place", "measure", "clusters"])


def is_main(scores):
    """Which rows of the evaluation table are `main_rows`: bool array."""
    labels = scores["label"].fillna("").astype(str)
    matched = (scores["metric"] == "clusters") & labels.str.match(_MATCHED)
    return (matched | ((scores["metric"] == "held_out_accuracy") & (labels == ACCURACY))).to_numpy(bool)


def method_tables(scores, chains, evaluations):
    """One table per setting (held out, transductive) for the page: methods in rows, datasets in columns, by measure.

    scores: the evaluation table. chains: {profile: Chain}. evaluations: the config's block, which says which cells were
    scored. Returns dicts with setting, places (names of the columns) and groups ({measure, cells, rows}); a row has
    profile, method, shuffled and values: per place None or {value, low, high, null, clusters, best}. Best: the highest
    of a place by true labels.
    """
    main = main_rows(scores)
    main = main[main["profile"].isin(set(chains))].reset_index(drop=True)
    keys = ["place", "evaluation", "measure", "representation"]
    main["turn"] = main.groupby([*keys, "profile"], sort=False).cumcount()  # of several numbers of clusters
    order = {name: number for number, name in enumerate((*MAIN, ACCURACY))}
    tables = []
    for setting in (HELD_OUT, TRANSDUCTIVE):
        own = main[[chains[name].setting == setting for name in main["profile"]]]
        if own.empty:
            continue
        places = sorted(set(own["place"]), key=style.natural)
        groups = own[["measure", "turn", "evaluation", "representation"]].drop_duplicates()
        groups = sorted(groups.itertuples(index=False), key=lambda key: (order[key.measure], key.turn))
        tables.append(
            {
                "setting": setting,
                "places": places,
                "groups": [_group(own, key, groups, places, chains, setting, evaluations) for key in groups],
            }
        )
    return tables


def _group(own, key, groups, places, chains, setting, evaluations):
    """The rows of one measure."""
    for name, value in key._asdict().items():
        own = own[own[name] == value]
    cells = {(row["profile"], row["place"]): row for row in own.to_dict("records")}
    best = {
        place: max(
            (cell["value"] for (name, where), cell in cells.items() if where == place and not chains[name].shuffled),
            default=np.nan,
        )
        for place in places
    }
    rows = []
    for name in in_order({name: chains[name] for name in dict.fromkeys(own["profile"])}):
        found = [cells.get((name, place)) for place in places]
        values = [
            cell and {**cell, "best": not chains[name].shuffled and cell["value"] == best[cell["place"]]}
            for cell in found
        ]
        rows.append(
            {"profile": name, "method": chains[name].method, "shuffled": chains[name].shuffled, "values": values}
        )
    words = [key.measure[0].upper() + key.measure[1:]]
    alike = [other for other in groups if other.measure == key.measure]
    words += [key.evaluation] if len({other.evaluation for other in alike}) > 1 else []
    words += [key.representation] if len({other.representation for other in alike}) > 1 else []
    return {"measure": ", ".join(words), "cells": _scored(key, setting, evaluations), "rows": rows}


def _scored(key, setting, evaluations):
    """Which cells the scores of a measure are of."""
    if key.measure == ACCURACY:
        return "cross-validated on the cells that were fitted on" if setting == TRANSDUCTIVE else "of held-out cells"
    samples = (evaluations.get(key.evaluation) or {}).get("samples") or ""
    if samples:
        return f"of the clusters of the cells {samples}"
    return "of the clusters of all cells" + (", those that were fitted on among them" if setting == HELD_OUT else "")


def add_comparison(gallery, scores, chains):
    """Add a figure per dataset with the main scores of all cell profiles: value, interval or range, and chance."""
    main = main_rows(scores)
    main = main[main["profile"].isin(set(chains)) & np.isfinite(main["value"].astype(float))]
    for place in sorted(set(main["place"]), key=style.natural):
        own = main[main["place"] == place].reset_index(drop=True)
        own["method"] = [chains[name].words for name in own["profile"]]
        keys = list(dict.fromkeys(own[["evaluation", "measure", "clusters"]].itertuples(index=False, name=None)))
        gallery.add(
            f"cell_scores--{_stem(place)}",
            _comparison_figure(own, keys, chains),
            own,
            f"Scores of cell profiles: {place}",
            "Purity, entropy purity: mean over the seeds of Leiden at a matched number of clusters, the bar is their "
            "range; balanced accuracy of labels by the nearest cells, the bar is its 95 % interval. The dark tick is "
            "what shuffled labels give. Held out (blue): fitted on other cells than those whose accuracy is asked. "
            "Transductive (orange): fitted on the cells that are scored, so that its scores do not speak of new cells. "
            "Grey: labels shuffled before all else; what these score, fitting alone has bought. "
            f"n = {int(own['n'].max()):,} cells at most, {count(own['profile'].nunique(), 'cell profile')}.",
            group="cell_scores",
            page=0,
        )


def _comparison_figure(own, keys, chains):
    names = in_order({name: chains[name] for name in dict.fromkeys(own["profile"])})
    with style.look():
        figure = style.new_figure(style.WIDTH, 1.1 + 0.26 * len(names))
        for number, (axis, key) in enumerate(
            zip(figure.subplots(1, len(keys), squeeze=False, sharey=True)[0], keys, strict=True)
        ):
            rows = own[(own["evaluation"] == key[0]) & (own["measure"] == key[1]) & (own["clusters"] == key[2])]
            for row in rows.itertuples():
                line, chain = names.index(row.profile), chains[row.profile]
                colour = _SHUFFLED if chain.shuffled else _LOOKS[chain.setting]
                axis.plot([row.low, row.high], [line] * 2, color=colour, linewidth=4, alpha=0.4, solid_capstyle="butt")
                axis.plot([row.null], [line], "|", color=style.INK, markersize=9, markeredgewidth=1.2)
                axis.plot([row.value], [line], "o", color=colour, markersize=5)
                axis.text(1.02, line, f"{row.value:.2f}", fontsize=7.5, va="center", color=style.MUTED)
            axis.set_title(key[1] + (f"\n{key[2]}" if key[2] else "\n"), fontsize=8.5)
            axis.set_xlim(min(0.0, rows["low"].min(), rows["null"].min()), 1.0)
            axis.grid(axis="both")
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0, labelcolor=style.INK)
            if number == 0:
                axis.set_yticks(range(len(names)), [shorten(f"{name} ({chains[name].words})", 52) for name in names])
                axis.set_ylim(len(names) - 0.4, -0.6)
    return figure


def add_clusterings(gallery, details, chains, evaluation, dataset, representation):
    """Add the measures of all clusterings of one dataset over their number of clusters, one line per cell profile.

    details: {profile: details of the metric `clusters`}. chains: {profile: Chain}.
    """
    parts = [table.assign(profile=name) for name, table in details.items() if name in chains and len(table)]
    where = f"{evaluation} ({dataset}/{representation})"
    if not parts:
        gallery.note(f"Clusters: {where}: nothing to show because no clustering was scored.")
        return
    data = pd.concat(parts, ignore_index=True)
    groups = sorted(set(data["unit"].fillna("").astype(str)), key=style.natural)
    for group in groups:
        own = data[data["unit"].fillna("").astype(str) == group].reset_index(drop=True)
        name = f"{where}, {group}" if group not in ("", dataset) else where
        gallery.add(
            f"clusters--{evaluation}--{dataset}--{representation}" + (f"--{_stem(group)}" if group else ""),
            _clusterings_figure(own, chains),
            own,
            f"Clusters and labels: {name}",
            "Each dot is a Leiden clustering of a seed at a resolution; lines join the means over seeds. The dotted "
            "line is what the same clusters score with shuffled labels (mean of all profiles). Purity grows with the "
            "number of clusters whatever they are, entropy purity and ARI do not. Full lines: cells were held out of "
            "the fit; dashed: transductive; grey: fitted to shuffled labels. "
            f"n = {int(own['cells'].max()):,} cells, {own['seed'].nunique()} seeds.",
            group=f"clusters--{evaluation}",
        )


def _clusterings_figure(own, chains):
    names = in_order({name: chains[name] for name in dict.fromkeys(own["profile"])})
    methods = list(METHODS.values())
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.4 + 0.18 * -(-len(names) // 3))
        axes = figure.subplots(1, len(DRAWN))
        for axis, measure in zip(axes, DRAWN, strict=True):
            for name in names:
                part, chain = own[own["profile"] == name], chains[name]
                colour = _SHUFFLED if chain.shuffled else style.CATEGORIES[methods.index(chain.method)]
                dashes = "--" if chain.setting == TRANSDUCTIVE else "-"
                grid = part.groupby("setting", sort=False)[["clusters", measure]].mean().sort_values("clusters")
                axis.plot(
                    part["clusters"], part[measure], "o", color=colour, alpha=0.3, markersize=3, markeredgewidth=0
                )
                axis.plot(grid["clusters"], grid[measure], dashes, color=colour, linewidth=1.3)
            if f"{measure}, shuffled" in own:
                chance = own.groupby("clusters")[f"{measure}, shuffled"].mean()
                axis.plot(chance.index, chance, ":", color=style.INK, linewidth=1)
            axis.set_title(measure)
            axis.set_xlabel("clusters")
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(style.plain_number)
            axis.grid(axis="both")
        handles = [
            Line2D(
                [],
                [],
                color=_SHUFFLED if chains[name].shuffled else style.CATEGORIES[methods.index(chains[name].method)],
                linestyle="--" if chains[name].setting == TRANSDUCTIVE else "-",
                label=shorten(f"{name} ({chains[name].words})", 52),
            )
            for name in names
        ]
        handles.append(Line2D([], [], color=style.INK, linestyle=":", linewidth=1, label="shuffled labels (chance)"))
        figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=7)
    return figure


def _stem(text):
    """Text as part of a file's name."""
    encoded = encode(text.replace(": ", "_"))
    return encoded if len(encoded) <= 80 else f"{encoded[:60]}~{zlib.crc32(text.encode()):08X}"
