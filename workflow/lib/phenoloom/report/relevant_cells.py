"""Pictures of the most and the least relevant cells, cut from the images: by well, and boxed in a whole field.

Source: CytoSummaryNet, van Dijk et al. 2024, its figure 6.
"""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from phenoloom.cell_sets.chosen import LEAST, MOST
from phenoloom.core.errors import InputError
from phenoloom.core.tables import read_table
from phenoloom.core.words import count
from phenoloom.metric_learning.splits import TEST, stream
from phenoloom.report import style
from phenoloom.report.gallery import pages
from phenoloom.report.montage import composite, display_ranges, draw_outlines, field_pixels, read_masks
from phenoloom.report.plates import page_text
from phenoloom.report.relevance import LEAST_COLOUR, MOST_COLOUR
from phenoloom.report.style import shorten
from phenoloom.tensors.crops import CENTRES, NUMBERS, cut, top_left

KEYS = ["Metadata_Plate", "Metadata_Well"]
FIELD = [*KEYS, "Metadata_Site"]
#: Ends of relevance: name, colour, and whether a cell is of it.
ENDS = (
    ("most", MOST_COLOUR, lambda combined: combined > MOST),
    ("least", LEAST_COLOUR, lambda combined: combined < LEAST),
)
#: Wells in one figure, pixels between cells, and their grey.
WELLS, GAP, PAPER = 3, 2, 1.0
#: Objects that are cut out, the first that the table places.
OBJECTS = ("Cells", "Nuclei", "Cytoplasm")


class Images:
    """Fields of some plates: pixels of the channels on show, and masks of the objects."""

    def __init__(self, index, functions, measurements, colours):
        """index: image index rows. functions: (plate, channel) -> illumination function. measurements: plate -> paths
        of files with masks. colours: colour -> channel.
        """
        shown = index[index["channel"].isin(list(colours.values()))]
        self._rows = dict(list(shown.groupby(["plate", "well", "site"])))
        self.functions, self.measurements, self.colours = functions, measurements, colours

    def read(self, field, name):
        """(channel -> image (H, W), mask of the object `name` or None) of one field (plate, well, site).

        Raises InputError for a field whose images are not there or cannot be read.
        """
        if field not in self._rows:
            raise InputError("its images are not in the index")
        rows, (plate, well, site) = self._rows[field], field
        shape = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
        functions = {channel: function for (owner, channel), function in self.functions.items() if owner == plate}
        pixels = field_pixels(rows, functions, max(shape))
        first = next(iter(pixels.values())).shape
        pixels = {channel: image for channel, image in pixels.items() if image.shape == first}
        masks = read_masks(self.measurements.get(plate, []), well, site, [name], first, max(first))
        return pixels, masks.get(name)


def choose_wells(wells, number):
    """At most `number` wells (rows), each of another perturbation: those of test plates first, then by the number of
    cells at the end of relevance that has fewer, the most first; ties by plate and well.
    """
    order = wells.assign(_seen=wells["Metadata_PlateSide"] != TEST, _both=-np.minimum(wells["Most"], wells["Least"]))
    ordered = wells.loc[order.sort_values(["_seen", "_both", *KEYS], kind="stable").index]
    again = ordered.duplicated("Metadata_Perturbation") & (ordered["Metadata_Perturbation"] != "")
    return ordered[~again].head(number)


def placed_cells(cells, tables):
    """(cells with `row` and `column` (pixels from 0) and `number` (label in the mask, 0 for none), name of the object).

    cells: DataFrame with Metadata_Plate and what names cells in `tables`, {plate: path of CellProfiler's cells}. Raises
    InputError where they have no place.
    """
    lacking = [name for name in ("Metadata_Site", *NUMBERS) if name not in cells]
    if lacking:
        raise InputError(f"the cells have no {lacking[0]}")
    known = set.intersection(*(set(pq.read_schema(path).names) for path in tables.values()))
    pairs = {name: [(one.format(name, "Y"), one.format(name, "X")) for one in CENTRES] for name in OBJECTS}
    found = [(name, pair) for name in OBJECTS for pair in pairs[name] if known.issuperset(pair)]
    if not found:
        raise InputError(f"no table of cells says where {' or '.join(OBJECTS)} lie")
    name, pair = found[0]
    label = [one for one in [f"Metadata_{name}_Number_Object_Number"] if one in known]
    parts = []
    for plate, own in cells.groupby("Metadata_Plate", sort=False):
        places = read_table(tables[plate], [*NUMBERS, *pair, *label])
        places = places.rename(columns=dict(zip([*pair, *label], ("row", "column", "number"), strict=False)))
        parts.append(own.merge(places, on=NUMBERS, how="left", validate="one_to_one"))
    placed = pd.concat(parts, ignore_index=True)
    placed = placed[placed[["row", "column"]].notna().all(axis=1)]
    return placed.assign(number=placed["number"].astype(int) if label else 0), name


