"""Figures of single cells: maps of all cell profiles side by side, features of the classes before and after scaling."""

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D

from phenoloom.core.tables import METADATA
from phenoloom.core.words import count
from phenoloom.metric_learning.splits import TRAIN, stream
from phenoloom.metric_learning.transform import Transform, apply
from phenoloom.report import style
from phenoloom.report.chains import TRANSDUCTIVE, in_order
from phenoloom.report.gallery import pages
from phenoloom.report.plates import page_text
from phenoloom.report.style import shorten

#: Panels beside each other and in one figure; colours of a legend.
COLUMNS, PANELS, COLOURS = 4, 12, 3 * len(style.CATEGORIES)
#: Colour of cells without a value, or with a rare one.
UNKNOWN = "#ccd3da"
#: Features that are drawn where the config names none, how alike two of them may be (|r|), classes, and bins.
FEATURES, ALIKE, CLASSES, BINS = 4, 0.7, 7, 40
#: Pixels per inch of the points inside an SVG: a point each would make it many megabytes.
POINTS_DPI = 200
#: Kinds of maps and their names.
KINDS = {"umap": "UMAP", "tsne": "t-SNE"}
#: Metadata that maps are coloured by besides the label and the clusters, where it has several values.
ORIGINS = ("Dataset", "Batch")


def add_maps(gallery, obs, maps, chains, label, title):
    """Add maps of all cell profiles side by side, coloured by label, by Leiden cluster, by dataset and by batch.

    obs: DataFrame of the cells on the maps, and maps: {kind: {profile: (n, 2)}}, see anndata_file.read_maps; each kind
    has its own figures. chains: {profile: Chain}. label: column of obs. title: names dataset and representation.
    """
    chains = {name: chains[name] for name in in_order(chains) if np.isfinite(maps["umap"][name]).any()}
    if not chains:
        gallery.note(
            f"Maps of the cells: {title}: nothing to show because there are too few cells, or no cell profile."
        )
        return
    rng = stream(0, "order of drawing")
    order = rng.permutation(len(obs))  # so that no class lies on top of all others
    obs = obs.iloc[order]
    for by, column, words in _colourings(obs, label):
        if column is None:
            gallery.note(words)
            continue
        for kind, of_profiles in maps.items():
            parts = {name: _points(obs, of_profiles[name][order], name, chains[name], by, column) for name in chains}
            _add_pages(gallery, parts, chains, (kind, by), f"Maps of the cells by {words}: {title}")


def _add_pages(gallery, parts, chains, kind_by, title):
    """Figures of some panels each. parts: {profile: DataFrame of points}. kind_by: of map and of colouring."""
    kind, by = kind_by
    name, more = (f"maps_by_{by}", "") if kind == "umap" else (f"{kind}_by_{by}", f", {KINDS[kind]}")
    split = pages(list(chains), PANELS)
    n = max(map(len, parts.values()))
    for page, names in enumerate(split):
        gallery.add(
            f"{name}_{page + 1}",
            _map_figure({one: parts[one] for one in names}, chains, by),
            pd.concat([parts[one] for one in names], ignore_index=True),
            title + more,
            _map_words(KINDS[kind], by, n, chains, names) + page_text(page, split),
            group=name,
            page=page,
        )


def _colourings(obs, label):
    """(kind, column, words) of each colouring; column None where there is nothing to colour by, words say why."""
    if label in obs:
        yield "label", label, label.lower()
    else:
        yield "label", None, f"Maps of the cells have no colours by {label}: no sample has such a column."
    yield "leiden", "leiden", "Leiden cluster"
    for column in ORIGINS:
        if column in obs and obs[column].nunique() > 1:
            yield column.lower(), column, column.lower()


def _points(obs, xy, name, chain, kind, column):
    """Points of one panel. A profile of shuffled labels is coloured by what it was fitted to."""
    own = f"{column}_{name}"
    colour = obs[own] if own in obs and (kind == "leiden" or chain.shuffled) else obs.get(column)
    side = obs.get(f"split_{name}")
    data = {"Profile": name, "Chain": chain.words, "Split": "" if side is None else side.astype(object).fillna("")}
    kept = {METADATA + one: obs[one].astype(object) for one in ("Dataset", "Sample", "Event") if one in obs}
    found = pd.DataFrame({**data, **kept, "Colour": colour.astype(object).fillna(""), "X": xy[:, 0], "Y": xy[:, 1]})
    return found[np.isfinite(xy).all(axis=1)].reset_index(drop=True)


