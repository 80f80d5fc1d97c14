"""Maps of profiles in two dimensions: UMAP and t-SNE, or principal components where there are too few rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from phenoloom.core.words import count
from phenoloom.profiles.similarities import is_similarity, similarity_of
from phenoloom.report import style
from phenoloom.report.style import natural, share, shorten
from phenoloom.report.summary import LAYOUT, role, with_layout_columns

#: Below this number of profiles neighbours say nothing, and principal components are drawn instead.
FEWEST = 5
#: Features with a larger share of missing values are left out before rows are.
MISSING_SHARE = 0.05
#: Ratio of the interquartile ranges of wide and narrow features beyond which they are taken for unnormalised.
MIXED = 100


@dataclass(frozen=True)
class Map:
    """axis: UMAP, t-SNE or PC. xy: (n, 2). rows: (n,) positions in the table. method: words for the caption.
    notes: what was left out.
    """

    axis: str
    xy: np.ndarray
    rows: np.ndarray
    method: str
    notes: list


def usable_values(values):
    """(values, rows, notes): a finite, varying (n, d) block of a (rows, features) array, float64.

    Features of which more than 5 % are missing go first, then rows that still have missing values, then features that
    do not vary.
    """
    values = np.asarray(values, np.float64)
    notes = []
    finite = np.isfinite(values)
    columns = finite.mean(axis=0) >= 1 - MISSING_SHARE if len(values) else np.zeros(values.shape[1], bool)
    if (~columns).any():
        notes.append(
            f"{count(int((~columns).sum()), 'feature')} with more than {share(MISSING_SHARE)} missing values left out"
        )
    rows = np.flatnonzero(finite[:, columns].all(axis=1)) if columns.any() else np.array([], int)
    if len(rows) < len(values):
        notes.append(f"{count(len(values) - len(rows), 'well')} with missing values left out")
    block = values[np.ix_(rows, np.flatnonzero(columns))]
    varying = np.ptp(block, axis=0) > 0 if len(block) else np.zeros(block.shape[1], bool)
    return block[:, varying], rows, notes


def principal_components(values, number, centred):
    """Scores of the first principal components (n, number), signs fixed so that the largest weight is positive."""
    values = values - values.mean(axis=0) if centred else values
    left, strength, right = np.linalg.svd(values, full_matrices=False)
    number = min(number, len(strength))
    signs = np.sign(right[np.arange(number), np.abs(right[:number]).argmax(axis=1)])
    return left[:, :number] * strength[:number] * signs


def mixed_units(values):
    """Whether the spread of features (n, d) differs so much that a few would drown the others: not normalised."""
    spread = np.subtract(*np.quantile(values, [0.75, 0.25], axis=0))
    spread = spread[spread > 0]
    return len(spread) > 1 and bool(np.quantile(spread, 0.95) > MIXED * np.quantile(spread, 0.05))


def embed(values, seed, neighbors=15, min_dist=0.1, metric="cosine", components=50, maximum=20000, perplexity=30):
    """Maps of profiles (n, d) by UMAP and t-SNE, or a sentence that says why there are none; the seed decides both.

    More than `maximum` rows are thinned evenly; more than `components` features are first reduced to as many
    principal components (not centred, so that the origin stays where the controls are and cosine distances hold).
    Fewer than 5 rows give one map of principal components; a perplexity of None leaves t-SNE out.
    """
    block, rows, notes = usable_values(values)
    if len(rows) < 2:
        return f"{'only 1' if len(rows) else 'no'} well without missing values"
    if block.shape[1] < 2:
        return (
            f"only {count(block.shape[1], 'feature')} that varies" if block.shape[1] == 1 else "no feature that varies"
        )
    if len(rows) > maximum:
        notes.append(f"every {len(rows) / maximum:.1f}th of {len(rows):,} wells")
        keep = np.linspace(0, len(rows) - 1, maximum).round().astype(int)
        block, rows = block[keep], rows[keep]
    if mixed_units(block):
        block = (block - block.mean(axis=0)) / block.std(axis=0)
        notes.append("features z-scored first, because they come in different units")
    if len(rows) < FEWEST:
        xy = principal_components(block, 2, centred=True)
        xy = np.pad(xy, ((0, 0), (0, 2 - xy.shape[1])))
        return [Map("PC", xy, rows, f"Principal components ({len(rows)} profiles are too few for UMAP)", notes)]
    of_features = f"of {block.shape[1]:,} features"
    if block.shape[1] > components:
        block = principal_components(block, components, centred=False)
        of_features += f", first reduced to {block.shape[1]} principal components"
    block = block.astype(np.float32)
    neighbors = min(neighbors, len(rows) - 1)
    method = f"{of_features} ({metric} distance, {neighbors} neighbours, min_dist {min_dist:g}, seed {seed})"
    maps = [Map("UMAP", _umap(block, seed, neighbors, min_dist, metric), rows, f"UMAP {method}", notes)]
    if perplexity is not None:
        method = f"{of_features} ({metric} distance, perplexity at most {perplexity:g}, seed {seed})"
        maps.append(Map("t-SNE", t_sne(block, seed, perplexity, metric), rows, f"t-SNE {method}", notes))
    return maps


def embed_similarity(values, seed, neighbors=15, min_dist=0.1, maximum=20000, perplexity=30, **of_features):
    """Maps, as by `embed`, of similarities (n, n) between profiles, or a sentence that says why there are none.

    The distance is 1 - similarity / the largest one between two profiles. of_features: options without a use here.
    """
    n, notes = len(values), []
    if n < FEWEST:
        return f"only {count(n, 'well')}, too few for a map of similarities"
    rows = np.arange(n)
    if n > maximum:
        notes.append(f"every {n / maximum:.1f}th of {n:,} wells")
        rows = np.linspace(0, n - 1, maximum).round().astype(int)
    others = values[np.ix_(rows, rows)]
    np.fill_diagonal(others, 0)
    distances = np.maximum(0, 1 - others / others.max())
    np.fill_diagonal(distances, 0)
    start = principal_components(others, 2, centred=True)
    neighbors = min(neighbors, len(rows) - 1)
    method = f"of the similarities between {len(rows):,} wells"
    xy = _umap(distances, seed, neighbors, min_dist, "precomputed", start)
    maps = [Map("UMAP", xy, rows, f"UMAP {method} ({neighbors} neighbours, min_dist {min_dist:g}, seed {seed})", notes)]
    if perplexity is not None:
        xy = t_sne(distances, seed, perplexity, "precomputed", (1e-4 * start / start[:, 0].std()).astype(np.float32))
        method = f"t-SNE {method} (perplexity at most {perplexity:g}, seed {seed})"
        maps.append(Map("t-SNE", xy, rows, method, notes))
    return maps


def _umap(block, seed, neighbors, min_dist, metric, init="pca"):
    import umap

    model = umap.UMAP(
        n_neighbors=neighbors,
        min_dist=min_dist,
        metric=metric,
        init=init,
        random_state=seed,
        n_jobs=1,
        low_memory=True,
    )
    return np.asarray(model.fit_transform(block), np.float64)


def t_sne(values, seed, perplexity, metric, init="pca"):
    """t-SNE (n, 2) of values (n, d), from their principal components on; perplexity at most a third of n.

    init: where the n start (n, 2), for a metric `precomputed`, of which `values` (n, n) are the distances.
    """
    from sklearn.manifold import TSNE

    perplexity = min(perplexity, (len(values) - 1) / 3)
    model = TSNE(perplexity=perplexity, metric=metric, init=init, random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(np.asarray(values, np.float32)), np.float64)


def add_maps(gallery, table, features, seed, profile, **options):
    """Add a figure per map, with panels coloured by batch, plate, perturbation and MoA.

    table: well-level profiles. features: names of its feature columns. profile: its name, for the title.
    """
    title = f"Map of the wells: {profile}"
    if is_similarity(table):
        maps = embed_similarity(similarity_of(table), seed, **options)
    else:
        values = table[features].to_numpy(np.float64) if len(features) else np.zeros((len(table), 0))
        maps = embed(values, seed, **options)
    if isinstance(maps, str):
        gallery.note(f"{title}: nothing to show because there is {maps} (of {count(len(table), 'well')}).")
        return
    for one in maps:
        rows = with_layout_columns(table.drop(columns=features)).iloc[one.rows].reset_index(drop=True)
        data = rows[[name for name in ["Metadata_Dataset", *LAYOUT] if name in rows]].assign(
            Role=role(rows), X=one.xy[:, 0].astype("float32"), Y=one.xy[:, 1].astype("float32")
        )
        notes = "; ".join(one.notes)
        gallery.add(
            "tsne" if one.axis == "t-SNE" else "umap",
            _figure(data, one.axis),
            data,
            f"{title}, t-SNE" if one.axis == "t-SNE" else title,
            f"{one.method}. Each point is a well, n = {len(data):,}{' (' + notes + ')' if notes else ''}; all four "
            "panels show the same points. Wells that mix by batch and plate and part by MoA are what one hopes "
            "for. Distances between far groups and the sizes of groups mean nothing in such a map; the evaluation "
            "below is computed on the profiles themselves, not on this map.",
        )


def _figure(data, axis_name):
    """Four panels with room for a legend at the right of each; placed by hand, for legends differ in width."""
    size = 34 if len(data) < 150 else 16 if len(data) < 1500 else 7 if len(data) < 8000 else 3
    width, height, side, tall = style.WIDTH, 6.5, 3.15, 2.75
    with style.look():
        figure = style.Figure(figsize=(width, height))
        panels = [
            figure.add_axes([left / width, bottom / height, side / width, tall / height])
            for bottom in (3.45, 0.25)
            for left in (0.25, 5.5)
        ]
        _by_category(panels[0], data, "Metadata_Batch", "Batch", size)
        _by_category(panels[1], data, "Metadata_Plate", "Plate", size)
        _by_category(panels[2], data, "Metadata_Perturbation", "Perturbation", size, controls=True)
        _by_category(panels[3], data, "Metadata_MoA", "Mechanism of action", size, controls=True)
        for axis in panels:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(f"{axis_name} 1", fontsize=8, color=style.MUTED)
            axis.set_ylabel(f"{axis_name} 2", fontsize=8, color=style.MUTED)
    return figure


def _by_category(axis, data, column, title, size, controls=False):
    negative = (data["Role"] == "negative control") if controls else pd.Series(False, data.index)
    values = data[column].where(~negative, "")
    ordered = sorted({value for value in values if value}, key=natural)
    axis.set_title(f"{title} ({len(ordered):,})" if ordered else f"{title}: not known")
    if not controls and len(ordered) > len(style.CATEGORIES):
        _by_order(axis, data, column, ordered, size)
        return
    legend_limit = 14
    shown = style.categories(values, legend_limit)
    names = {value for value, _, _ in shown}
    other = data[~values.isin(names) & ~negative]
    axis.scatter(
        other["X"], other["Y"], s=size, c="#ccd3da", marker="o", linewidths=0, label=_other_label(ordered, names, other)
    )
    own = data[negative]
    axis.scatter(
        own["X"],
        own["Y"],
        s=size * 0.9,
        c="#5c6773",
        marker="x",
        linewidths=0.9,
        label=f"negative control ({len(own):,})",
    )
    for value, colour, marker in shown:
        own = data[values == value]
        axis.scatter(
            own["X"],
            own["Y"],
            s=size,
            c=colour,
            marker=marker,
            linewidths=0.3,
            edgecolors="white",
            label=f"{shorten(value, 24)} ({len(own):,})",
        )
    handles, labels = axis.get_legend_handles_labels()
    pairs = [
        (handle, label) for handle, label in zip(handles, labels, strict=True) if label and handle.get_offsets().size
    ]
    if pairs:
        legend = axis.legend(
            *zip(*pairs, strict=True),
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            fontsize=7,
            handletextpad=0.2,
            borderaxespad=0.2,
        )
        for handle in legend.legend_handles:
            handle.set_sizes([28])


def _other_label(ordered, names, other):
    if other.empty:
        return ""
    rest = len(set(ordered) - names)
    return f"{rest:,} others ({len(other):,})" if rest else f"not known ({len(other):,})"


def _by_order(axis, data, column, ordered, size):
    """Many plates or batches: a sequential scale in natural order, which shows drift."""
    codes = data[column].map({value: number for number, value in enumerate(ordered)})
    shown = axis.scatter(data["X"], data["Y"], s=size, c=codes, cmap=style.SEQUENTIAL, linewidths=0)
    bar = axis.figure.colorbar(shown, cax=axis.inset_axes([1.04, 0.15, 0.04, 0.7]))
    ends = [0, len(ordered) // 2, len(ordered) - 1]
    bar.set_ticks(ends, labels=[shorten(ordered[end], 18) for end in ends])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7)
