"""What the cells that a learned aggregation rests on are like: sentences, tables and charts.

Source: CytoSummaryNet, van Dijk et al. 2024, its table 2 and supplement E.
"""

import numpy as np
import pandas as pd

from phenoloom.cell_sets.chosen import LEAST, MOST
from phenoloom.core.words import count
from phenoloom.report import style
from phenoloom.report.page import number, slug
from phenoloom.report.style import natural, shorten

#: Scores of cells, in words.
SCORES = {"Combined": "combined relevance", "Sensitivity": "sensitivity", "Activation": "activation"}
#: Colours of cells of either end.
MOST_COLOUR, LEAST_COLOUR = "#4dff7c", "#c98bff"
#: Features of either sign in the table, and in the chart.
TABLE, CHART = 5, 20
#: A correlation that is weaker explains less than a tenth of what cells differ by.
WEAK = 0.3
BINS = 40


def strongest(features, size, score="Combined"):
    """(the `size` rows with the most positive correlation with a score, those with the most negative), strongest first.

    features: DataFrame with Feature and Correlation_*. Ties go by name.
    """
    column = f"Correlation_{score}"
    ordered = features.dropna(subset=[column]).sort_values([column, "Feature"], ascending=[False, True])
    falling = ordered[ordered[column] < 0].sort_values([column, "Feature"])
    return ordered[ordered[column] > 0].head(size), falling.head(size)


def sentences(wells, features):
    """What was scored, what relevant cells are like and which score goes with features most, as a list of text."""
    if wells.empty:
        return ["No cell was scored, because no well on the chosen plates holds a compound."]
    plates = sorted(set(wells["Metadata_Plate"]), key=natural)
    found = [
        f"{count(int(wells['Cells'].sum()), 'cell')} of {count(len(wells), 'treated well')} on "
        f"{count(len(plates), 'plate')} ({', '.join(shorten(plate) for plate in plates[:4])}"
        f"{' and others' if len(plates) > 4 else ''}) were scored: {int(wells['Most'].sum()):,} are among the most "
        f"relevant of their well (> {MOST:g}), {int(wells['Least'].sum()):,} among the least (< {LEAST:g})."
    ]
    return found + _likeness(*strongest(features, CHART)) + _comparison(features)


def _likeness(rising, falling):
    both = pd.concat([rising, falling])
    if both.empty:
        return ["Relevance goes with no feature: none varies among these cells, or all are equally relevant."]
    largest = both["Correlation_Combined"].abs().max()
    if largest < WEAK:
        return [f"Relevance hardly goes with any single feature: the strongest correlation is {number(largest, 2)}."]
    parts = []
    for rows, word in ((rising, "larger"), (falling, "smaller")):
        if len(rows):
            row = rows.iloc[0]
            numbers = (number(row[name], 2) for name in ("Correlation_Combined", "Mean_Most", "Mean_Least"))
            parts.append("{} in {} (r = {}; mean {} against {})".format(word, row["Feature"], *numbers))
    said = [f"The most relevant cells are {' and '.join(parts)} than the least relevant."]
    kinds = both.loc[both["Category"] != "", "Category"].value_counts()
    if len(kinds):
        most = ", ".join(f"{name} {number}" for name, number in kinds.head(3).items())
        said.append(f"Categories of the {len(both)} features that go with relevance most: {most}.")
    return said


def _comparison(features):
    means = {score: _strength(features, score) for score in SCORES}
    if not np.isfinite(list(means.values())).all():
        return []
    ordered = sorted(means, key=lambda score: -means[score])
    rest = " and ".join(f"{number(means[score], 2)} of {SCORES[score]}" for score in ordered[1:])
    paper = "as in the paper" if ordered[0] == "Combined" else "where in the paper it is their combination"
    return [
        f"Of the three scores, {SCORES[ordered[0]]} goes with features most, {paper}: the mean |r| of its "
        f"{min(CHART, len(features))} strongest features is {number(means[ordered[0]], 2)}, against {rest}."
    ]


def _strength(features, score):
    """Mean |r| of the CHART features that go with a score most, NaN without any."""
    values = features[f"Correlation_{score}"].abs().dropna().nlargest(CHART)
    return float(values.mean()) if len(values) else np.nan


