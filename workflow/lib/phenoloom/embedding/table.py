"""The table of embeddings of one unit: batches are read while the device computes, rows are written as they come."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.nn import functional

from phenoloom.core.errors import InputError
from phenoloom.core.tables import metadata_columns, stream_table, to_arrow, write_table
from phenoloom.core.words import count
from phenoloom.embedding.views import embed_views
from phenoloom.metric_learning.splits import SPLIT, TEST
from phenoloom.networks.device import choose_device, mixed_precision

log = logging.getLogger("phenoloom")

PLACE = ["Metadata_Well", "Metadata_Site"]
#: Values of a row group: 16 MB of float32.
_GROUP = 2**22


def split_of_unit(split, unit, items):
    """`Metadata_Split` of each of `items` items of a unit, from a model's split table (DataFrame), in stored order.

    unit: its encoded name. split None, of a model that was not trained here: all are held out. Raises InputError where
    the split does not have each item once.
    """
    if split is None:
        return np.full(items, TEST, dtype=object)
    rows = split[split["unit"] == unit].sort_values("row")
    if not np.array_equal(rows["row"].to_numpy(), np.arange(items)):
        raise InputError(
            f"the split names {count(len(rows), 'item')} of {unit} and its tensor holds {items}; make the split again"
        )
    return rows[SPLIT].to_numpy()


def embed(items, split, parts, options, paths, model, level, ledger, threads=1, gpus=0, origin=None):
    """Write one row per item: its metadata, its split and its vector.

    items: stored images of a unit (`len`, `read(indices) -> float32 (n, C, H, W)`, `metadata`, `channels`).
    split: their `Metadata_Split` (split_of_unit). parts: of the model (load_parts); their vectors are concatenated in
    order. options: the block `embed` (views, crop, grid, statistic, size, l2, batch). paths: (table, images): columns
    `Embedding_{model}_0001`...; and the sites with their numbers of cells. level: cells or sites.
    Mixed precision on a GPU only. Memory is that of a few batches and a row group. An item whose vector is not finite
    is left out and counted in the ledger. Raises InputError where the items lack a channel of a part.
    """
    device = choose_device(gpus)
    torch.set_num_threads(threads)
    for part in parts:
        part.backbone.to(device)
    chosen = [_channels(part, items.channels) for part in parts]
    width = sum(part.backbone.dim for part in parts)
    names = [f"Embedding_{model}_{number:04d}" for number in range(1, width + 1)]
    metadata = _metadata(items.metadata, split)
    kept, started = np.zeros(len(items), dtype=bool), time.perf_counter()
    with stream_table(paths[0], origin) as write:
        rows = _RowGroups(write, metadata, names)
        for indices, images in _ahead(items.read, _batches(len(items), options["batch"]), device):
            vectors = _vectors(images.to(device, non_blocking=True), parts, chosen, options)
            finite = np.isfinite(vectors).all(axis=1)
            kept[indices] = finite
            rows.add(indices[finite], vectors[finite])
        rows.finish()
    seconds = time.perf_counter() - started
    log.info("%s embedded on %s, %.1f per second", count(len(items), "item"), device, len(items) / max(seconds, 1e-9))
    _tell(items.metadata, kept, level, ledger)
    write_table(paths[1], _sites(items.metadata, kept, level), origin)


def _vectors(images, parts, chosen, options):
    """float32 array (n, dims of all parts) of a batch. Raises InputError where it does not fit into a GPU's memory."""
    try:
        with torch.inference_mode(), mixed_precision(images.device):
            found = [embed_views(part.backbone, images[:, c], options) for part, c in zip(parts, chosen, strict=True)]
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(
            f"a batch of {count(len(images), 'item')} does not fit into the GPU's memory; lower embed.batch"
        ) from error
    vectors = torch.cat(found, dim=1)
    return (functional.normalize(vectors, dim=1) if options.get("l2") else vectors).cpu().numpy()


