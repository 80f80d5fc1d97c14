"""Figures of a learned aggregation beside other profiles: scores of plates, of mechanisms, and maps of compounds.

Source: CytoSummaryNet, van Dijk et al. 2024, its figures 1 to 5.
"""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from phenoloom.core.words import count
from phenoloom.evaluation.aggregation import MECHANISMS, PLATE, REPLICATES
from phenoloom.evaluation.aggregation_tables import ALL_BATCHES, COMPOUNDS, SIDES, best_pairs
from phenoloom.metric_learning.splits import ALL, TRAIN
from phenoloom.profiles.similarities import is_similarity, similarity_of
from phenoloom.report import style
from phenoloom.report.embedding import embed, embed_similarity
from phenoloom.report.style import natural, shorten

#: Profiles in one figure of plates; mechanisms named in a scatter plot; pairs of compounds on a map.
PROFILES, NAMED, PAIRS = 6, 6, 15
#: Width of a letter and height of a line of a name in a scatter plot, as shares of its axes.
NAME_WIDTH, NAME_HEIGHT = 0.0168, 0.045
#: Words of a task and of the sides of plates.
TASKS = {REPLICATES: "replicates", MECHANISMS: "mechanisms of action"}
PLATES = {side: f"{'training' if side == TRAIN else side} plates" for side in SIDES}
COMPOUND_WORDS = {side: "all" if side == ALL else "training" if side == TRAIN else side for side in COMPOUNDS}
SEEN = "On training plates the wells of training compounds taught the network, so that their scores say how well it "
SEEN += "learned them and nothing of new wells."
#: p-values below which a star is added.
STARS = (0.05, 0.01, 0.001, 0.0001)
MARKERS = (*style.MARKERS, "D", "v")


def stars(pvalue):
    """'ns', or a star for each of STARS that a p-value is below; '' where there is none.

    >>> stars(0.004), stars(0.2), stars(float("nan"))
    ('**', 'ns', '')
    """
    if pvalue != pvalue:
        return ""
    return "*" * sum(pvalue < limit for limit in STARS) or "ns"


def add_plates(gallery, plates, strata, task, learned):
    """Add box plots of the mean average precision of plates, by side of the plates and compounds that ask.

    plates, strata: evaluation.aggregation_tables. learned: name of the profile. One figure of all batches, then one of
    each where there are several.
    """
    title = f"Retrieval of {TASKS[task]} by plate"
    own = plates[plates["task"] == task]
    if own.empty:
        gallery.note(f"{title}: nothing to show because no well has another of its {_label(task)} to find.")
        return
    profiles = list(dict.fromkeys(own["profile"]))[:PROFILES]
    batches = sorted(own["batch"].unique(), key=natural)
    more = own["profile"].nunique() - len(profiles)
    for page, batch in enumerate([ALL_BATCHES, *(batches if len(batches) > 1 else [])]):
        rows = own if batch == ALL_BATCHES else own[own["batch"] == batch]
        tests = strata[(strata["task"] == task) & (strata["batch"] == batch)]
        shown = rows[rows["profile"].isin(profiles)]
        gallery.add(
            f"{'replicates' if task == REPLICATES else 'mechanisms'}_{page + 1}",
            _boxes(shown, tests, profiles, learned),
            rows.reset_index(drop=True),
            title if batch == ALL_BATCHES else f"{title}, {shorten(batch, 40)}",
            f"Each point is the mean average precision of a plate, n = {rows['plate'].nunique():,}; boxes hold the "
            "middle half of them. In brackets: compounds that ask on a plate, on average. A query is a treated "
            "well, its candidates are "
            + _candidates(rows["candidates"].iloc[0])
            + f". Stars above a reference: Welch's t-test of {shorten(learned, 30)} against it (ns: p of 0.05 or more; "
            f"* below {STARS[0]:g}, ** {STARS[1]:g}, *** {STARS[2]:g}, **** {STARS[3]:g}; none with fewer than two "
            f"plates). {SEEN}" + (f" {count(more, 'more profile')} of {TASKS[task]} in the tables." if more else ""),
            group=f"plates_{task}",
            page=page,
        )


def _label(task):
    return "compound" if task == REPLICATES else "mechanism of another compound"