def add_cells(gallery, wells, cells, images, name, size, per, seed, title):
    """Add pictures of cells of either end of some wells, drawn by the seed.

    wells: rows of choose_wells. cells: of placed_cells, with Combined. images: Images. name: of the object whose
    outline is drawn. size: side in pixels of the square cut out. per: cells of an end.
    """
    drawn = _drawn(wells, cells, per, seed)
    crops = _cut(gallery, drawn, images, name, size)
    drawn = drawn[drawn.index.isin(list(crops))]
    if drawn.empty:
        gallery.note("Cells: no picture of a relevant cell can be shown.")
        return
    ranges = display_ranges([crops[row][0] for row in drawn.index])
    pictures = {row: _picture(*crops[row], images.colours, ranges, drawn.at[row, "End"]) for row in drawn.index}
    shown = [well for well in wells[KEYS].itertuples(index=False, name=None) if _of(drawn, well).any()]
    split = pages(shown, WELLS)
    outlined = f", outline: {name}" if any(outline is not None for _, outline in crops.values()) else ""
    for page, own in enumerate(split):
        rows = drawn[np.logical_or.reduce([_of(drawn, well) for well in own])]
        gallery.add(
            f"cells_{page + 1}",
            _strips(wells, rows, pictures, own, size, per),
            rows[[*FIELD, *NUMBERS, "End", "Combined", "row", "column"]].reset_index(drop=True),
            f"Most and least relevant cells: {title}",
            f"Cells of the most (> {MOST:g}, green) and the least relevant (< {LEAST:g}, purple) of their well, drawn "
            "by the study's seed and not by eye. The wells are those of test plates first, then those with the most "
            f"cells at both ends, each of another perturbation. {_channels_in(images.colours)}; {size} pixels aside"
            f"{outlined}; brightness is the same everywhere. "
            f"n = {count(len(rows), 'cell')} of {count(len(own), 'well')}.{page_text(page, split)}",
            kind="image",
            group="cells",
            page=page,
        )


def add_field(gallery, wells, cells, images, name, size, title):
    """Add the field of the chosen wells with the most cells at both ends, its cells boxed; see add_cells."""
    own = cells[np.logical_or.reduce([_of(cells, well) for well in wells[KEYS].itertuples(index=False, name=None)])]
    ends = own.assign(**{end: chosen(own["Combined"]) for end, _, chosen in ENDS})
    sums = ends.groupby(FIELD, sort=True)[["most", "least"]].sum()
    ordered = sums.assign(both=sums.min(axis=1), all=sums.sum(axis=1))
    for field in ordered.sort_values(["both", "all"], ascending=False, kind="stable").index:
        try:
            pixels, mask = images.read(field, name)
        except InputError as error:
            gallery.note(f"Field: {field[1]}, site {field[2]} of {field[0]} is not shown: {error}.")
            continue
        boxed = ends[(ends[FIELD] == list(field)).all(axis=1) & ends[["most", "least"]].any(axis=1)]
        boxes = [_box(mask, row, size) for row in boxed.itertuples()]
        well = wells[_of(wells, field[:2])].iloc[0]
        gallery.add(
            "field",
            _field_figure(composite(pixels, images.colours, display_ranges([pixels])), boxed, boxes),
            boxed[[*FIELD, *NUMBERS, "Combined", "row", "column"]].reset_index(drop=True),
            f"A field with its most and least relevant cells: {title}",
            f"{field[0]}, well {field[1]} ({shorten(well['Metadata_Perturbation'], 40)}), site {field[2]}: the "
            f"{int(boxed['most'].sum())} most relevant cells in green boxes, the {int(boxed['least'].sum())} least "
            f"relevant in purple ones. Of the wells above, it is the field with the most of both. "
            f"{_channels_in(images.colours)}.",
            kind="image",
        )
        return


def _of(table, well):
    """Which rows are of a well (plate, well)."""
    return ((table["Metadata_Plate"] == well[0]) & (table["Metadata_Well"] == well[1])).to_numpy()


def _drawn(wells, cells, per, seed):
    """Cells of both ends of each well, at most `per` of each, most relevant first."""
    found = []
    for well in wells[KEYS].itertuples(index=False, name=None):
        own = cells[_of(cells, well)]
        for end, _, chosen in ENDS:
            rows = np.flatnonzero(chosen(own["Combined"]))
            rng = stream(seed, f"relevance {well} {end}")
            rows = rng.choice(rows, size=min(per, len(rows)), replace=False)
            found.append(own.iloc[rows].assign(End=end).sort_values("Combined", ascending=end == "least"))
    return pd.concat(found, ignore_index=True)


