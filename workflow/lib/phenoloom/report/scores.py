"""Figures of the evaluation: all scores with their intervals and nulls, how profiles differ, and what lies behind."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from phenoloom.core.words import count
from phenoloom.report import style
from phenoloom.report.contents import headline
from phenoloom.report.page import number
from phenoloom.report.style import natural, share, shorten

#: Rows of the overview on one page, labels of a confusion matrix, units of a list.
OVERVIEW_ROWS, MATRIX_LABELS, LISTED_UNITS = 60, 40, 40
#: Names written into a scatter plot; panels of dose-response curves; features drawn per evaluation.
NAMED, CURVES, FEATURES = 6, 12, 4
#: False discovery rate at which a line is drawn.
RATE = 0.05


def add_overview(gallery, table):
    """Add forest plots of the main scores between 0 and 1: value, interval, and the value of shuffled labels.

    table: the study's evaluation table. Scores on other scales (Z', SSMD) stay in the report's table; those of cells
    have figures of their own (cell_scores.add_comparison).
    """
    from phenoloom.report.gallery import pages

    if len(table) and (table["level"] == "cells").all():
        return
    table = table[table["level"] != "cells"]
    value = table["value"].astype(float)
    scaled = np.isfinite(value) & (value >= -0.05) & (value <= 1.05)
    shown = table[scaled & headline(table)].reset_index(drop=True)
    if shown.empty:
        gallery.note("Scores: nothing to show because no evaluation gave a value between 0 and 1.")
        return
    split = pages(list(range(len(shown))), OVERVIEW_ROWS)
    for page, lines in enumerate(split):
        rows = shown.iloc[lines].reset_index(drop=True)
        gallery.add(
            f"scores_{page + 1}",
            _forest(rows),
            rows,
            "Scores at a glance",
            "Each row is a score of one profile: the dot is the value, the bar its 95 % interval (bootstrap, or exact "
            "for shares), the dark tick what shuffled labels give. A score is worth something where the bar lies clear "
            f"of the tick. n beside each row is the number of units it is the mean of. {count(len(rows), 'score')}"
            + (f" of {len(shown):,}; page {page + 1} of {len(split)}." if len(split) > 1 else "."),
            group="scores",
            page=page,
        )


def _forest(rows):
    sources = [shorten("/".join([row.dataset, row.representation, row.profile]), 36) for row in rows.itertuples()]
    with style.look():
        figure, axis, colours = _dots(rows, "value", sources, "{:.3f}")
        for line, null in enumerate(rows["null"].astype(float)):
            if np.isfinite(null):
                axis.plot([null], [line], "|", color=style.INK, markersize=11, markeredgewidth=1.3)
        axis.set_xlim(min(-0.02, rows["low"].min()), 1.02)
        handles = [Line2D([], [], marker="|", linestyle="", color=style.INK, markersize=10, label="shuffled labels")]
        _name_colours(figure, colours, handles, 4)
    return figure


def _dots(rows, column, sources, form):
    """(figure, axis, {source: colour}): a line per row with its value, interval and, at the right, value and n."""
    labels = rows["label"].where(rows["label"].astype(bool), rows["metric"])
    names = [f"{shorten(one, 24)}: {shorten(two, 30)}" for one, two in zip(rows["evaluation"], labels, strict=True)]
    figure = style.new_figure(style.WIDTH, 0.8 + 0.3 * len(rows))
    axis = figure.subplots()
    colours = {source: colour for source, colour, _ in style.categories(sources)}
    numbers = rows[[column, "low", "high", "n"]].astype(float).itertuples(index=False, name=None)
    for line, (value, low, high, n) in enumerate(numbers):
        colour = colours.get(sources[line], style.MUTED)
        if np.isfinite(low) and np.isfinite(high):
            axis.plot([low, high], [line, line], color=colour, linewidth=2.6, alpha=0.35, solid_capstyle="butt")
        axis.plot([value], [line], "o", color=colour, markersize=6)
        axis.annotate(
            form.format(value) + (f"   n = {int(n):,}" if np.isfinite(n) else ""),
            (1.01, line),
            xycoords=("axes fraction", "data"),
            fontsize=7.5,
            va="center",
            color=style.MUTED,
        )
    axis.set_yticks(range(len(rows)), names)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="both")
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0, labelcolor=style.INK)
    return figure, axis, colours


def _name_colours(figure, colours, handles, columns):
    handles = handles + [Line2D([], [], marker="o", color=colour, label=source) for source, colour in colours.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(columns, len(handles)))


def add_differences(gallery, table):
    """Add forest plots of how far profiles differ from each reference: difference and interval, pages of each.

    table: the study's table of comparisons (evaluation.comparison). References stand in the order of the table.
    """
    from phenoloom.report.gallery import pages

    known = table[np.isfinite(table["difference"].astype(float))]
    if len(table) and known.empty:
        gallery.note("Differences between profiles: nothing to show because no two have a unit in common.")
    places = ["dataset", "against_representation", "against_profile"]
    for turn, (reference, rows) in enumerate(known.groupby(places, sort=False), start=1):
        split = pages(list(range(len(rows))), OVERVIEW_ROWS)
        for page, lines in enumerate(split):
            part = rows.iloc[lines].reset_index(drop=True)
            gallery.add(
                f"differences_{turn}_{page + 1}",
                _differences(part),
                part,
                f"Difference to {'/'.join(reference)}",
                "Each row compares a profile with the reference in one score, over the units (treatments, labels or "
                "cells) that have a value in both: the dot is the difference of the two means, right of 0 where the "
                "profile is better, the bar its 95 % interval (paired bootstrap; compounds drawn together where they "
                "are known). "
                f"{count(len(part), 'comparison')}"
                + (f" of {len(rows):,}; page {page + 1} of {len(split)}." if len(split) > 1 else "."),
                group=f"differences_{turn}",
                page=page,
            )


def _differences(rows):
    sources = [shorten(f"{row.representation}/{row.profile}", 36) for row in rows.itertuples()]
    with style.look():
        figure, axis, colours = _dots(rows, "difference", sources, "{:+.3f}")
        axis.axvline(0, color=style.INK, linewidth=0.9)
        reach = max(0.05, 1.08 * np.nanmax(np.abs(rows[["difference", "low", "high"]].to_numpy(float))))
        axis.set_xlim(-reach, reach)
        axis.set_xlabel("difference of the score")
        _name_colours(figure, colours, [], 3)
    return figure


def add_details(gallery, details, evaluation, dataset, representation, profile, options=None, table=None):
    """Add the figure that fits the per-unit details of one evaluation.

    options: the evaluation's block of the config. table: the profile it was computed on; needed for dose-response
    curves and control pairs only.
    """
    name = "--".join([evaluation, dataset, representation, profile])
    where = f"{evaluation} ({dataset}/{representation}/{profile})"
    columns = set(details.columns)
    if "neighbour_label" in columns:
        _add_confusion(gallery, details, name, where, (options or {}).get("level") == "cells")
    elif "mean_average_precision" in columns:
        _add_precision(gallery, details, name, where)
    elif "energy_distance" in columns:
        _add_energy(gallery, details, name, where)
    elif {"median_similarity", "threshold"} <= columns:
        _add_similarity(gallery, details, name, where)
    elif {"rho", "compound"} <= columns and table is not None:
        _add_doses(gallery, details, table, options or {}, name, where)
    elif "z_prime" in columns and table is not None:
        _add_controls(gallery, details, table, options or {}, name, where)


def confusion_matrix(details):
    """(labels, counts): of the evaluated rows, true labels in rows and the neighbours' labels in columns."""
    rows = details[details["evaluated"].fillna(False).astype(bool)]
    labels = sorted({str(value) for value in pd.concat([rows["label"], rows["neighbour_label"]]).dropna()}, key=natural)
    place = {label: line for line, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), int)
    for true, found in zip(rows["label"], rows["neighbour_label"], strict=True):
        counts[place[str(true)], place[str(found)]] += 1
    return labels, counts


