"""Plate heatmaps: what stands where, cells, quality and features by well."""

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

from phenoloom.core.wells import plate_format, position, row_letters
from phenoloom.core.words import count
from phenoloom.report import style
from phenoloom.report.gallery import pages
from phenoloom.report.style import natural, share, shorten
from phenoloom.report.summary import WELL, role

#: Fraction of values left outside the colour scale at each end, so that one odd well does not hide the rest.
TRIM = 0.01
DEVIATIONS = 6
#: Plates on one page of quality heatmaps, which have a row of panels per plate.
QUALITY_ROWS = 6


def as_grid(wells, values):
    """Matrix of a plate (rows x columns of the smallest standard format) with NaN where there is no value.

    Two values for one well give their mean.
    """
    shape = plate_format(wells)
    total, number = np.zeros(shape), np.zeros(shape)
    for well, value in zip(wells, np.asarray(values, float), strict=True):
        if np.isfinite(value):
            row, column = position(well)
            total[row, column] += value
            number[row, column] += 1
    with np.errstate(invalid="ignore"):
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def value_range(values, zero=False):
    """(low, high) of a colour scale that all plates share, None without a finite value.

    All but the most extreme 1 % at each end, and nothing further than DEVIATIONS robust standard deviations from the
    median, so that one odd well does not hide the rest. zero: begin at 0, for counts.
    """
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return None
    low, high = np.quantile(finite, [TRIM, 1 - TRIM])
    middle = np.median(finite)
    reach = DEVIATIONS * 1.4826 * np.median(np.abs(finite - middle))
    if reach > 0:
        low, high = max(low, middle - reach), min(high, middle + reach)
    low = min(0.0, low) if zero else low
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def scale_words(values, limits):
    """Words on what a colour scale covers and how many values lie outside."""
    outside = int(((values < limits[0]) | (values > limits[1])).sum())
    covers = (
        f"covers the {share(TRIM)} to the {share(1 - TRIM)} quantile, at most {DEVIATIONS} robust standard deviations "
        "from the median"
    )
    return f"{covers}; {outside:,} lie outside" if outside else ""


def _panel(axes, grid, norm, cmap):
    rows, columns = grid.shape
    image = axes.imshow(np.ma.masked_invalid(grid), cmap=cmap, norm=norm, aspect="equal", interpolation="none")
    step = 1 if columns <= 12 else 4 if columns <= 24 else 8
    axes.set_xticks(range(0, columns, step), [str(number + 1) for number in range(0, columns, step)])
    step = 1 if rows <= 8 else 3 if rows <= 16 else 8
    axes.set_yticks(range(0, rows, step), [row_letters(number) for number in range(0, rows, step)])
    axes.tick_params(length=0, labelsize=6.5, pad=1.5)
    if columns <= 12:
        axes.set_xticks(np.arange(0.5, columns - 1), minor=True)
        axes.set_yticks(np.arange(0.5, rows - 1), minor=True)
        axes.grid(which="minor", color="white", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
    axes.set_facecolor(style.MISSING)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.5)
    return image


def _cmap(name):
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=style.MISSING)


#: Width of a panel in inches by the columns of its plate; small plates need no large squares.
PANEL_WIDTHS = ((6, 2.2), (12, 2.9), (24, 3.05), (48, 4.6))


