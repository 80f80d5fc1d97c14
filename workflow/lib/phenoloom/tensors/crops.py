"""Crops of a plate: a window of each corrected site around every cell that CellProfiler found there."""

import zlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.tables import read_table
from phenoloom.tensors.sites import PLACE, read_sites, whereabouts
from phenoloom.tensors.store import BATCH, TensorWriter, append_usable

#: Of a cell within the plate's table, by which rows of an embedding join those of CellProfiler.
NUMBERS = ["Metadata_ImageNumber", "Metadata_ObjectNumber"]

#: Where a pipeline says that an object lies: the first is written by modules that identify objects.
CENTRES = ("{}_Location_Center_{}", "{}_AreaShape_Center_{}")
ENDINGS = [pattern.format("", "Y") for pattern in CENTRES]


def write_plate_crops(paths, index, cells, channels, options, ledger, illumination=(), seed=0, threads=1, origin=None):
    """Write the tensor of a plate's cells: (array, table of items).

    index: DataFrame of the plate's image index. cells: path of its table of single cells. channels: names, in order.
    options: of the tensor (size, dtype, object, edge, max_cells, cut_off, percentiles). illumination: paths of
    functions `{channel}.npy`. edge: `drop` leaves out cells whose crop reaches beyond the image; `pad` fills it up with
    the median of the image, channel by channel. max_cells: of a site, drawn by the seed.
    One site is in memory, and 256 crops. Sites that cannot be used and cells left out go to the ledger; a plate without
    a cell gets a tensor without items. Raises InputError where the table lacks the place of its cells.
    """
    if not options["size"]:
        raise InputError("crops of plates need a size, [height, width] in pixels")
    size = tuple(options["size"])
    cells = _chosen(read_centres(cells, options["object"]), options["max_cells"], seed, ledger)
    by_site = dict(list(cells.groupby(["Metadata_Well", "Metadata_Site"], sort=True)))
    index = index[index["channel"].isin(list(channels))]
    imaged = list(zip(index["well"], index["site"], strict=True))
    for site in sorted(set(by_site) - set(imaged)):
        ledger.add("the site has cells but no usable image", unit="site", **whereabouts(by_site[site].iloc[0]))
    index = index[[site in by_site for site in imaged]]
    sites = read_sites(index, channels, ledger, illumination, options["cut_off"], threads=threads)
    beyond = 0
    with TensorWriter(paths[0], channels, size, options["dtype"], paths[1], options["percentiles"], origin) as tensor:
        for place, images in sites:
            there = by_site[place["Metadata_Well"], place["Metadata_Site"]].assign(**place)
            corners = top_left(there[["row", "column"]].to_numpy(), size)
            if options["edge"] == "drop":
                whole = ((corners >= 0) & (corners + size <= images.shape[1:])).all(axis=1)
                beyond += int((~whole).sum())
                there, corners = there[whole], corners[whole]
            fill = np.median(images, axis=(1, 2)) if options["edge"] == "pad" else None
            for start in range(0, len(there), BATCH):
                part = slice(start, start + BATCH)
                crops = cut(images, corners[part], size, fill)
                append_usable(tensor, crops, there[PLACE + NUMBERS][part], ledger, "cell", **whereabouts(place))
        if beyond:
            ledger.add("the crop reaches beyond the image", unit="cell", count=beyond)
        if not len(tensor):
            tensor.append(np.empty((0, len(channels), *size)), cells[:0][PLACE + NUMBERS])
            ledger.add("no cell of this plate can be used", unit="plate")


def read_centres(path, name):
    """Cells of a plate with the centre of one of their objects: PLACE, NUMBERS, `row` and `column` (pixels, from 0).

    name: of the object. Raises InputError where the table has neither the object's location nor its shape's centre.
    """
    known = pq.read_schema(path).names
    keys = [*PLACE, *NUMBERS]
    if not pq.read_metadata(path).num_rows:  # of a plate without an object not even its measurements are known
        whole = {name: np.dtype(np.int64) for name in (PLACE[-1], *NUMBERS)}
        return pd.DataFrame(columns=[*keys, "row", "column"]).astype({**whole, "row": float, "column": float})
    missing = [column for column in keys if column not in known]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; make the table of cells again")
    pairs = [(pattern.format(name, "Y"), pattern.format(name, "X")) for pattern in CENTRES]
    pair = next((pair for pair in pairs if set(pair) <= set(known)), None)
    if pair is None:
        others = sorted({column.split("_")[0] for column in known for ending in ENDINGS if column.endswith(ending)})
        instead = f"choose {' or '.join(others)} as the tensor's object" if others else "keep them in the pipeline"
        raise InputError(f"{path} has neither {' and '.join(pairs[0])} nor {' and '.join(pairs[1])}; {instead}")
    return read_table(path, [*keys, *pair]).rename(columns=dict(zip(pair, ("row", "column"), strict=True)))


def top_left(centres, size):
    """(n, 2) integer corners of windows of `size` about centres (n, 2), in rows and columns."""
    return np.floor(centres - (np.array(size) - 1) / 2 + 0.5).astype(int)


def cut(images, corners, size, fill=None):
    """Windows (n, C, H, W) of images (C, h, w) at corners (n, 2).

    fill: (C,) values of pixels beyond the image; None where all windows lie in it.
    """
    height, width = images.shape[1:]
    if fill is not None:
        images = np.concatenate([images.reshape(len(images), -1), np.asarray(fill, images.dtype)[:, None]], axis=1)
    rows, columns = (corners[:, axis, None] + np.arange(size[axis]) for axis in (0, 1))
    places = rows[:, :, None] * width + columns[:, None, :]
    if fill is not None:
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        places = np.where(inside, places, height * width)
    # in one piece, for everything after this is several times slower on swapped axes
    return np.ascontiguousarray(images.reshape(len(images), -1)[:, places].swapaxes(0, 1))


def _chosen(cells, most, seed, ledger):
    """Cells that have a centre; of each site `most` of them, drawn by the seed, in their order."""
    placed = np.isfinite(cells[["row", "column"]]).all(axis=1)
    if not placed.all():
        ledger.add("the cell has no centre", unit="cell", count=(~placed).sum())
    cells = cells[placed]
    if most is None:
        return cells
    kept = [_some(group, most, seed) for _, group in cells.groupby(["Metadata_Well", "Metadata_Site"], sort=False)]
    chosen = cells.loc[np.sort(np.concatenate(kept))] if kept else cells
    if len(chosen) < len(cells):
        reason = f"its site has more than max_cells, of which {most} were drawn"
        ledger.add(reason, unit="cell", count=len(cells) - len(chosen))
    return chosen


def _some(site, most, seed):
    first = site.iloc[0]
    name = "/".join(str(first[column]) for column in PLACE)
    random = np.random.default_rng([int(seed), zlib.crc32(name.encode())])
    return random.permutation(site.index.to_numpy())[:most]