def _add_confusion(gallery, details, name, where, of_cells=False):
    labels, counts = confusion_matrix(details)
    title = f"Confusion matrix: {where}"
    if not counts.sum():
        gallery.note(f"{title}: nothing to show because no unit could be classified.")
        return
    n, hits = (
        int(counts.sum()),
        int(details.loc[details["evaluated"].fillna(False).astype(bool), "hit"].astype(bool).sum()),
    )
    data = pd.DataFrame(
        [
            {"Label": true, "Neighbour": found, "Count": int(counts[row, column])}
            for row, true in enumerate(labels)
            for column, found in enumerate(labels)
        ]
    )
    left_out = ""
    if len(labels) > MATRIX_LABELS:
        keep = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MATRIX_LABELS])
        left_out = f" The {MATRIX_LABELS} most frequent of {len(labels)} labels are drawn; all are in the data."
        labels, counts = [labels[index] for index in keep], counts[np.ix_(keep, keep)]
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    with style.look():
        side = min(7.6, 1.2 + 0.42 * len(labels))
        figure = style.new_figure(side + 3.0, side + 1.2)
        axis = figure.subplots()
        axis.set_anchor("W")
        image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="none")
        axis.set_xticks(
            range(len(labels)),
            [shorten(label, 26) for label in labels],
            rotation=40,
            ha="right",
            rotation_mode="anchor",
        )
        axis.set_yticks(
            range(len(labels)),
            [f"{shorten(label, 26)} ({total})" for label, total in zip(labels, totals[:, 0], strict=True)],
        )
        axis.tick_params(length=0, labelcolor=style.INK)
        axis.set_xlabel("label by the nearest cells" if of_cells else "label of the nearest allowed neighbour")
        axis.set_ylabel(f"own label (number of {'cells' if of_cells else 'units'})")
        if len(labels) <= 25:
            for row, column in zip(*np.nonzero(counts), strict=True):
                axis.text(
                    column,
                    row,
                    counts[row, column],
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if shares[row, column] > 0.55 else style.INK,
                )
        bar = figure.colorbar(image, ax=axis, shrink=0.5, aspect=22, pad=0.02)
        bar.set_label("share of the row")
        bar.outline.set_visible(False)
    gallery.add(
        f"confusion--{name}",
        figure,
        data,
        title,
        (
            "Which label most of the nearest training cells of each held-out cell have; where none was held out, cells "
            "of the other parts of a cross-validation. "
            if of_cells
            else "Which label the nearest neighbour of each unit has; neighbours of the same compound (NSCB: also of "
            "the same batch) are excluded. "
        )
        + f"Right answers lie on the diagonal: {hits:,} of n = {n:,} ({share(hits / n, 1)}). "
        "Numbers are counts, colours shares of the row." + left_out,
        group=f"confusion--{where.split()[0]}",
    )