def _page(plates, wells, legend=1.0):
    """Figure with one axes per plate, of a size that fits the plates' shapes. legend: inches kept at the right."""
    shapes = [plate_format(wells.loc[wells["Metadata_Plate"] == plate, "Metadata_Well"]) for plate in plates]
    ratio = max(rows / columns for rows, columns in shapes)
    columns = max(columns for _, columns in shapes)
    panel = next((width for limit, width in PANEL_WIDTHS if columns <= limit), PANEL_WIDTHS[-1][1])
    beside = max(1, min(len(plates), int((style.WIDTH - legend) / panel)))
    below = -(-len(plates) // beside)
    height = below * ((panel - 0.2) * ratio + 0.42) + 0.1
    figure = style.new_figure(max(4.2, beside * panel + legend), max(1.9, height))
    axes = figure.subplots(below, beside, squeeze=False).ravel()
    for spare in axes[len(plates) :]:
        spare.set_axis_off()
    return figure, axes[: len(plates)]


def order_plates(wells):
    """Plates in natural order of batch and name."""
    rows = wells[["Metadata_Batch", "Metadata_Plate"]].drop_duplicates("Metadata_Plate")
    return [
        plate for _, plate in sorted(rows.itertuples(index=False), key=lambda row: (natural(row[0]), natural(row[1])))
    ]


def heatmaps(gallery, wells, column, name, title, how, label, per_page=12, zero=False):
    """Add pages of heatmaps of one column of `wells` (Metadata_Plate, Metadata_Well, the column), a panel per plate.

    how: a sentence on how the value was computed. label: of the colour scale, with its unit.
    All pages share one colour scale. Without a finite value a note says so.
    """
    limits = value_range(wells[column], zero)
    if limits is None:
        gallery.note(f"{title}: nothing to show because no well has a value.")
        return
    plates = order_plates(wells)
    finite = wells[np.isfinite(wells[column].astype(float))]
    split = pages(plates, per_page)
    outside = scale_words(finite[column], limits)
    for page, chosen in enumerate(split):
        with style.look():
            figure, axes = _page(chosen, wells)
            for axis, plate in zip(axes, chosen, strict=True):
                rows = wells[wells["Metadata_Plate"] == plate]
                grid = as_grid(rows["Metadata_Well"], rows[column])
                image = _panel(axis, grid, Normalize(*limits), _cmap(style.SEQUENTIAL))
                axis.set_title(shorten(plate, 34), fontsize=8)
            bar = figure.colorbar(
                image, ax=list(axes), extend="both" if outside else "neither", shrink=0.8, aspect=30, pad=0.015
            )
            bar.set_label(label)
            bar.outline.set_visible(False)
        shown = wells[wells["Metadata_Plate"].isin(chosen)]
        data = shown[["Metadata_Batch", *WELL, column]].reset_index(drop=True)
        on_page = np.isfinite(shown[column].astype(float)).sum()
        gallery.add(
            f"{name}_{page + 1}",
            figure,
            data,
            title,
            f"{how} Each square is a well; grey wells have no value. n = {count(int(on_page), 'well')} on "
            f"{count(len(chosen), 'plate')}. One colour scale for all plates"
            + (f"; it {outside}." if outside else ".")
            + page_text(page, split),
            group=name,
            page=page,
        )


def page_text(page, split):
    """' Page 2 of 5.' where there are several pages, else nothing."""
    return f" Page {page + 1} of {len(split)}." if len(split) > 1 else ""


def layout_maps(gallery, wells, per_page=12):
    """Add pages that show which wells are negative controls, positive controls and treated."""
    roles = role(wells)
    if not (roles != "").any():
        gallery.note("Plate layout: nothing to show because no well has a perturbation.")
        return
    names = list(style.ROLES)
    plates = order_plates(wells)
    wells = wells.assign(Role=roles)
    split = pages(plates, per_page)
    totals = ", ".join(
        count(int((roles == name).sum()), name if name != "treated" else "treated well") for name in names
    )
    for page, chosen in enumerate(split):
        with style.look():
            figure, axes = _page(chosen, wells)
            cmap = ListedColormap(list(style.ROLES.values())).with_extremes(bad=style.MISSING)
            for axis, plate in zip(axes, chosen, strict=True):
                rows = wells[(wells["Metadata_Plate"] == plate)].drop_duplicates("Metadata_Well")
                codes = rows["Role"].map({name: code for code, name in enumerate(names)}).astype(float)
                _panel(axis, as_grid(rows["Metadata_Well"], codes), Normalize(-0.5, len(names) - 0.5), cmap)
                axis.set_title(shorten(plate, 34), fontsize=8)
            handles = [Patch(color=colour, label=name) for name, colour in style.ROLES.items()]
            handles.append(Patch(facecolor=style.MISSING, edgecolor="#9aa5b1", linewidth=0.5, label="no entry"))
            figure.legend(handles=handles, loc="outside lower left", ncols=4)
        gallery.add(
            f"layout_{page + 1}",
            figure,
            wells.loc[
                wells["Metadata_Plate"].isin(chosen),
                ["Metadata_Batch", *WELL, "Metadata_Perturbation", "Metadata_Concentration", "Metadata_MoA", "Role"],
            ].reset_index(drop=True),
            "Plate layout",
            f"The role of each well in the plate map: {totals}, on {count(len(plates), 'plate')}. "
            "Controls in few rows or columns cannot tell a position effect from a treatment." + page_text(page, split),
            group="layout",
            page=page,
        )


def cell_distribution(gallery, wells, per_page=40):
    """Add a figure of the cells per well of each plate: every well a dot, by its role, and the plate's median."""
    kept = wells[np.isfinite(wells["Cells"])].assign(Role=role(wells))
    if kept.empty:
        gallery.note("Cells per well: nothing to show because no cells were counted.")
        return
    plates = order_plates(kept)
    split = pages(plates, per_page)
    for page, chosen in enumerate(split):
        with style.look():
            figure = style.new_figure(style.WIDTH, 0.9 + 0.24 * len(chosen))
            axis = figure.subplots()
            for line, plate in enumerate(chosen):
                rows = kept[kept["Metadata_Plate"] == plate]
                axis.axhline(line, color=style.FAINT, linewidth=0.8, zorder=0)
                for name, colour, shift in zip(
                    ["treated", "negative control", "positive control"],
                    ("#56b4e9", "#4a5560", "#d55e00"),
                    (-0.16, 0.12, 0.24),
                    strict=True,
                ):
                    some = rows.loc[rows["Role"].isin([name, ""] if name == "treated" else [name]), "Cells"]
                    axis.plot(
                        some, np.full(len(some), line + shift), "|", color=colour, markersize=5.5, markeredgewidth=1
                    )
                axis.plot(
                    [rows["Cells"].median()],
                    [line],
                    "D",
                    color=style.INK,
                    markersize=4,
                    markeredgecolor="white",
                    markeredgewidth=0.8,
                )
            axis.set_yticks(range(len(chosen)), [shorten(plate, 34) for plate in chosen])
            axis.set_ylim(len(chosen) - 0.5, -0.5)
            axis.set_xlim(left=min(0, axis.get_xlim()[0]))
            axis.set_xlabel("cells per well")
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0)
            marks = [
                axis.plot([], [], "|", color=colour, label=name, markersize=7, markeredgewidth=1.4)[0]
                for name, colour in (
                    ("treated", "#56b4e9"),
                    ("negative control", "#4a5560"),
                    ("positive control", "#d55e00"),
                )
            ]
            marks.append(
                axis.plot([], [], "D", color=style.INK, markersize=4, label="median of the plate", linestyle="")[0]
            )
            figure.legend(handles=marks, loc="outside upper left", ncols=4)
        shown = kept[kept["Metadata_Plate"].isin(chosen)]
        gallery.add(
            f"cells_per_well_{page + 1}",
            figure,
            shown[["Metadata_Batch", *WELL, "Role", "Cells"]].reset_index(drop=True),
            "Cells per well",
            "Cells kept after the filters, one tick per well, by its role in the plate map; the diamond is the plate's "
            f"median. n = {count(len(shown), 'well')} on {count(len(chosen), 'plate')}, "
            f"{int(shown['Cells'].sum()):,} cells." + page_text(page, split),
            group="cells_per_well",
            page=page,
        )


