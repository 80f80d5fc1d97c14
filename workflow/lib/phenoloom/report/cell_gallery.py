"""Pictures of random cells of each label and of each cluster, cut from the stacks: every channel, and all in colour."""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import METADATA
from phenoloom.core.words import count
from phenoloom.metric_learning.splits import stream
from phenoloom.report import style
from phenoloom.report.gallery import pages
from phenoloom.report.montage import BLACK, FULL, automatic_colours, composite, display_ranges, grey
from phenoloom.report.plates import page_text
from phenoloom.report.style import natural, share, shorten

#: Groups in one figure, and groups that are drawn at all: the largest.
GROUPS, LARGEST = 4, 24
#: Pixels between cells, and their grey.
GAP, PAPER = 2, 1.0


def add_gallery(gallery, name, words, obs, groups, stacks, kinds, per, seed):
    """Add random cells of each group, one row of pictures per channel, and a composite where there are several.

    name: of the figure. words: (title, sentence that says what the groups are). obs: DataFrame of cells with Sample,
    Event and ObjectNumber (row of the stack, from 1). groups: their label or cluster (n,), "" for none. stacks:
    {sample: path of its stack (N, C, H, W)}; only the cells drawn are read. kinds: {channel: fluorescence or
    brightfield} in the stack's order. per: cells of a group.
    """
    title, sentence = words
    groups = np.asarray(groups, dtype=object)
    sizes = pd.Series(groups[groups != ""]).value_counts(sort=False)
    if sizes.empty:
        gallery.note(f"{title}: nothing to show because no cell is of a group.")
        return
    largest = sorted(sizes.index, key=lambda group: (-sizes[group], natural(group)))[:LARGEST]
    ordered = sorted(largest, key=natural)
    rng = stream(seed, f"pictures {name}")
    rows = {group: _random(np.flatnonzero(groups == group), per, rng) for group in ordered}
    pixels = read_cells(obs.iloc[np.concatenate(list(rows.values()))], stacks, list(kinds))
    places = dict(
        zip(rows, np.split(np.arange(len(pixels)), np.cumsum([len(own) for own in rows.values()])[:-1]), strict=True)
    )
    ranges = display_ranges(pixels)
    colours = automatic_colours(list(kinds), kinds)
    split = pages(ordered, GROUPS)
    for page, names in enumerate(split):
        tiles = [
            (group, int(sizes[group]), strip([pixels[place] for place in places[group]], kinds, colours, ranges, per))
            for group in names
        ]
        data = pd.concat([_data(obs.iloc[rows[group]], group, ranges) for group in names], ignore_index=True)
        gallery.add(
            f"{name}_{page + 1}",
            _figure(tiles, _lines(kinds, colours)),
            data,
            title,
            _caption(sentence, len(data), len(names), kinds, colours, len(sizes)) + page_text(page, split),
            kind="image",
            group=name,
            page=page,
        )


def read_cells(obs, stacks, channels):
    """Channel -> picture (H, W) float32 of each cell; nothing else of the stacks is read.

    Raises InputError for a stack that lacks a cell or has another number of channels.
    """
    opened, found = {}, []
    for sample, number in zip(obs["Sample"].astype(str), obs["ObjectNumber"], strict=True):
        if sample not in opened:
            if sample not in stacks:
                raise InputError(f"there is no stack of sample {sample}; make its events again")
            opened[sample] = np.load(stacks[sample], mmap_mode="r", allow_pickle=False)
        stack, row = opened[sample], int(number) - 1
        if not 0 <= row < len(stack) or stack.shape[1] != len(channels):
            raise InputError(f"{stacks[sample]} does not hold cell {number} in {len(channels)} channels; make it again")
        found.append({channel: np.array(stack[row, place]) for place, channel in enumerate(channels)})
    return found


