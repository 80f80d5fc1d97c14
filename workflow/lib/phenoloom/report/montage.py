"""Montages: the same few fields of each perturbation, corrected for illumination, with the outlines of the objects."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from phenoloom.core.names import decode
from phenoloom.core.words import count
from phenoloom.report import style
from phenoloom.report.gallery import pages
from phenoloom.report.plates import page_text
from phenoloom.report.style import natural, share, shorten
from phenoloom.report.summary import treatment, with_layout_columns

#: Share of the light that each display colour puts into red, green and blue.
COLOURS = {
    "red": (1.0, 0.15, 0.1),
    "green": (0.1, 0.9, 0.2),
    "blue": (0.15, 0.35, 1.0),
    "cyan": (0.0, 0.85, 0.9),
    "magenta": (0.95, 0.1, 0.85),
    "yellow": (0.95, 0.85, 0.1),
    "grey": (1.0, 1.0, 1.0),
}
#: Colours of outlines, by the order of the objects.
OUTLINES = ((1.0, 1.0, 1.0), (1.0, 0.72, 0.2), (0.3, 0.9, 1.0))
#: Quantiles of all shown pixels of a channel that become black and full brightness.
BLACK, FULL = 0.02, 0.997
#: Perturbations in one figure of composites, and in that of single channels.
MONTAGE_ROWS = 6
CHANNEL_ROWS = 6


def read_functions(paths):
    """{(plate, channel): illumination function} of files `{plate}/{channel}.npy`, mapped and not read yet."""
    return {
        (decode(Path(path).parent.name), Path(path).stem): np.load(path, mmap_mode="r", allow_pickle=False)
        for path in paths
    }


def by_plate(paths):
    """{plate: paths} of files `{plate}/{name}`, in their order."""
    found = {}
    for path in paths:
        found.setdefault(decode(Path(path).parent.name), []).append(path)
    return found


def automatic_colours(channels, kinds):
    """Display colours for a study that names none: the DNA-like channel blue, the next two green and magenta.

    channels: names in order. kinds: name -> fluorescence or brightfield. Brightfield alone is grey.
    """
    glowing = [name for name in channels if kinds.get(name, "fluorescence") == "fluorescence"]
    if not glowing:
        return {"grey": channels[0]} if channels else {}
    nuclear = next(
        (name for name in glowing if any(word in name.lower() for word in ("dna", "dapi", "hoechst", "nuc"))), None
    )
    preferred = ["agp", "actin", "gfp", "er", "mito", "rna"]
    rest = sorted(
        (name for name in glowing if name != nuclear),
        key=lambda name: next((rank for rank, word in enumerate(preferred) if word in name.lower()), len(preferred)),
    )
    chosen = {"blue": nuclear} if nuclear else {}
    for colour in ("green", "magenta") if nuclear else ("green", "magenta", "blue"):
        if rest:
            chosen[colour] = rest.pop(0)
    return chosen


def display_colours(gallery, channels, chosen):
    """Channel of each display colour: as `chosen` (report.montage.channels), else by name, which a note says.

    channels: the config's block, name -> {kind}. chosen: colour -> channel, or None.
    """
    colours = {colour: channel for colour, channel in (chosen or {}).items() if channel}
    unknown = [channel for channel in colours.values() if channel not in channels]
    if unknown:
        gallery.note(
            f"Montage: the dataset has no channel {', '.join(unknown)} (report.montage.channels); colours were chosen "
            "by name."
        )
        colours = {}
    kinds = {name: (block or {}).get("kind", "fluorescence") for name, block in channels.items()}
    return colours or automatic_colours(list(channels), kinds)


def choose_fields(layout, sites, excluded, perturbations, per):
    """Fields of a montage: at most `perturbations` perturbations with at most `per` sites each.

    layout: one row per well. sites: DataFrame with Metadata_Plate, Metadata_Well, Metadata_Site of what was imaged.
    excluded: set of (plate, well, site) that quality control excluded; never shown. Negative controls come first, then
    positive ones, then the others, MoA by MoA in turn so that few do not crowd out many. Each perturbation is shown at
    its highest concentration, at lower ones too where that has fewer than `per` fields. Fields of one concentration are
    drawn by a hash of their names, from different wells and plates first: nobody picks them by eye, and the same study
    always shows the same ones.
    """
    layout = with_layout_columns(layout)
    layout = layout[layout["Metadata_Perturbation"] != ""]
    fields = sites.drop_duplicates().merge(layout, on=["Metadata_Plate", "Metadata_Well"], how="inner")
    keys = list(zip(fields["Metadata_Plate"], fields["Metadata_Well"], fields["Metadata_Site"], strict=True))
    fields = fields[[key not in excluded for key in keys]].copy()
    if fields.empty:
        return fields.assign(Treatment=[])
    fields["Treatment"] = treatment(fields)
    chosen = []
    for name in _order_perturbations(fields)[:perturbations]:
        own = fields[fields["Metadata_Perturbation"] == name].copy()
        own["_hash"] = [
            _hash(row) for row in own[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].itertuples(index=False)
        ]
        own = own.sort_values("_hash", kind="stable")
        own["_in_well"] = own.groupby(["Metadata_Plate", "Metadata_Well"]).cumcount()
        own["_in_plate"] = own.groupby(["Metadata_Plate", "Treatment"]).cumcount()
        own["_dose"] = -own["Metadata_Concentration"].fillna(np.inf)
        chosen.append(own.sort_values(["_dose", "_in_well", "_in_plate", "_hash"], kind="stable").head(per))
    order = ["_hash", "_in_well", "_in_plate", "_dose"]
    return pd.concat(chosen).drop(columns=order).reset_index(drop=True)


def _hash(names):
    return hashlib.blake2b("\t".join(map(str, names)).encode(), digest_size=8).hexdigest()


def _order_perturbations(fields):
    first = fields.drop_duplicates("Metadata_Perturbation")
    groups = {"negative": [], "positive": []}
    others = {}
    for row in first.itertuples(index=False):
        if row.Metadata_Control in groups:
            groups[row.Metadata_Control].append(row.Metadata_Perturbation)
        else:
            others.setdefault(row.Metadata_MoA, []).append(row.Metadata_Perturbation)
    ordered = sorted(groups["negative"], key=natural) + sorted(groups["positive"], key=natural)
    queues = [sorted(others[moa], key=natural) for moa in sorted(others, key=lambda moa: (moa == "", natural(moa)))]
    while any(queues):
        ordered += [queue.pop(0) for queue in queues if queue]
    return ordered


def crop_slices(shape, crop):
    """Slices of the central square of `crop` pixels, or of what there is of it."""
    return tuple(
        slice((size - min(size, crop)) // 2, (size - min(size, crop)) // 2 + min(size, crop)) for size in shape
    )


def field_pixels(rows, functions, crop):
    """Channel -> cropped float32 image of one field, divided by its illumination function where there is one.

    rows: index rows of the field's channels (DataFrame). functions: channel -> 2-D array. Raises ImageError for an
    image that cannot be used, InputError when a function has another size.
    """
    from phenoloom.core.errors import InputError
    from phenoloom.core.images import read_image

    pixels = {}
    for row in rows.to_dict("records"):
        image = read_image(row)
        window = crop_slices(image.shape, crop)
        cropped = image[window].astype(np.float32)
        function = functions.get(row["channel"])
        if function is not None:
            if function.shape != image.shape:
                raise InputError(f"the illumination function of {row['channel']} is not the size of {row['path']}")
            cropped = cropped / np.asarray(function[window], np.float32)
        pixels[row["channel"]] = cropped
    return pixels


def display_ranges(fields):
    """Channel -> (black, full): the quantiles BLACK and FULL of all finite pixels of the channel in all fields."""
    ranges = {}
    for channel in sorted({name for pixels in fields for name in pixels}):
        pool = np.concatenate([pixels[channel].ravel()[::3] for pixels in fields if channel in pixels])
        pool = pool[np.isfinite(pool)]
        low, high = np.quantile(pool, [BLACK, FULL]) if pool.size else (0.0, 1.0)
        ranges[channel] = (float(low), float(high) if high > low else float(low) + 1.0)
    return ranges


def grey(pixels, limits):
    """Pixels scaled to 0..1 between the limits; NaN becomes black."""
    low, high = limits
    return np.nan_to_num(np.clip((pixels - low) / (high - low), 0, 1), nan=0.0)


def composite(pixels, colours, ranges):
    """RGB image (h, w, 3) in 0..1: each channel in its colour, added up.

    pixels: channel -> 2-D array. colours: colour name -> channel. ranges: of :func:`display_ranges`.
    """
    shape = next(iter(pixels.values())).shape
    total = np.zeros((*shape, 3), np.float32)
    for colour, channel in colours.items():
        if channel in pixels and pixels[channel].shape == shape:
            total += grey(pixels[channel], ranges[channel])[..., None] * np.asarray(COLOURS[colour], np.float32)
    return np.clip(total, 0, 1)


def draw_outlines(picture, labels, colour):
    """The picture with the inner boundary of every labelled object (0 is background) in `colour`."""
    from skimage.segmentation import find_boundaries

    picture = picture.copy()
    picture[find_boundaries(labels, mode="inner", background=0)] = colour
    return picture


def montage_figure(tiles, per):
    """Figure with a row of tiles per perturbation.

    tiles: list of (perturbation title, subtitle, list of (caption, RGB image)).
    """
    ratio = max(image.shape[0] / image.shape[1] for _, _, row in tiles for _, image in row)
    margin = 1.9
    panel = min((style.WIDTH - margin) / per, 2.6)
    with style.look():
        figure = style.new_figure(margin + panel * per, len(tiles) * (panel * ratio + 0.24) + 0.1)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.05, wspace=0.0, hspace=0.0)
        grid = figure.subplots(len(tiles), per + 1, squeeze=False, width_ratios=[margin, *[panel] * per])
        for (title, subtitle, row), axes in zip(tiles, grid, strict=True):
            for axis in axes:
                axis.set_axis_off()
            label = {"xy": (0.0, 1.0), "xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
            axes[0].annotate(title, xytext=(0, 0), fontsize=8.5, fontweight="bold", **label)
            below = -14 - 11 * title.count("\n")
            axes[0].annotate(subtitle, xytext=(0, below), fontsize=7.5, color=style.MUTED, linespacing=1.4, **label)
            for axis, (caption, image) in zip(axes[1:], row, strict=False):
                axis.imshow(image, vmin=0, vmax=1, cmap="gray", interpolation="antialiased", aspect="equal")
                axis.set_title(caption, fontsize=6.5, fontweight="normal", color=style.MUTED, pad=3)
    return figure


def add_montage(gallery, fields, pixels, masks, colours, objects, crop, plates):
    """Add the montage of composites with outlines.

    fields: rows of :func:`choose_fields`. pixels: per field channel -> image, or None where it could not be read.
    masks: per field object -> cropped label image. objects: names in the order of OUTLINES. plates: (used, all) numbers
    of plates that fields were drawn from.
    """
    shown = [
        {channel: images[channel] for channel in colours.values() if channel in images} if images else {}
        for images in pixels
    ]
    usable = [index for index, images in enumerate(shown) if images]
    if not usable:
        gallery.note("Montage: nothing to show because no image of a known perturbation could be read.")
        return
    ranges = display_ranges([shown[index] for index in usable])
    rows = {}
    for index in usable:
        rows.setdefault(fields["Metadata_Perturbation"].iloc[index], []).append(index)
    tiles, data = [], []
    for line, (name, own) in enumerate(rows.items()):
        row = []
        for place, index in enumerate(own):
            field = fields.iloc[index]
            picture = composite(shown[index], colours, ranges)
            for kind, colour in reversed(list(zip(objects, OUTLINES, strict=False))):
                if kind in masks[index]:
                    picture = draw_outlines(picture, masks[index][kind], colour)
            row.append((_field_caption(field), picture))
            data.append(_field_row(field, line, place, masks[index], ranges))
        tiles.append((_wrap(name), _subtitle(fields.iloc[own[0]]), row))
    data = pd.DataFrame(data)
    per = max(len(row) for _, _, row in tiles)
    split = pages(list(range(len(tiles))), MONTAGE_ROWS)
    for page, lines in enumerate(split):
        drawn = data[data["Row"].isin(lines)].reset_index(drop=True)
        gallery.add(
            f"montage_{page + 1}",
            montage_figure([tiles[line] for line in lines], per),
            drawn,
            "Fields of each perturbation",
            ", ".join(f"{channel} {colour}" for colour, channel in colours.items())
            + f"; divided by the illumination function; the central {crop} pixels at most. "
            + _outline_words(drawn, objects)
            + "Each perturbation at its highest concentration, and at lower ones where that has few fields; "
            "concentration, plate, well and site above each. Fields are drawn by a hash of their names, not by eye, "
            f"among sites that passed quality control on {plates[0]} of {count(plates[1], 'plate')}. Brightness is the "
            f"same everywhere: black and full brightness are the {share(BLACK)} and {share(FULL, 1)} quantiles of all "
            f"pixels shown. n = {count(len(drawn), 'field')} of {count(len(lines), 'perturbation')}."
            + page_text(page, split),
            kind="image",
            group="montage",
            page=page,
        )


def _field_caption(field):
    dose = field["Treatment"].removeprefix(field["Metadata_Perturbation"]).removeprefix(" @ ")
    where = [shorten(field["Metadata_Plate"], 16), field["Metadata_Well"], str(field["Metadata_Site"])]
    return " · ".join([*([shorten(dose, 12)] if dose else []), *where])


_FIELD = ("Plate", "Well", "Site", "Perturbation", "Concentration", "Unit", "Control", "MoA")


def _field_row(field, line, place, masks, ranges):
    """What stands in one tile, as a row of the figure's data."""
    row = {f"Metadata_{name}": field[f"Metadata_{name}"] for name in _FIELD}
    row |= {"Row": line, "Column": place}
    row |= {f"Objects_{kind}": int(len(np.unique(labels[labels > 0]))) for kind, labels in masks.items()}
    for channel, (black, full) in ranges.items():
        row |= {f"Black_{channel}": black, f"Full_{channel}": full}
    return row