def _map_figure(parts, chains, kind):
    rows = _rows_of(parts, chains)
    shared = kind != "leiden"
    values = pd.concat([part["Colour"] for part in parts.values()])
    looks = _looks(values)
    beside, margin = max(map(len, rows)), 1.8 if shared else 0.1
    side, title = min(2.7, (style.WIDTH - margin) / beside), 0.36
    with style.look():
        figure = style.Figure(figsize=(side * beside + margin, (side + title) * len(rows) + 0.1), dpi=POINTS_DPI)
        width, height = figure.get_size_inches()
        for line, names in enumerate(rows):
            for column, name in enumerate(names):
                inner, top = side - 0.15, (side + title) * line + title + 0.04
                box = [(side * column + 0.05) / width, 1 - (top + inner) / height, inner / width, inner / height]
                axis = figure.add_axes(box)
                _scatter(axis, parts[name], looks if shared else _looks(parts[name]["Colour"]))
                more = "" if shared else f" · {count(parts[name]['Colour'].nunique(), 'cluster')}"
                axis.set_title(f"{shorten(name, 30)}\n", fontsize=7.5, pad=4)
                words = f"{chains[name].words}{more}"
                axis.text(0, 1.02, words, transform=axis.transAxes, fontsize=7, color=style.MUTED)
        if shared:
            _legend(figure, values, looks, (side * beside + 0.1) / width)
    return figure


def _rows_of(names, chains):
    """Names of cell profiles in lines of a figure, those of one setting beside and below each other."""
    lines = []
    for setting in dict.fromkeys(chains[name].setting for name in names):
        own = [name for name in names if chains[name].setting == setting]
        lines += pages(own, 3 if len(own) in (5, 6) else COLUMNS)
    return lines


def _looks(values):
    """{value: colour} of the most frequent values: the palette, then lighter and darker kinds of it."""
    names = [value for value, _, _ in style.categories(values, COLOURS)]
    mixed = []
    for ground, share in (("white", 0.0), ("white", 0.5), ("black", 0.45)):
        for colour in style.CATEGORIES:
            mixed.append(to_hex((1 - share) * np.array(to_rgb(colour)) + share * np.array(to_rgb(ground))))
    return dict(zip(names, mixed, strict=False))


def _scatter(axis, part, looks):
    """Cells that a profile was fitted on are pale where it has held others out."""
    pale = (part["Split"] == TRAIN).to_numpy()
    size = 10 if len(part) < 1500 else 4 if len(part) < 8000 else 1.5
    colours = np.array([looks.get(value, UNKNOWN) for value in part["Colour"]], dtype=object)
    for chosen, alpha in ((pale, 0.28), (~pale, 0.9)):
        axis.scatter(
            part["X"][chosen],
            part["Y"][chosen],
            s=size,
            c=list(colours[chosen]),
            alpha=alpha,
            linewidths=0,
            rasterized=True,
        )
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(style.FAINT)


def _legend(figure, values, looks, left):
    counts = values[values != ""].value_counts()
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, markersize=5, label=shorten(value, 22))
        for value, colour in looks.items()
    ]
    if len(counts) > len(looks) or (values == "").any():
        handles.append(Line2D([], [], marker="o", linestyle="", color=UNKNOWN, markersize=5, label="others, unknown"))
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(left, 0.99), fontsize=7, handletextpad=0.2)


def _map_words(kind, by, n, chains, names):
    shown = [chains[name] for name in names]
    text = f"{kind} of the embedding of each cell profile; every panel shows the same cells, n = {n:,}. "
    if any(not chain.learned for chain in shown) and any(chain.learned for chain in shown):
        text += "“No metric” is before metric learning, the others are after it. "
    if any(chain.setting != TRANSDUCTIVE for chain in shown):
        text += "Pale cells were fitted on, full colour was held out. "
    if any(chain.setting == TRANSDUCTIVE for chain in shown):
        text += "A transductive profile was fitted on every cell that it shows, labels and all. "
    if any(chain.shuffled for chain in shown) and by == "label":
        text += "Profiles of shuffled labels are coloured by these: what parts there, fitting alone has parted. "
    if by == "leiden":
        text += "Clusters are numbered by size within each panel; one colour means nothing across panels. "
    return text + "Distances between far groups and the sizes of groups mean nothing in such a map."


def separation(values, labels):
    """F statistic (d,) of each feature between the labels: variance between them over variance within.

    values: (n, d). labels: length n, "" for none. NaN for a feature that does not vary or has missing values; all NaN
    with fewer than two labels.
    """
    from sklearn.feature_selection import f_classif

    values, labels = np.asarray(values, np.float64), np.asarray(labels, dtype=object)
    values, labels = values[labels != ""], labels[labels != ""].astype(str)
    found = np.full(values.shape[1], np.nan)
    if len(set(labels)) < 2 or len(labels) <= len(set(labels)):
        return found
    usable = np.isfinite(values).all(axis=0)
    usable[usable] = np.ptp(values[:, usable], axis=0) > 0
    if usable.any():
        found[usable] = f_classif(values[:, usable], labels)[0]
    return found