def quality_maps(gallery, quality, batches, measure, channels, explanation=""):
    """Add pages of heatmaps of one quality measure: a row per plate, a column per channel with its own scale.

    quality: one row per plate, well and channel with a column `measure`. batches: plate -> batch, for the order.
    """
    title = f"Image quality: {measure_name(measure)}"
    if measure not in quality or not np.isfinite(quality[measure].astype(float)).any():
        gallery.note(f"{title}: nothing to show because no image has a value.")
        return
    present = set(quality["Metadata_Channel"])
    channels = [channel for channel in channels if channel in present] or sorted(present, key=natural)
    limits = {
        channel: value_range(quality.loc[quality["Metadata_Channel"] == channel, measure]) for channel in channels
    }
    beyond = [
        scale_words(quality.loc[quality["Metadata_Channel"] == channel, measure], limits[channel]).split("; ")[0]
        for channel in channels
        if limits[channel] is not None
    ]
    outside = next((words for words in beyond if words), "covers all values")
    plates = sorted(set(quality["Metadata_Plate"]), key=lambda plate: (natural(batches.get(plate, "")), natural(plate)))
    split = pages(plates, QUALITY_ROWS)
    for page, chosen in enumerate(split):
        shown = quality[quality["Metadata_Plate"].isin(chosen)]
        shapes = [plate_format(shown.loc[shown["Metadata_Plate"] == plate, "Metadata_Well"]) for plate in chosen]
        ratio = max(rows / columns for rows, columns in shapes)
        panel = min((style.WIDTH - 0.7) / len(channels), 3.0)
        with style.look():
            figure = style.new_figure(
                min(style.WIDTH, 0.7 + panel * len(channels)), 0.72 + len(chosen) * (panel * ratio + 0.08)
            )
            figure.get_layout_engine().set(h_pad=0.03, hspace=0.0)
            grid = figure.subplots(len(chosen), len(channels), squeeze=False)
            for column, channel in enumerate(channels):
                image = None
                for row, plate in enumerate(chosen):
                    axis = grid[row, column]
                    part = shown[(shown["Metadata_Plate"] == plate) & (shown["Metadata_Channel"] == channel)]
                    if limits[channel] is None or part.empty:
                        axis.text(
                            0.5,
                            0.5,
                            "no value",
                            ha="center",
                            va="center",
                            color=style.MUTED,
                            fontsize=7,
                            transform=axis.transAxes,
                        )
                        axis.set_xticks([])
                        axis.set_yticks([])
                    else:
                        image = _panel(
                            axis,
                            as_grid(part["Metadata_Well"], part[measure]),
                            Normalize(*limits[channel]),
                            _cmap(style.SEQUENTIAL),
                        )
                        if len(channels) > 3:
                            axis.set_xticks([])
                            axis.set_yticks([])
                    if row == 0:
                        axis.set_title(shorten(channel, 20), fontsize=8.5)
                    if column == 0:
                        axis.set_ylabel(shorten(plate, 16), fontsize=7.5)
                if image is not None:
                    bar = figure.colorbar(
                        image, ax=list(grid[:, column]), location="bottom", shrink=0.9, aspect=18, pad=0.03
                    )
                    bar.outline.set_visible(False)
                    values = quality.loc[quality["Metadata_Channel"] == channel, measure]
                    constant = values.min() == values.max()
                    bar.locator = FixedLocator([values.min()]) if constant else MaxNLocator(3)
                    bar.ax.tick_params(labelsize=6.5, length=2)
        name = f"quality_{measure.removeprefix('Quality_')}"
        gallery.add(
            f"{name}_{page + 1}",
            figure,
            shown[[*WELL, "Metadata_Channel", measure]].reset_index(drop=True),
            title,
            f"{explanation} Median over the sites of each well; a row of panels per plate, a column per channel with a "
            f"colour scale of its own ({outside}). "
            f"n = {count(len(shown.drop_duplicates(WELL)), 'well')} on {count(len(chosen), 'plate')}.".strip()
            + page_text(page, split),
            group=name,
            page=page,
        )