def _outline_words(data, objects):
    """Sentence of the caption on the outlines: objects, their colours, how many."""
    found = []
    for kind, colour in zip(objects, ("white", "orange", "cyan"), strict=False):
        if f"Objects_{kind}" in data:
            found.append(f"{kind} {colour} ({int(data[f'Objects_{kind}'].sum()):,})")
    if not found:
        return "No outlines: no label masks were kept (features.cellprofiler.masks). "
    return f"Outlines of the segmentation: {', '.join(found)}. "


def add_channels(gallery, fields, pixels, channels, crop):
    """Add one field per perturbation with every channel by itself in grey."""
    chosen = []
    for index, images in enumerate(pixels):
        if images and fields["Metadata_Perturbation"].iloc[index] not in {
            fields["Metadata_Perturbation"].iloc[seen] for seen in chosen
        }:
            chosen.append(index)
    chosen = chosen[:CHANNEL_ROWS]
    channels = [channel for channel in channels if any(channel in pixels[index] for index in chosen)]
    if not chosen or not channels:
        return
    ranges = display_ranges([pixels[index] for index in chosen])
    tiles, data = [], []
    blank = np.zeros_like(next(iter(pixels[chosen[0]].values())))
    for index in chosen:
        field = fields.iloc[index]
        row = []
        for channel in channels:
            image = pixels[index].get(channel)
            row.append((shorten(channel, 20), blank if image is None else grey(image, ranges[channel])))
            data.append(
                {
                    **{
                        key: field[key]
                        for key in ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Perturbation")
                    },
                    "Metadata_Channel": channel,
                    "Black": ranges.get(channel, (np.nan, np.nan))[0],
                    "Full": ranges.get(channel, (np.nan, np.nan))[1],
                    "Median": float(np.nanmedian(image)) if image is not None else np.nan,
                }
            )
        where = f"{shorten(field['Metadata_Plate'], 20)}\n{field['Metadata_Well']}, site {field['Metadata_Site']}"
        tiles.append((_wrap(field["Treatment"]), where, row))
    gallery.add(
        "channels",
        montage_figure(tiles, len(channels)),
        pd.DataFrame(data),
        "Channels one by one",
        f"The first field of the first {count(len(chosen), 'perturbation')} of the montage, each channel by itself, "
        f"divided by its illumination function, the central {crop} pixels at most. Black and full brightness are the "
        f"{share(BLACK)} and {share(FULL, 1)} quantiles of the channel's pixels in this figure, so that rows compare "
        f"and columns do not. n = {count(len(chosen), 'field')}, "
        f"{count(len(channels), 'channel')}.",
        kind="image",
    )