def _candidates(candidates):
    return "the treated wells of its plate" if candidates == PLATE else "those of all plates of the same side"


def _colours(profiles, learned):
    others = [name for name in profiles if name != learned]
    rest = [colour for colour in style.CATEGORIES if colour != style.ACCENT]
    return {learned: style.ACCENT} | {name: rest[place % len(rest)] for place, name in enumerate(others)}


def _boxes(rows, tests, profiles, learned):
    sides = [side for side in SIDES if (rows["plate_side"] == side).any()]
    colours = _colours(profiles, learned)
    highest = rows["mean_average_precision"].max()
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.7)
        axes = figure.subplots(1, len(sides), sharey=True, squeeze=False)[0]
        for axis, side in zip(axes, sides, strict=True):
            of_side = rows[rows["plate_side"] == side]
            groups = [name for name in COMPOUNDS if (of_side["compounds"] == name).any()]
            for place, compounds in enumerate(groups):
                own = of_side[of_side["compounds"] == compounds]
                chosen = tests[(tests["plate_side"] == side) & (tests["compounds"] == compounds)]
                pvalues = dict(zip(chosen["reference"], chosen["pvalue"], strict=True))
                for turn, profile in enumerate(profiles):
                    values = own.loc[own["profile"] == profile, "mean_average_precision"].to_numpy()
                    x = place + 0.8 * ((turn + 0.5) / len(profiles) - 0.5)
                    _box(axis, x, values, 0.8 / len(profiles), colours[profile])
                    if profile != learned:
                        said = stars(pvalues.get(profile, np.nan))
                        axis.text(
                            x,
                            highest * 1.06,
                            said,
                            ha="center",
                            va="bottom",
                            fontsize=7 if said == "ns" else 9,
                            rotation=90 if len(profiles) > 3 else 0,
                        )
            asking = of_side.groupby("compounds")["n_compounds"].mean()
            ticks = [_tick(compounds, side, asking[compounds]) for compounds in groups]
            axis.set_xticks(range(len(groups)), ticks)
            axis.tick_params(axis="x", length=0, labelcolor=style.INK)
            axis.set_xlim(-0.55, len(groups) - 0.45)
            axis.set_title(f"{PLATES[side]} ({of_side['plate'].nunique():,})")
            axis.grid(axis="y")
        axes[0].set_ylim(0, highest * 1.2)
        axes[0].set_yticks([tick for tick in axes[0].get_yticks() if tick <= 1 and tick < highest * 1.2])
        axes[0].set_ylabel("mean average precision of a plate")
        handles = [Patch(color=colours[name], alpha=0.75, label=shorten(name, 30)) for name in profiles]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    return figure


def _tick(compounds, side, number):
    """Words below a group of boxes, with how many compounds ask; those that taught on these plates are said to have."""
    words = COMPOUND_WORDS[compounds]
    taught = "\n(taught)" if (compounds, side) == (TRAIN, TRAIN) else ""
    return f"{words}\ncompounds ({number:.0f}){taught}"


def _box(axis, x, values, width, colour):
    if not len(values):
        return
    if len(values) > 2:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        axis.bar(x, high - low, 0.8 * width, low, color=colour, alpha=0.35, linewidth=0)
        axis.plot([x - 0.4 * width, x + 0.4 * width], [middle, middle], color=colour, linewidth=1.8)
    spread = (np.arange(len(values)) % 5 - 2) * 0.1 * width if len(values) > 1 else np.zeros(1)
    axis.plot(x + spread, values, "o", color=colour, markersize=4, markeredgecolor="white", markeredgewidth=0.4)