def _add_precision(gallery, details, name, where):
    title = f"Average precision: {where}"
    call = next((column for column in ("active", "significant") if column in details), None)
    found = details[np.isfinite(details["mean_average_precision"].astype(float))].reset_index(drop=True)
    if found.empty:
        gallery.note(f"{title}: nothing to show because no unit has a value (see the notes in the evaluation table).")
        return
    called = found[call].fillna(False).astype(bool) if call else pd.Series(False, found.index)
    word = {"active": "active", "significant": "significant"}.get(call, "significant")
    listed = len(found) <= LISTED_UNITS
    groups = _moa_groups(found)
    with style.look():
        height = max(3.3, 0.9 + 0.22 * max(len(found) if listed else 0, 0 if listed else len(groups)))
        figure = style.new_figure(style.WIDTH, height)
        both = listed or len(groups) > 1
        panels = figure.subplots(1, 2, width_ratios=[1, 1.15]) if both else [figure.subplots()]
        _volcano(
            panels[0],
            found["mean_average_precision"],
            found["qvalue"],
            called,
            word,
            "mean average precision",
        )
        panels[0].set_xlim(min(0, found["mean_average_precision"].min()), 1.03)
        if listed:
            _unit_list(panels[1], found, called)
        elif both:
            _by_moa(panels[1], groups)
    gallery.add(
        f"precision--{name}",
        figure,
        found,
        title,
        "Left: mean average precision of each unit against -log10 of its q-value (Benjamini-Hochberg over the "
        f"permutation p-values); the dotted line is q = {RATE:g}; {int(called.sum()):,} of n = {len(found):,} are "
        f"{word}. Units at the top share a height where their p-value is the smallest that the permutations allow. "
        + (
            "Right: every unit by name. "
            if listed
            else "Right: units by mechanism, the bar is the median. "
            if len(groups) > 1
            else ""
        )
        + (
            f"{len(details) - len(found):,} without a value are not drawn; the evaluation's details say why."
            if len(details) > len(found)
            else ""
        ),
        group=f"precision--{where.split()[0]}",
    )


