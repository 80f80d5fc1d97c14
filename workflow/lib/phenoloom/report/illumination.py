"""Pictures of illumination functions and of how strong they are."""

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize

from phenoloom.core.words import count
from phenoloom.report import style
from phenoloom.report.gallery import pages
from phenoloom.report.plates import page_text
from phenoloom.report.style import natural, shorten

#: Longest side of a function as it is drawn, in pixels.
SIDE = 96
ROWS = 6


def read_function(path):
    """(small, numbers) of an illumination function: block means of at most SIDE pixels a side, and its statistics.

    Numbers: minimum, 1 % quantile, median, 99 % quantile, maximum and range (99 % over 1 % quantile) of the finite
    pixels; NaN where there are none. The file is memory-mapped, never held whole as float64.
    """
    function = np.load(path, mmap_mode="r", allow_pickle=False)
    step = max(1, -(-max(function.shape) // SIDE))
    height, width = (size // step * step for size in function.shape)
    blocks = np.asarray(function[:height, :width]).reshape(height // step, step, width // step, step)
    small = blocks.mean(axis=(1, 3), dtype=np.float64).astype(np.float32)
    finite = np.asarray(function)[np.isfinite(function)]
    names = ["Minimum", "Quantile_01", "Median", "Quantile_99", "Maximum"]
    values = np.quantile(finite, [0, 0.01, 0.5, 0.99, 1]) if finite.size else np.full(5, np.nan)
    numbers = dict(zip(names, (float(value) for value in values), strict=True))
    low, high = numbers["Quantile_01"], numbers["Quantile_99"]
    numbers["Range"] = high / low if low > 0 else np.nan
    return small, numbers


def function_maps(gallery, functions, channels):
    """Add small multiples of the functions: a row per plate, a column per channel, one colour scale.

    functions: {(plate, channel): (small, numbers)} as of :func:`read_function`.
    """
    if not functions:
        gallery.note("Illumination functions: nothing to show because none were estimated.")
        return
    plates = list(dict.fromkeys(plate for plate, _ in functions))
    channels = [channel for channel in channels if any((plate, channel) in functions for plate in plates)]
    relative = {key: small / numbers["Median"] for key, (small, numbers) in functions.items()}
    pool = np.concatenate([small[np.isfinite(small)].ravel()[::7] for small in relative.values()])
    limits = tuple(np.quantile(pool, [0.005, 0.995])) if pool.size else (0.5, 1.5)
    limits = limits if limits[1] - limits[0] > 1e-3 else (limits[0] - 5e-4, limits[1] + 5e-4)
    split = pages(plates, ROWS)
    for page, chosen in enumerate(split):
        shapes = [functions[key][0].shape for key in functions if key[0] in chosen]
        ratio = max(height / width for height, width in shapes)
        panel = min((style.WIDTH - 1.4) / len(channels), 2.4)
        with style.look():
            figure = style.new_figure(
                min(style.WIDTH, 1.4 + panel * len(channels)), 0.35 + len(chosen) * (panel * ratio + 0.22)
            )
            grid = figure.subplots(len(chosen), len(channels), squeeze=False)
            for row, plate in enumerate(chosen):
                for column, channel in enumerate(channels):
                    axis = grid[row, column]
                    axis.set_xticks([])
                    axis.set_yticks([])
                    for spine in axis.spines.values():
                        spine.set_visible(False)
                    if row == 0:
                        axis.set_title(shorten(channel, 18), fontsize=8.5)
                    if column == 0:
                        axis.set_ylabel(shorten(plate, 18), fontsize=7.5)
                    if (plate, channel) not in functions:
                        axis.text(
                            0.5, 0.5, "none", ha="center", va="center", color=style.MUTED, transform=axis.transAxes
                        )
                        continue
                    numbers = functions[plate, channel][1]
                    image = axis.imshow(
                        relative[plate, channel], cmap=style.SHADING, norm=Normalize(*limits), interpolation="none"
                    )
                    axis.set_xlabel(
                        f"{numbers['Minimum']:.2f} – {numbers['Maximum']:.2f}",
                        fontsize=6.5,
                        color=style.MUTED,
                        labelpad=2,
                    )
            bar = figure.colorbar(image, ax=list(grid.ravel()), shrink=0.7, aspect=30, pad=0.015, extend="both")
            bar.set_label("function / its median")
            bar.outline.set_visible(False)
        number = sum(key[0] in chosen for key in functions)
        gallery.add(
            f"functions_{page + 1}",
            figure,
            _pixels({key: value for key, value in relative.items() if key[0] in chosen}),
            "Illumination functions",
            "Every image of a channel is divided by the function of its plate and channel. Shown relative to its "
            "median, so that 1 is the typical pixel, bright where the microscope gave more light; all panels share the "
            "colour scale. Below each: smallest and largest value of the function itself. "
            f"n = {count(number, 'function')} of {count(len(chosen), 'plate')}. A good function is smooth and the "
            "same on plates of one run; cells or edges that can be made out in it mean too few images or too little "
            "smoothing." + page_text(page, split),
            group="functions",
            page=page,
        )


def _pixels(relative):
    """Long table of what is drawn: plate, channel, row, column (of the small picture) and value."""
    parts = []
    for (plate, channel), small in relative.items():
        rows, columns = np.indices(small.shape)
        parts.append(
            pd.DataFrame(
                {
                    "Metadata_Plate": pd.Categorical([plate] * small.size),
                    "Metadata_Channel": pd.Categorical([channel] * small.size),
                    "Row": rows.ravel().astype("int16"),
                    "Column": columns.ravel().astype("int16"),
                    "Value": small.ravel().astype("float32"),
                }
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    return frame.astype({"Metadata_Plate": "object", "Metadata_Channel": "object"})


def function_ranges(gallery, functions, channels):
    """Add a figure of how strong the functions are: 99 % over 1 % quantile, per channel, a dot per plate."""
    if not functions:
        return
    rows = [
        {"Metadata_Plate": plate, "Metadata_Channel": channel, **numbers}
        for (plate, channel), (_, numbers) in functions.items()
    ]
    data = pd.DataFrame(rows)
    channels = [channel for channel in channels if channel in set(data["Metadata_Channel"])]
    with style.look():
        figure = style.new_figure(style.WIDTH * 0.75, 1.0 + 0.34 * len(channels))
        axis = figure.subplots()
        for line, channel in enumerate(channels):
            part = data[(data["Metadata_Channel"] == channel) & np.isfinite(data["Range"])]
            axis.axhline(line, color=style.FAINT, linewidth=0.8, zorder=0)
            axis.plot(
                part["Range"],
                np.full(len(part), line),
                "o",
                color=style.ACCENT,
                alpha=0.55,
                markersize=6,
                markeredgewidth=0,
            )
            if len(part) > 2:
                middle = part["Range"].median()
                spread = (part["Range"] - middle).abs().median() * 1.4826
                odd = part[(part["Range"] - middle).abs() > max(5 * spread, 0.05 * middle)]
                for _, found in odd.sort_values("Range").tail(3).iterrows():
                    axis.annotate(
                        shorten(found["Metadata_Plate"], 18),
                        (found["Range"], line),
                        xytext=(0, 5),
                        textcoords="offset points",
                        ha="center",
                        fontsize=6.5,
                        color=style.WARNING,
                    )
        axis.set_yticks(range(len(channels)), [shorten(channel, 24) for channel in channels])
        axis.set_ylim(len(channels) - 0.4, -0.6)
        axis.axvline(1, color=style.MUTED, linewidth=0.8, linestyle=":")
        axis.set_xlabel("99 % over 1 % quantile of the function (1 = flat)")
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
    plates = data["Metadata_Plate"].nunique()
    gallery.add(
        "function_range",
        figure,
        data.sort_values(["Metadata_Channel", "Metadata_Plate"], key=lambda column: column.map(natural)).reset_index(
            drop=True
        ),
        "Strength of the illumination functions",
        "How unevenly each channel was lit: the 99 % quantile of the function's pixels over the 1 % quantile, a dot "
        f"per plate (n = {count(plates, 'plate')}, {count(len(channels), 'channel')}); 1.5 means that the brightest "
        "parts got half as much light again. Named plates lie more than five robust standard deviations from their "
        "channel's median.",
    )