class _RowGroups:
    """Gathers rows until they fill a row group."""

    def __init__(self, write, metadata, names):
        self.write, self.metadata, self.names = write, metadata, names
        self.rows = max(1, _GROUP // len(names))
        self.indices, self.vectors, self.held, self.written = [], [], 0, False

    def add(self, indices, vectors):
        self.indices.append(indices)
        self.vectors.append(vectors)
        self.held += len(indices)
        if self.held >= self.rows:
            self._flush()

    def finish(self):
        """Write what is left; of no rows at all, the columns."""
        if self.held or not self.written:
            self._flush()

    def _flush(self):
        indices = np.concatenate([np.empty(0, dtype=np.int64), *self.indices])
        vectors = np.concatenate([np.empty((0, len(self.names)), dtype=np.float32), *self.vectors])
        table = self.metadata.take(pa.array(indices))
        for name, column in zip(self.names, vectors.T, strict=True):
            table = table.append_column(name, pa.array(np.ascontiguousarray(column)))
        self.write(table)
        self.indices, self.vectors, self.held, self.written = [], [], 0, True


def _channels(part, channels):
    """Places of a part's channels among those of the items."""
    lacking = [name for name in part.channels if name not in channels]
    if lacking:
        raise InputError(
            f"the model sees the channel {lacking[0]}, and the images have {', '.join(channels)}; "
            "give it a tensor with its channels"
        )
    return [list(channels).index(name) for name in part.channels]


def _metadata(frame, split):
    """Arrow table of the items' metadata and split; columns without any value are text."""
    own = [name for name in metadata_columns(frame.columns) if name != SPLIT]
    table = to_arrow(frame[own].assign(**{SPLIT: split}))
    for place, field in enumerate(table.schema):
        if pa.types.is_null(field.type):
            column = table.column(place).cast(pa.string()).dictionary_encode()
            table = table.set_column(place, field.name, column)
    return table


def _batches(number, size):
    return [np.arange(start, min(start + size, number)) for start in range(0, number, size)]


def _ahead(read, batches, device):
    """(indices, images) of each batch as tensors; the next one is read in a thread while one is used."""

    def fetch(indices):
        images = torch.from_numpy(np.ascontiguousarray(read(indices), dtype=np.float32))
        return images.pin_memory() if device.type == "cuda" else images

    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(fetch, batches[0]) if batches else None
        for number, indices in enumerate(batches):
            images = coming.result()
            coming = reader.submit(fetch, batches[number + 1]) if number + 1 < len(batches) else None
            yield indices, images


def _tell(metadata, kept, level, ledger):
    """Ledger rows of a unit without items, and of items left out, one per site."""
    if not len(kept):
        ledger.add("no images to embed: the tensor has none of it", unit="plate")
        return
    lost = metadata[~kept]
    unit, reason = level.removesuffix("s"), "its embedding is not finite"
    where = [name for name in PLACE if name in lost]
    groups = lost.groupby(where, sort=True, dropna=False).size().items() if where else [((), len(lost))]
    for place, number in groups:
        place = place if isinstance(place, tuple) else (place,)
        if number:
            words = (name.removeprefix("Metadata_").lower() for name in where)
            ledger.add(reason, unit=unit, count=number, **dict(zip(words, place, strict=True)))


def _sites(metadata, kept, level):
    """Well, site and number of embedded cells of each site; at level sites, the embedded ones, cells unknown."""
    sites = metadata.reindex(columns=PLACE)
    if level == "sites":
        sites = sites[kept].drop_duplicates(ignore_index=True)
        return sites.assign(Metadata_Count_Cells=pd.array([pd.NA] * len(sites), dtype="Int64"))
    counts = sites.assign(Metadata_Count_Cells=kept.astype(np.int64))
    return counts.groupby(PLACE, sort=False, as_index=False)["Metadata_Count_Cells"].sum()