def _volcano(axis, values, qvalues, called, word, label):
    height = -np.log10(np.clip(qvalues.astype(float), 1e-300, 1))
    size = 26 if len(values) < 300 else 10
    for chosen, colour, text in ((~called, "#b3bcc5", f"not {word}"), (called, style.ACCENT, word)):
        axis.scatter(
            values[chosen],
            height[chosen],
            s=size,
            c=colour,
            linewidths=0.3,
            edgecolors="white",
            label=f"{text} ({int(chosen.sum()):,})",
        )
    axis.axhline(-np.log10(RATE), color=style.MUTED, linewidth=0.8, linestyle=":")
    axis.set_xlabel(label)
    axis.set_ylabel("-log10 q")
    axis.set_ylim(min(0, axis.get_ylim()[0]), max(1.6, axis.get_ylim()[1]))
    axis.grid()
    axis.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)


def _unit_list(axis, found, called):
    ordered = found.assign(called=called).sort_values("mean_average_precision", kind="stable")
    lines = np.arange(len(ordered))
    axis.hlines(lines, 0, ordered["mean_average_precision"], color=style.FAINT, linewidth=1.5)
    axis.scatter(
        ordered["mean_average_precision"],
        lines,
        s=22,
        c=[style.ACCENT if yes else "#b3bcc5" for yes in ordered["called"]],
        zorder=3,
    )
    axis.set_yticks(lines, [shorten(unit, 34) for unit in ordered["unit"]], fontsize=7)
    axis.set_ylim(-0.8, len(ordered) - 0.2)
    axis.set_xlim(0, max(1.02, ordered["mean_average_precision"].max() * 1.02))
    axis.set_xlabel("mean average precision")
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0, labelcolor=style.INK)


def _moa_groups(found):
    """MoA -> mean average precisions, best median first, when there are several known."""
    if "Metadata_MoA" not in found:
        return {}
    known = found[found["Metadata_MoA"].fillna("").astype(str) != ""]
    groups = {moa: part["mean_average_precision"].to_numpy(float) for moa, part in known.groupby("Metadata_MoA")}
    ordered = sorted(groups, key=lambda moa: (-np.median(groups[moa]), natural(moa)))[:LISTED_UNITS]
    return {moa: groups[moa] for moa in ordered}


def _by_moa(axis, groups):
    for line, values in enumerate(groups.values()):
        axis.plot(
            values, np.full(len(values), line), "o", color=style.ACCENT, alpha=0.5, markersize=4.5, markeredgewidth=0
        )
        axis.plot([np.median(values)], [line], "|", color=style.INK, markersize=12, markeredgewidth=1.6)
    axis.set_yticks(
        range(len(groups)), [f"{shorten(moa, 30)} ({len(values)})" for moa, values in groups.items()], fontsize=7
    )
    axis.set_ylim(len(groups) - 0.3, -0.7)
    axis.set_xlabel("mean average precision")
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0, labelcolor=style.INK)