def add_mechanisms(gallery, mechanisms, learned):
    """Add scatter plots of the mean average precision of mechanisms: the learned profile against each reference."""
    title = "Retrieval of each mechanism"
    references = [name for name in mechanisms["profile"].unique() if name != learned]
    if mechanisms.empty or not references:
        what = "no other profile of these cells" if len(mechanisms) else "no mechanism with two compounds"
        gallery.note(f"{title}: nothing to show because there is {what}.")
        return
    place = ["plate_side", "mechanism"]
    wide = mechanisms.pivot(index=place, columns="profile", values="mean_average_precision")
    sizes = mechanisms[mechanisms["profile"] == learned].set_index(place)["n_profiles"]
    for page, reference in enumerate(references):
        rows = wide[[learned, reference]].set_axis(["Learned", "Reference"], axis=1).assign(Profiles=sizes)
        rows = rows.dropna().reset_index()
        rows["plate_side"] = pd.Categorical(rows["plate_side"], SIDES, ordered=True)
        rows = rows.sort_values(place, kind="stable").astype({"plate_side": str}).reset_index(drop=True)
        better = int((rows["Learned"] > rows["Reference"]).sum())
        gallery.add(
            f"each_mechanism_{page + 1}",
            _scatter(rows, learned, reference),
            rows.assign(reference=reference),
            f"{title}: {shorten(learned, 30)} against {shorten(reference, 30)}",
            "Mean average precision of each mechanism by both profiles, by side of the plates; the area grows with the "
            f"wells that ask. Below the line the learned profile is better: {better:,} of n = {len(rows):,} points. "
            f"Named: up to {NAMED} of those farthest from the line. {SEEN}",
            group="each_mechanism",
            page=page,
        )


def _scatter(rows, learned, reference):
    sides = [side for side in SIDES if (rows["plate_side"] == side).any()]
    reach = 1.08 * max(rows["Learned"].max(), rows["Reference"].max(), 1e-3)
    largest = rows["Profiles"].max()
    with style.look():
        figure = style.new_figure(style.WIDTH * max(2, len(sides)) / 3, 3.9)
        axes = figure.subplots(1, max(2, len(sides)), sharex=True, sharey=True, squeeze=False)[0]
        for axis, side in zip(axes, sides, strict=False):
            own = rows[rows["plate_side"] == side]
            axis.plot([0, reach], [0, reach], color=style.MUTED, linewidth=0.9, linestyle=":")
            axis.scatter(
                own["Learned"],
                own["Reference"],
                s=12 + 60 * own["Profiles"] / largest,
                color=style.ACCENT,
                alpha=0.55,
                linewidths=0.5,
                edgecolors="white",
            )
            axis.set_title(f"{PLATES[side]} ({count(len(own), 'mechanism')})")
            axis.set_xlim(0, reach)
            axis.set_ylim(0, reach)
            axis.set_aspect("equal")
            axis.grid()
            axis.set_xlabel(shorten(learned, 34))
            _name_farthest(axis, own, reach)
        axes[0].set_ylabel(shorten(reference, 34))
        for axis in axes[len(sides) :]:
            axis.set_visible(False)
    return figure


def _name_farthest(axis, rows, reach):
    """Write the names of mechanisms far from the line, farthest first, where they lie on no point and no other name."""
    points = rows[["Learned", "Reference"]].to_numpy()
    away = np.abs(points[:, 0] - points[:, 1])
    taken = [(x, y, x, y) for x, y in points]
    for place in np.argsort(-away, kind="stable")[: 3 * NAMED]:
        name = shorten(rows["mechanism"].iloc[place], 22)
        width, height = len(name) * NAME_WIDTH * reach, NAME_HEIGHT * reach
        for left, low in _places_of_name(*points[place], width, height):
            box = left, low, left + width, low + height
            free = all(box[2] < x or high < box[0] or box[3] < y or top < box[1] for x, y, high, top in taken)
            if free and left >= 0 and low >= 0 and box[2] <= reach and len(taken) < len(points) + NAMED:
                taken.append(box)
                axis.text(left, low + height / 2, name, fontsize=6.5, va="center", color=style.INK)
                break


def _places_of_name(x, y, width, height):
    """Lower left corners that a name may have beside, above and below its point."""
    gap = 0.4 * height
    return [
        (x + gap, y - height / 2),
        (x - gap - width, y - height / 2),
        (x - width / 2, y + gap),
        (x - width / 2, y - gap - height),
    ]