def separating(values, names, labels, number=FEATURES):
    """Names of the features with the highest `separation` of which no two are alike (|r| above ALIKE)."""
    found = separation(values, labels)
    chosen = []
    for place in np.argsort(-found, kind="stable"):
        if not np.isfinite(found[place]) or len(chosen) == number:
            break
        own = values[:, place].astype(np.float64)
        if all(abs(np.corrcoef(own, values[:, other])[0, 1]) <= ALIKE for other in chosen):
            chosen.append(place)
    return [names[place] for place in chosen]


def scaled_features(transform, table):
    """DataFrame of the features of a table as a fitted transform scales them, before any projection; None where it
    does not scale.

    transform: Transform. table: DataFrame with all of its features, and Metadata_ of what it scales by.
    """
    stages, names, scaling = [], np.array(transform.features, dtype=object), False
    for kind, arrays in transform.stages:
        if kind == "linear":
            break
        stages.append((kind, arrays))
        names = names[arrays["kept"]] if kind == "select" else names
        scaling = scaling or kind == "scale"
    if not scaling:
        return None
    values = apply(Transform(transform.features, transform.by, stages), table)
    return pd.DataFrame(values, columns=names)


def add_histograms(gallery, table, labels, wanted, scaled, title, label):
    """Add histograms of features by label, before and after scaling.

    table: DataFrame (n, d) of features. labels: length n, "" for none. wanted: names of features; empty: those that
    part the labels best. scaled: the same cells as `scaled_features` gives them, or None. title: names the dataset and
    its representation.
    """
    name = f"Features by {label}: {title}"
    labels = np.asarray(labels, dtype=object)
    if len(set(labels) - {""}) < 2:
        gallery.note(f"{name}: nothing to show because the cells do not have two values of {label}.")
        return
    unknown = [feature for feature in wanted if feature not in table]
    if unknown:
        gallery.note(f"{name}: there is no feature {', '.join(unknown)} (report.cells.features).")
    chosen = [feature for feature in wanted if feature in table]
    if not wanted:
        chosen = separating(table.to_numpy(np.float64), list(table), labels)
    if not chosen:
        gallery.note(f"{name}: nothing to show because no feature varies between the values of {label}.")
        return
    found = style.categories(labels, CLASSES)
    data = [_long(table, chosen, labels, "before")]
    if scaled is not None:
        data.append(_long(scaled, [feature for feature in chosen if feature in scaled], labels, "after"))
    data = pd.concat(data, ignore_index=True)
    shown = sum(int((labels == value).sum()) for value, _, _ in found)
    chosen_how = (
        "Features that the study's config names."
        if wanted
        else f"The {len(chosen)} features with the highest F statistic between the labels (of two with |r| above "
        f"{ALIKE:g} one is shown); they were chosen because they part these labels, so that this figure proves nothing."
    )
    sides = ", before (left) and after scaling (right)" if scaled is not None else ""
    some = shown < (labels != "").sum()
    of = f" of the {len(found)} most frequent of {len(set(labels) - {''})} labels" if some else ""
    gallery.add(
        "histograms",
        _histogram_figure(data, chosen, found, scaled is not None),
        data,
        name,
        f"Share of the cells of each label per bin{sides}; the outer 1 % of the values is not drawn. "
        f"{chosen_how} Scaling shifts and stretches; it changes the shape only where it goes by groups of cells. "
        f"n = {count(shown, 'cell')}{of}.",
    )


def _long(table, features, labels, scale):
    parts = [
        pd.DataFrame({"Feature": name, "Scaling": scale, "Label": labels, "Value": table[name].to_numpy(np.float32)})
        for name in features
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _histogram_figure(data, features, found, both):
    sides = ["before", "after"] if both else ["before"]
    with style.look():
        figure = style.new_figure(style.WIDTH * (1 if both else 0.6), 0.4 + 1.75 * len(features))
        axes = figure.subplots(len(features), len(sides), squeeze=False)
        for feature, row in zip(features, axes, strict=True):
            for scale, axis in zip(sides, row, strict=True):
                own = data[(data["Feature"] == feature) & (data["Scaling"] == scale)]
                _histogram(axis, own, found)
                axis.set_title(f"{shorten(feature, 58)}{', scaled' if scale == 'after' else ''}", fontsize=8)
        handles = [Line2D([], [], color=colour, linewidth=2, label=shorten(value, 24)) for value, colour, _ in found]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return figure


def _histogram(axis, own, found):
    values = own["Value"].to_numpy(float)
    values, labels = values[np.isfinite(values)], own["Label"].to_numpy(object)[np.isfinite(values)]
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    if not len(values):
        axis.text(0.5, 0.5, "left out of the profile", ha="center", transform=axis.transAxes, color=style.MUTED)
        axis.set_xticks([])
        return
    low, high = np.quantile(values, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for value, colour, _ in found:
        counts, _ = np.histogram(values[labels == value], edges)
        shares = counts / max(1, (labels == value).sum())
        axis.stairs(shares, edges, color=colour, linewidth=1.5)
        axis.stairs(shares, edges, color=colour, fill=True, alpha=0.08)
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(0, None)