def _add_energy(gallery, details, name, where):
    title = f"Activity: {where}"
    found = details[
        np.isfinite(details["energy_distance"].astype(float)) & np.isfinite(details["qvalue"].astype(float))
    ].reset_index(drop=True)
    if found.empty:
        gallery.note(f"{title}: nothing to show because no treatment has controls to compare with.")
        return
    active = found["active"].fillna(False).astype(bool)
    with style.look():
        figure = style.new_figure(style.WIDTH * 0.62, 4.2)
        axis = figure.subplots()
        _volcano(
            axis,
            found["energy_distance"],
            found["qvalue"],
            active,
            "active",
            "energy distance to the negative controls",
        )
        best = found[active].sort_values("energy_distance", ascending=False, kind="stable").head(NAMED)
        for row in best.itertuples():
            axis.annotate(
                shorten(row.unit, 24),
                (row.energy_distance, -np.log10(max(row.qvalue, 1e-300))),
                xytext=(-4, 5),
                textcoords="offset points",
                fontsize=6.5,
                ha="right",
                color=style.MUTED,
            )
    gallery.add(
        f"activity--{name}",
        figure,
        found,
        title,
        "Distance of each treatment's wells from the negative controls of their plates against -log10 of its q-value "
        f"(permutations, Benjamini-Hochberg); the dotted line is q = {RATE:g}. {int(active.sum()):,} of "
        f"n = {len(found):,} are active.",
        group=f"activity--{where.split()[0]}",
    )


def _add_similarity(gallery, details, name, where):
    hit = next((column for column in ("replicating", "matching") if column in details), None)
    title = f"Percent {hit or 'above the null'}: {where}"
    found = details[np.isfinite(details["median_similarity"].astype(float))].reset_index(drop=True)
    if found.empty:
        gallery.note(f"{title}: nothing to show because no unit has two profiles to compare.")
        return
    yes = found[hit].fillna(False).astype(bool) if hit else found["median_similarity"] > found["threshold"]
    ordered = found.assign(yes=yes).sort_values("median_similarity", kind="stable").reset_index(drop=True)
    with style.look():
        figure = style.new_figure(style.WIDTH * 0.7, 3.6)
        axis = figure.subplots()
        rank = np.arange(1, len(ordered) + 1)
        axis.plot(
            rank, ordered["threshold"], "_", color=style.WARNING, markersize=5, label="threshold from random groups"
        )
        for chosen, colour, text in ((~ordered["yes"], "#b3bcc5", "below"), (ordered["yes"], style.ACCENT, "above")):
            axis.plot(
                rank[chosen],
                ordered.loc[chosen, "median_similarity"],
                "o",
                color=colour,
                markersize=4.5,
                label=f"{text} ({int(chosen.sum()):,})",
            )
        axis.set_xlabel("rank")
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axis.set_xlim(0.4, len(ordered) + 0.6)
        axis.set_ylabel("median similarity within the group")
        axis.grid(axis="y")
        axis.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3)
    gallery.add(
        f"similarity--{name}",
        figure,
        found,
        title,
        f"Median pairwise similarity within each group, ranked, and the threshold that random groups of the same shape "
        f"rarely exceed. {int(yes.sum()):,} of n = {len(found):,} lie above it ({share(yes.mean(), 1)}).",
        group=f"similarity--{where.split()[0]}",
    )