def _wrap(name, width=23, lines=3):
    """A name broken into lines of at most `width` characters."""
    text = shorten(name, width * lines)
    parts, line = [], ""
    for word in text.split(" "):
        while len(word) > width:
            parts.extend([line] if line else [])
            line, word = "", word
            parts.append(word[:width])
            word = word[width:]
        if len(line) + len(word) + 1 > width and line:
            parts.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*parts, line][:lines])


def _subtitle(field):
    words = {"negative": "negative control", "positive": "positive control"}.get(field["Metadata_Control"], "")
    return "\n".join(part for part in (words, _wrap(field["Metadata_MoA"], 27, 2)) if part)


def read_masks(paths, well, site, objects, shape, crop):
    """object -> cropped label image of one site, from the measurement files of its plate; those that have a mask."""
    if not paths:
        return {}
    from phenoloom.cellprofiler.measurements import read_mask
    from phenoloom.core.errors import InputError

    found = {}
    for name in objects:
        for path in paths:
            try:
                labels = read_mask(path, well, site, name)
            except InputError:
                continue  # another batch of the plate holds the site, or the masks of this object were not kept
            if labels.shape == tuple(shape):
                found[name] = labels[crop_slices(labels.shape, crop)]
                break
    return found


def build_montage(
    gallery,
    index,
    layout,
    sites,
    functions,
    measurements,
    channels,
    n_plates,
    perturbations=12,
    per=4,
    colours=None,
    objects=(),
    crop=300,
):
    """Choose fields, read them, and add the montage of composites and the figure of single channels.

    index: image index rows of the plates drawn from. layout: one row per well. sites: rows of the sites with
    Metadata_Excluded. functions: (plate, channel) -> illumination function. measurements: plate -> paths of measurement
    files with masks. channels: the config's block, name -> {kind}. n_plates: how many plates the dataset has.
    """
    from phenoloom.core.errors import InputError

    names = list(channels)
    colours = display_colours(gallery, channels, colours)
    imaged = index.rename(columns={"plate": "Metadata_Plate", "well": "Metadata_Well", "site": "Metadata_Site"})
    place = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
    excluded = set(sites.loc[sites["Metadata_Excluded"].astype(bool), place].itertuples(index=False, name=None))
    fields = choose_fields(layout, imaged[place], excluded, perturbations, per)
    if fields.empty:
        gallery.note("Montage: nothing to show because no imaged well has a known perturbation.")
        return
    rows = dict(tuple(imaged.assign(plate=imaged["Metadata_Plate"], site=imaged["Metadata_Site"]).groupby(place)))
    pixels, masks = [], []
    for field in fields[place].itertuples(index=False, name=None):
        own = rows[field]
        illumination = {channel: function for (plate, channel), function in functions.items() if plate == field[0]}
        try:
            pixels.append(field_pixels(own, illumination, crop))
        except InputError as error:
            gallery.note(f"Montage: {field[1]}, site {field[2]} of {field[0]} is not shown: {error}.")
            pixels.append(None)
        shape = (int(own["height"].iloc[0]), int(own["width"].iloc[0]))
        masks.append(
            read_masks(measurements.get(field[0], []), field[1], field[2], objects, shape, crop) if pixels[-1] else {}
        )
    add_montage(gallery, fields, pixels, masks, colours, objects, crop, (index["plate"].nunique(), n_plates))
    add_channels(gallery, fields, pixels, names, crop)