def table_rows(features):
    """Rows of the report's tables of features: {`rising`: list of dict, `falling`: list of dict}, CHART of each."""
    names = {"Feature": "feature", "Compartment": "compartment", "Category": "category"}
    names |= {f"Correlation_{score}": score.lower() for score in SCORES}
    names |= {"Mean_Most": "most", "Mean_Least": "least"}
    parts = zip(("rising", "falling"), strongest(features, CHART), strict=True)
    return {name: rows[list(names)].rename(columns=names).to_dict("records") for name, rows in parts}


def relevance_view(key, wells, features, figures):
    """What the report shows of one learned aggregation. key: (dataset, representation, profile). figures: Section."""
    return {
        "name": " / ".join(key),
        "anchor": slug("relevance", *key),
        "sentences": sentences(wells, features),
        **table_rows(features),
        "shown": TABLE,
        "figures": figures,
        "source": f"{key[0]}/profiles/{key[1]}/{key[2]}/relevance",
    }


def add_histograms(gallery, cells, title):
    """Add histograms of the scores of all cells. cells: DataFrame with the columns of SCORES."""
    edges = np.linspace(0, 1, BINS + 1)
    counts = {score: np.histogram(cells[score], edges)[0] for score in SCORES}
    with style.look():
        figure = style.new_figure(style.WIDTH, 2.7)
        for axis, (score, words) in zip(figure.subplots(1, 3), SCORES.items(), strict=True):
            axis.stairs(counts[score], edges, fill=True, color=style.CATEGORIES[0], alpha=0.75)
            axis.set_title(words)
            axis.set_xlabel("from 0 to 1 in each well")
            axis.set_ylabel("cells")
            if score == "Combined":
                for place, colour in ((MOST, "#14883a"), (LEAST, "#8a3fd1")):
                    axis.axvline(place, color=colour, linewidth=1.2, linestyle="--")
    gallery.add(
        "scores",
        figure,
        pd.DataFrame({"From": edges[:-1], "To": edges[1:], **counts}),
        f"Relevance of cells: {title}",
        "Sensitivity: derivative of the loss by a cell's features, absolute, summed. Activation: length of what a cell "
        "adds to its well's sum. Each goes from 0 to 1 in each well, as does combined relevance, which is both added. "
        f"Dashed: the least (< {LEAST:g}) and the most relevant cells (> {MOST:g}). Each well has a cell at 0 "
        f"and one at 1. n = {count(len(cells), 'cell')}.",
    )


def add_correlations(gallery, features, title):
    """Add bars of the features that correlate with relevance most, the other two scores as marks."""
    split = [rows for rows in strongest(features, CHART) if len(rows)]
    if not split:
        gallery.note("Features: nothing to show because relevance or every feature is the same for all cells.")
        return
    lines = max(map(len, split))
    with style.look():
        figure = style.new_figure(style.WIDTH, 0.9 + 0.19 * lines)
        axes = figure.subplots(1, len(split), squeeze=False)[0]
        for axis, rows in zip(axes, split, strict=True):
            places = np.arange(len(rows))
            axis.barh(places, rows["Correlation_Combined"], height=0.72, color="#a9cfe6", label=SCORES["Combined"])
            for score, mark, colour in (("Sensitivity", "o", "#d55e00"), ("Activation", "D", "#1d2733")):
                axis.plot(rows[f"Correlation_{score}"], places, mark, color=colour, markersize=3.2, label=SCORES[score])
            axis.set_yticks(places, [shorten(name, 46) for name in rows["Feature"]], fontsize=6.8)
            axis.set_ylim(lines - 0.4, -0.6)
            axis.axvline(0, color=style.MUTED, linewidth=0.8)
            axis.grid(axis="x")
            axis.set_xlabel("Pearson correlation")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    gallery.add(
        "features",
        figure,
        pd.concat(split, ignore_index=True),
        f"Features that go with relevance: {title}",
        f"Pearson correlation of features, as the network sees them, with the relevance of cells: the {lines} "
        f"strongest of either sign by combined relevance, of {count(len(features), 'feature')}. Marks: the same "
        "features with sensitivity and with activation alone.",
    )