def _named(details, options):
    """Features that the config names for an evaluation, at most FEATURES of them, in the table's order."""
    from fnmatch import fnmatchcase

    present = list(dict.fromkeys(details["feature"].dropna()))
    patterns = options.get("features") or ["Distance_To_Controls"]
    return [name for name in present if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _values(table, feature):
    """Values of a feature of the wells, or their distance to the controls; None where there is no such column."""
    from phenoloom.evaluation.features import DISTANCE_TO_CONTROLS, distance_to_controls

    if feature in table:
        return pd.to_numeric(table[feature], errors="coerce").to_numpy(float)
    return distance_to_controls(table) if feature == DISTANCE_TO_CONTROLS else None


def _add_doses(gallery, details, table, options, name, where):
    from phenoloom.evaluation.units import choose, is_control, text

    chosen = _named(details, options)
    if not chosen or not np.isfinite(details["rho"].astype(float)).any():
        gallery.note(
            f"Dose-response: {where}: nothing to show because no compound has enough doses of a named feature."
        )
        return
    table = choose(table, options.get("samples", ""))
    control = np.asarray(is_control(table), bool)
    compounds = np.where(control, "", text(table, options.get("compound", "Perturbation")))
    doses = pd.to_numeric(pd.Series(text(table, options.get("dose", "Concentration"))), errors="coerce").to_numpy(float)
    units = sorted(set(table["Metadata_Unit"].dropna().astype(str)) - {""}) if "Metadata_Unit" in table else []
    for place, feature in enumerate(chosen[:FEATURES], 1):
        values = _values(table, feature)
        rows = details[(details["feature"] == feature) & np.isfinite(details["rho"].astype(float))]
        if values is None or rows.empty:
            continue
        ranked = rows.assign(_name=[natural(unit) for unit in rows["compound"]])
        ranked = ranked.sort_values(["qvalue", "_name"], kind="stable").head(CURVES)
        points = pd.DataFrame({"Compound": compounds, "Dose": doses, "Value": values, "Control": control})
        points = points[np.isfinite(points["Value"]) & (points["Control"] | np.isfinite(points["Dose"]))]
        shown = points[points["Compound"].isin(set(ranked["compound"])) | points["Control"]].reset_index(drop=True)
        fitted = {"ec50", "hill", "top", "bottom"} <= set(ranked.columns)
        figure = _dose_figure(ranked, shown, feature, units[0] if len(units) == 1 else "", fitted)
        curve = (
            "The line is a fitted four-parameter logistic where the half-effective dose (EC50, open diamond) can be "
            "told, else it joins the medians. "
            if fitted
            else "The line joins the medians of the doses. "
        )
        gallery.add(
            f"dose_{place}--{name}",
            figure,
            shown,
            f"Dose-response of {feature}: {where}",
            f"Each dot is a well; the grey band holds the middle 90 % of the negative controls. {curve}Above each "
            "panel: Spearman's rho of value and dose, and its q-value (permutation, Benjamini-Hochberg). "
            + (f"The {len(ranked)} compounds with the smallest q of {len(rows)}. " if len(rows) > len(ranked) else "")
            + f"n = {int((~shown['Control']).sum()):,} wells of {count(len(ranked), 'compound')} and "
            f"{int(shown['Control'].sum()):,} negative controls.",
            group=f"dose--{where.split()[0]}",
        )
    if len(chosen) > FEATURES:
        gallery.note(
            f"Dose-response: {where}: the first {FEATURES} of {len(chosen)} named features are drawn; the details "
            "hold all."
        )


def _dose_figure(ranked, points, feature, unit, fitted):
    beside = min(4, len(ranked))
    below = -(-len(ranked) // beside)
    controls = points.loc[points["Control"], "Value"]
    positive = points.loc[~points["Control"] & (points["Dose"] > 0), "Dose"]
    logarithmic = len(positive) > 0 and positive.max() / positive.min() > 20
    with style.look():
        figure = style.new_figure(min(style.WIDTH, 0.8 + 2.9 * beside), 0.4 + 2.1 * below)
        axes = figure.subplots(below, beside, squeeze=False, sharey=True).ravel()
        for spare in axes[len(ranked) :]:
            spare.set_axis_off()
        for axis, row in zip(axes, ranked.itertuples(), strict=False):
            own = points[points["Compound"] == row.compound]
            if len(controls):
                axis.axhspan(*np.quantile(controls, [0.05, 0.95]), color="#dfe4e8", linewidth=0, zorder=0)
            axis.plot(own["Dose"], own["Value"], "o", color=style.ACCENT, alpha=0.45, markersize=4, markeredgewidth=0)
            if logarithmic:
                lowest = own.loc[own["Dose"] > 0, "Dose"].min()
                if (own["Dose"] <= 0).any():
                    axis.set_xscale("symlog", linthresh=lowest if lowest == lowest else 1.0)
                else:
                    axis.set_xscale("log")
                axis.xaxis.set_major_formatter(style.plain_number)
                axis.xaxis.set_minor_locator(NullLocator())
            if fitted and np.isfinite(row.ec50):
                dose = np.geomspace(own.loc[own["Dose"] > 0, "Dose"].min(), own["Dose"].max(), 100)
                middle = row.bottom + (row.top - row.bottom) / (1 + (row.ec50 / dose) ** row.hill)
                axis.plot(dose, middle, color=style.WARNING, linewidth=1.4)
                axis.plot(
                    [row.ec50],
                    [(row.top + row.bottom) / 2],
                    "D",
                    markersize=6,
                    markerfacecolor="white",
                    markeredgecolor=style.WARNING,
                )
            else:
                medians = own.groupby("Dose")["Value"].median()
                axis.plot(medians.index, medians, color=style.WARNING, linewidth=1.4)
            axis.set_title(f"{shorten(row.compound, 26)}\nrho {row.rho:.2f}, q {row.qvalue:.2g}", fontsize=8)
            axis.grid(axis="y")
        figure.supxlabel(f"dose ({unit})" if unit else "dose", fontsize=8.5)
        figure.supylabel(shorten(feature, 40), fontsize=8.5)
    return figure


def _add_controls(gallery, details, table, options, name, where):
    from phenoloom.evaluation.units import choose, text
    from phenoloom.profiles.queries import select

    patterns = options.get("features") or []
    chosen = _named(details, options) if patterns else []
    chosen = [feature for feature in chosen if feature in table][:FEATURES]
    if not chosen:
        gallery.note(f"Controls: {where}: nothing to show because the evaluation names no feature.")
        return
    table = choose(table, options.get("samples", ""))
    by = options.get("by", "Plate")
    groups = text(table, by) if by else np.full(len(table), "all", dtype=object)
    masks = {
        role: select(table, options.get(role) or f"Metadata_Control == '{role}'", "controls of an evaluation")
        for role in ("negative", "positive")
    }
    rows = [
        pd.DataFrame(
            {
                "Feature": feature,
                "Group": groups[mask],
                "Control": role,
                "Value": pd.to_numeric(table[feature], errors="coerce").to_numpy(float)[mask],
            }
        )
        for feature in chosen
        for role, mask in masks.items()
    ]
    data = pd.concat(rows, ignore_index=True)
    data = data[np.isfinite(data["Value"])].reset_index(drop=True)
    if data.empty:
        gallery.note(f"Controls: {where}: nothing to show because no control has a value.")
        return
    names = sorted(set(data["Group"]), key=natural)[:LISTED_UNITS]
    with style.look():
        figure = style.new_figure(style.WIDTH, len(chosen) * 2.5 + 0.5)
        for axis, feature in zip(figure.subplots(len(chosen), 1, squeeze=False).ravel(), chosen, strict=True):
            for shift, role in ((-0.13, "negative"), (0.13, "positive")):
                own = data[(data["Feature"] == feature) & (data["Control"] == role)]
                place = {group: line for line, group in enumerate(names)}
                own = own[own["Group"].isin(place)]
                axis.plot(
                    own["Group"].map(place) + shift,
                    own["Value"],
                    "o",
                    color=style.ROLES[f"{role} control"],
                    alpha=0.6,
                    markersize=4.5,
                    markeredgewidth=0,
                    label=f"{role} control",
                )
            found = details[details["feature"] == feature].set_index("group")
            labels = [f"{shorten(group, 22)}\nZ' {number(found['z_prime'].get(group, np.nan), 2)}" for group in names]
            axis.set_xticks(
                range(len(names)),
                labels,
                rotation=0 if len(names) <= 8 else 60,
                ha="center" if len(names) <= 8 else "right",
            )
            axis.set_xlim(-0.6, len(names) - 0.4)
            axis.set_title(shorten(feature, 80))
            axis.grid(axis="y")
            axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    gallery.add(
        f"controls--{name}",
        figure,
        data,
        f"Controls: {where}",
        f"Value of the named features in the wells of the two controls{', by ' + by.lower() if by else ''}; each "
        "dot is a well. Z' above 0.5 is an excellent assay, below 0 the controls overlap (Zhang et al. 1999). "
        f"n = {int(masks['negative'].sum()):,} negative and {int(masks['positive'].sum()):,} positive controls.",
        group=f"controls--{where.split()[0]}",
    )