def measure_name(measure):
    """Words of a measure's column name: Quality_PowerLogLogSlope -> power log log slope."""
    import re

    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", measure.removeprefix("Quality_"))
    return words if words.isupper() else words.lower()


def feature_maps(gallery, wells, features, per_page=12):
    """Add heatmaps of configured features; `wells` holds them as columns. A missing one becomes a note."""
    known = [name for name in wells.columns if "_" in name and not name.startswith("Metadata_")]
    for number, feature in enumerate(features, 1):
        if feature not in wells:
            import difflib

            near = difflib.get_close_matches(feature, known, 1)
            hint = f"; the nearest name is {near[0]}" if near else ""
            gallery.note(f"{feature}: nothing to show because no table of wells has this feature{hint}.")
            continue
        heatmaps(
            gallery,
            wells.assign(**{feature: pd.to_numeric(wells[feature], errors="coerce")}),
            feature,
            f"feature_{number}",
            f"Feature: {feature}",
            "Aggregate of the well's cells, before any normalisation, so that position and plate effects show.",
            "value",
            per_page,
        )


#: What a measure means, for its caption; one sentence each.
MEASURES = {
    "Quality_PowerLogLogSlope": "Slope of the log-log power spectrum: low when blurred, near 0 for pure noise.",
    "Quality_FocusScore": "Variance of the image over its mean: lower when blurred.",
    "Quality_LocalFocusScore": "Variance of small tiles over their mean: lower when blurred.",
    "Quality_PercentSaturated": "Percentage of pixels at the camera's limit.",
    "Quality_PercentMaximal": "Percentage of pixels at the image's own maximum.",
    "Quality_Background": "Intensity of the background, on CellProfiler's scale from 0 to 1.",
    "Quality_BackgroundNoise": "Spread of the background, on CellProfiler's scale from 0 to 1.",
    "Quality_ForegroundShare": "Share of the pixels that are brighter than background.",
}