def _cut(gallery, drawn, images, name, size):
    """{row of `drawn`: (channel -> square, mask of the cell or None)}, a field in memory at a time."""
    found = {}
    for field, own in drawn.groupby(FIELD, sort=True):
        try:
            pixels, mask = images.read(field, name)
        except InputError as error:
            gallery.note(f"Cells: {field[1]}, site {field[2]} of {field[0]} is not shown: {error}.")
            continue
        corners = top_left(own[["row", "column"]].to_numpy(), (size, size))
        squares = cut(np.stack(list(pixels.values())), corners, (size, size), np.zeros(len(pixels), np.float32))
        outlines = [None] * len(own)
        if mask is not None:
            outlines = cut(mask[None], corners, (size, size), np.zeros(1, mask.dtype))[:, 0]
            outlines = [one == number for one, number in zip(outlines, own["number"], strict=True)]
        for row, square, outline in zip(own.index, squares, outlines, strict=True):
            found[row] = dict(zip(pixels, square, strict=True)), outline
    return found


def _picture(square, outline, colours, ranges, end):
    picture = composite(square, colours, ranges)
    return picture if outline is None else draw_outlines(picture, outline.astype(int), to_rgb(_colour(end)))


def _colour(end):
    return next(colour for name, colour, _ in ENDS if name == end)


def _strips(wells, rows, pictures, shown, size, per):
    """A block per well: the most relevant cells in the first line, the least in the second."""
    margin = 1.9
    wide = style.WIDTH - margin
    high = wide * (2 * (size + GAP)) / (per * (size + GAP))
    height = len(shown) * (high + 0.2)
    with style.look():
        figure = style.Figure(figsize=(style.WIDTH, height))
        for place, well in enumerate(shown):
            own, top = rows[_of(rows, well)], place * (high + 0.2) + 0.04
            whole = np.full((2 * (size + GAP) - GAP, per * (size + GAP) - GAP, 3), PAPER, np.float32)
            for line, (end, colour, _) in enumerate(ENDS):
                for column, row in enumerate(own.index[own["End"] == end]):
                    y, x = line * (size + GAP), column * (size + GAP)
                    whole[y : y + size, x : x + size] = pictures[row]
                middle = 1 - (top + (line + 0.72) * high / 2) / height
                darker = 0.75 * np.array(to_rgb(colour))
                figure.text(
                    (margin - 0.1) / style.WIDTH, middle, end, color=darker, fontsize=8, fontweight="bold", ha="right"
                )
            axis = figure.add_axes(
                [margin / style.WIDTH, 1 - (top + high) / height, 1 - margin / style.WIDTH, high / height]
            )
            axis.imshow(whole, interpolation="antialiased", aspect="auto")
            axis.set_axis_off()
            name = wells[_of(wells, well)].iloc[0]["Metadata_Perturbation"]
            figure.text(0.002, 1 - (top + 0.02) / height, shorten(name, 22), fontsize=8.5, fontweight="bold", va="top")
            where = f"{shorten(well[0], 18)}, {well[1]}"
            figure.text(0.002, 1 - (top + 0.2) / height, where, fontsize=7.5, color=style.MUTED, va="top")
    return figure


def _box(mask, cell, size):
    """(left, top, width, height) of a cell: that of its mask, else a square about its place."""
    rows, columns = np.nonzero(mask == cell.number) if mask is not None else ([], [])
    if not len(rows):
        return cell.column - size / 2, cell.row - size / 2, size, size
    left, top = columns.min() - 1.5, rows.min() - 1.5
    return left, top, columns.max() + 1.5 - left, rows.max() + 1.5 - top


def _field_figure(picture, cells, boxes):
    height, width = picture.shape[:2]
    side = min(style.WIDTH, 8.0 * width / height)
    with style.look():
        figure = style.Figure(figsize=(side, side * height / width))
        axis = figure.add_axes([0, 0, 1, 1])
        axis.imshow(picture, interpolation="antialiased", aspect="equal")
        for most, (left, top, wide, high) in zip(cells["most"], boxes, strict=True):
            colour = MOST_COLOUR if most else LEAST_COLOUR
            axis.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=colour, linewidth=1.6))
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        axis.set_axis_off()
    return figure


def _channels_in(colours):
    return ", ".join(f"{channel} {colour}" for colour, channel in colours.items())