def add_maps(gallery, tables, compounds, learned, seed, **options):
    """Add maps of the treated wells of the pairs of compounds whose mechanisms are found best, one per profile.

    tables: {profile: (wells, names of its features)}, the reference first, wells in any order. compounds: as
    evaluation.aggregation_tables.compound_table. options: of embedding.embed. Without pairs, all treated wells.
    """
    title = "Map of the compounds whose mechanisms are found best"
    pairs = best_pairs(compounds, learned, PAIRS)
    names = set(pairs["first"]) | set(pairs["second"])
    parts = []
    for profile, (table, features) in tables.items():
        own = table[table["Metadata_Control"].astype(str) != "negative"]
        chosen = own[own["Metadata_Perturbation"].isin(names)] if names else own
        settings = {**options, "perplexity": None}
        if is_similarity(chosen):
            found = embed_similarity(similarity_of(chosen), seed, **settings)
        else:
            found = embed(chosen[features].to_numpy(np.float64), seed, **settings)
        if isinstance(found, str):
            gallery.note(f"{title}, {profile}: nothing to show because there is {found}.")
            return
        rows = chosen.drop(columns=features).iloc[found[0].rows].reset_index(drop=True)
        parts.append((profile, found[0], rows.assign(X=found[0].xy[:, 0], Y=found[0].xy[:, 1])))
    columns = ["Metadata_Perturbation", "Metadata_MoA", "Metadata_Plate", "Metadata_Well", "X", "Y"]
    data = pd.concat([rows[columns].assign(Profile=profile) for profile, _, rows in parts], ignore_index=True)
    chosen = (
        f"The {count(len(pairs), 'pair')} of compounds of one mechanism that {shorten(learned, 30)} finds best, which "
        "favours it"
        if names
        else "All treated wells, for no two compounds of one mechanism were found"
    )
    methods = ". ".join(f"{shorten(profile, 30)}: {found.method}" for profile, found, _ in parts)
    gallery.add(
        "map",
        _maps([(profile, found.axis, rows) for profile, found, rows in parts]),
        data,
        title if names else "Map of the treated wells",
        f"{chosen}; wells of all plates, n = {len(parts[-1][2]):,}, coloured by compound, mechanism and plate. "
        f"{methods}. Groups by compound and mechanism are what one hopes for, groups by plate are not.",
    )


def _maps(parts):
    panels = [("Metadata_Perturbation", "compounds"), ("Metadata_MoA", "mechanisms"), ("Metadata_Plate", "plates")]
    size = 30 if len(parts[0][2]) < 150 else 14 if len(parts[0][2]) < 1500 else 6
    width, side, tall, gap, top = style.WIDTH, 3.6, 2.9, 0.5, 0.25
    height = top + len(panels) * (tall + gap) - gap + 0.2
    with style.look():
        figure = style.Figure(figsize=(width, height))
        for line, (column, words) in enumerate(panels):
            marks = _marks(pd.concat([rows[column] for *_, rows in parts]).astype(str))
            bottom = height - top - (line + 1) * tall - line * gap
            for place, (profile, axis_name, rows) in enumerate(parts):
                left = 0.25 + place * (side + 0.25)
                axis = figure.add_axes([left / width, bottom / height, side / width, tall / height])
                for value, (colour, marker) in marks.items():
                    own = rows[rows[column].astype(str) == value]
                    axis.scatter(
                        own["X"], own["Y"], s=size, c=colour, marker=marker, linewidths=0.3, edgecolors="white"
                    )
                axis.set_xticks([])
                axis.set_yticks([])
                axis.set_title(f"{shorten(profile, 26)}, by {words}")
                axis.set_xlabel(f"{axis_name} 1", fontsize=7, color=style.MUTED, labelpad=1)
            _legend(figure, marks, (0.2 + len(parts) * (side + 0.25)) / width, (bottom + tall / 2) / height)
    return figure


def _marks(values):
    """{value: (colour, marker)} in natural order; more values than marks share them."""
    names = sorted({value for value in values if value}, key=natural)
    count_of = len(style.CATEGORIES)
    return {
        name: (style.CATEGORIES[place % count_of], MARKERS[place // count_of % len(MARKERS)])
        for place, name in enumerate(names)
    }


def _legend(figure, marks, left, middle):
    distinct = len(style.CATEGORIES) * len(MARKERS)
    shown = list(marks.items())[:distinct]
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, markersize=5, label=shorten(name, 22))
        for name, (colour, marker) in shown
    ]
    title = None if len(shown) == len(marks) else f"{len(marks) - len(shown):,} more, marks repeat"
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(left, middle),
        ncols=1 if len(handles) <= 16 else 2,
        fontsize=6.5,
        title=title,
        title_fontsize=6.5,
        handletextpad=0.2,
        columnspacing=0.8,
    )