def dataset_maps(gallery, wells, quality, channels, features=(), measures=(), plates_per_page=12):
    """Add everything that is drawn plate by plate: layout, cells, flags, quality measures, features.

    wells, quality: the tables of :func:`summary.summarize`. channels: in the order of the columns. measures: columns of
    `quality`, with or without the prefix Quality_.
    """
    if wells.empty:
        gallery.note("Plate heatmaps: nothing to show because the dataset has no wells.")
        return
    wells, unplaced = _placed(wells)
    if unplaced:
        gallery.note(f"{count(unplaced, 'well')} not drawn: no well name such as A01.")
    if wells.empty:
        return
    layout_maps(gallery, wells, plates_per_page)
    how = "Cells kept after the filters, per well."
    heatmaps(gallery, wells, "Cells", "cells", "Cell counts", how, "cells per well", plates_per_page, zero=True)
    cell_distribution(gallery, wells)
    if wells["Images"].notna().any():
        flagged = wells["Images_Flagged"] / wells["Images"].where(wells["Images"] > 0)
        if (flagged > 0).any():
            heatmaps(
                gallery,
                wells.assign(Flagged=100 * flagged),
                "Flagged",
                "flagged",
                "Flagged images",
                "Percentage of a well's images, over all sites and channels, that quality control flagged.",
                "flagged images (%)",
                plates_per_page,
                zero=True,
            )
        elif flagged.notna().any():
            gallery.note("Flagged images: nothing to show because quality control flagged none.")
        batches = dict(zip(wells["Metadata_Plate"], wells["Metadata_Batch"], strict=True))
        quality, _ = _placed(quality)
        for measure in measures:
            column = measure if measure.startswith("Quality_") else f"Quality_{measure}"
            quality_maps(gallery, quality, batches, column, channels, MEASURES.get(column, ""))
    feature_maps(gallery, wells, features, plates_per_page)


def _placed(frame):
    """(rows whose well has a place on a plate, number of those that have none)."""
    from phenoloom.core.wells import normalize_well

    def known(well):
        try:
            return bool(normalize_well(well))
        except ValueError:
            return False

    good = frame["Metadata_Well"].map(known).astype(bool)
    return frame[good].reset_index(drop=True), int((~good).sum())