def strip(cells, kinds, colours, ranges, per):
    """RGB picture (h, w, 3) of cells beside each other: a line of composites where there are several channels, then a
    line per channel in grey. Empty places are white, as are the gaps.

    cells: list of channel -> (H, W). kinds: of all channels. per: places in a line.
    """
    height = max(image.shape[0] for cell in cells for image in cell.values())
    width = max(image.shape[1] for cell in cells for image in cell.values())
    lines = _lines(kinds, colours)
    whole = np.full((len(lines) * (height + GAP) - GAP, per * (width + GAP) - GAP, 3), PAPER, dtype=np.float32)
    for column, cell in enumerate(cells):
        for line, channel in enumerate(lines):
            picture = (
                composite(cell, colours, ranges)
                if channel is None
                else np.repeat(grey(cell[channel], ranges[channel])[..., None], 3, axis=2)
            )
            top, left = line * (height + GAP), column * (width + GAP)
            whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return whole


def _lines(kinds, colours):
    """What each line shows: None for the composite, else a channel."""
    return [*([None] if len(colours) > 1 else []), *kinds]


def _random(rows, number, rng):
    return np.sort(rng.choice(rows, size=min(number, len(rows)), replace=False))


def _data(cells, group, ranges):
    """What stands in the pictures of a group, as rows of the figure's data."""
    kept = {METADATA + name: cells[name].astype(object) for name in ("Dataset", "Sample", "Event") if name in cells}
    found = pd.DataFrame({"Group": group, "Column": np.arange(len(cells)), **kept}, index=cells.index)
    for channel, (black, full) in ranges.items():
        found[f"Black_{channel}"], found[f"Full_{channel}"] = black, full
    return found.reset_index(drop=True)


def _figure(tiles, lines):
    margin, wide = 1.5, style.WIDTH - 1.5
    high = [wide * picture.shape[0] / picture.shape[1] for _, _, picture in tiles]
    most = max(0.8 * len(lines), 2.6)  # tall cells do not make a page of one group
    scale = min(1.0, most / max(high))
    with style.look():
        height = sum(one * scale + 0.16 for one in high)
        figure = style.Figure(figsize=(style.WIDTH if scale == 1 else margin + wide * scale, height))
        width, top = figure.get_size_inches()[0], 0.0
        for (group, size, picture), one in zip(tiles, high, strict=True):
            one *= scale
            axis = figure.add_axes([margin / width, 1 - (top + one + 0.02) / height, 1 - margin / width, one / height])
            axis.imshow(picture, interpolation="antialiased", aspect="auto")
            axis.set_axis_off()
            for line, channel in enumerate(lines):
                middle = 1 - (line + 0.5) / len(lines)
                text = "composite" if channel is None else shorten(channel, 14)
                axis.text(
                    -0.008,
                    middle,
                    text,
                    transform=axis.transAxes,
                    fontsize=6.5,
                    color=style.MUTED,
                    ha="right",
                    va="center",
                )
            figure.text(
                0.02 / width,
                1 - (top + 0.14) / height,
                shorten(group, 16),
                fontsize=8.5,
                fontweight="bold",
                va="center",
            )
            figure.text(
                0.02 / width, 1 - (top + 0.32) / height, f"n = {size:,}", fontsize=7.5, color=style.MUTED, va="center"
            )
            top += one + 0.16
    return figure


def _caption(sentence, n, groups, kinds, colours, all_groups):
    text = f"{sentence} Cells are drawn at random by the study's seed, not by eye. "
    if len(colours) > 1:
        text += "Composite: " + ", ".join(f"{channel} {colour}" for colour, channel in colours.items()) + ". "
    text += (
        "Background is subtracted; brightness is the same everywhere: black and full brightness of a channel are the "
        f"{share(BLACK)} and {share(FULL, 1)} quantiles of all pixels shown. "
    )
    if all_groups > LARGEST:
        text += f"The {LARGEST} largest of {all_groups} groups are drawn. "
    text += "n beside each group: its cells on the maps. "
    return text + f"n = {count(n, 'cell')} of {count(groups, 'group')} in {count(len(kinds), 'channel')}."
