"""AnnData of the cells of a dataset: features, metadata, the embedding, map and clusters of every cell profile.

The file is written piece by piece: features as they are read, then one embedding after the other.
"""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic
from phenoloom.core.tables import METADATA, feature_columns
from phenoloom.crops.merging import channels_of
from phenoloom.metric_learning.splits import SPLIT, stratified_sample, stream
from phenoloom.metric_learning.streaming import common_features, read_metadata
from phenoloom.metric_learning.transform import Transform, apply
from phenoloom.profiles.annotation import as_text
from phenoloom.profiles.dropped import Dropped
from phenoloom.report.embedding import t_sne

#: Rows of features in memory at a time.
ROWS = 20_000
#: Metadata by which the cells of a profile are found among all cells.
KEYS = ("Dataset", "Sample", "Event", "ObjectNumber")
#: Cells below which there is no graph of neighbours.
FEWEST = 5


def write_anndata(path, tables, profiles, channels, options, seed, origin=None):
    """Write a dataset's cells as .h5ad that scanpy opens.

    path: of the file. tables: paths of the tables of features, one per sample. profiles: {name: (path of its cells,
    Transform, Chain)}. channels: names of the channels (or roles) that features end in. options: block `report.cells`
    of the config. origin: see core.provenance.

    X: (n, d) float32 features that all tables have, NaN where missing. obs: metadata without the prefix, `split_{name}`
    and `leiden_{name}` of each profile, `{column}_{name}` where it shuffled a column. obsm: `X_{name}` (n, k) its
    embedding, `X_pca_{name}` the principal components before a metric, `X_umap_{name}` and, with a `perplexity`,
    `X_tsne_{name}` (n, 2). A cell that a profile lacks is NaN in it; so are maps and clusters beyond `max_cells`.
    uns: `phenoloom`.
    """
    import h5py
    from anndata.io import write_elem

    features = common_features(tables, Dropped())
    metadata = read_metadata(tables)
    names = _names(metadata)
    obs = obs_of(metadata).set_axis(names)
    where = {name: _placed(found, names) for name, (found, _, _) in profiles.items()}
    drawn = drawn_cells(metadata, where.values(), options, seed)
    with atomic(path) as partial, h5py.File(partial, "w", track_order=False) as file:
        for key, value in (("encoding-type", "anndata"), ("encoding-version", "0.1.0")):
            file.attrs[key] = value
        write_elem(file, "var", var_of(features, channels))
        for group in ("layers", "obsm", "obsp", "varm", "varp"):
            write_elem(file, group, {})
        _write_features(file, "X", (len(metadata), len(features)), tables, features)
        for name, (found, transform, chain) in profiles.items():
            key = _key(name)
            embedding, own = _read_profile(found, chain.shuffled)
            obs[f"split_{key}"] = _spread(own.pop(SPLIT), where[name], names)
            for column in own:
                obs[f"{_key(column.removeprefix(METADATA))}_{key}"] = _spread(own[column], where[name], names)
            whole = _spread_rows(embedding, where[name], len(metadata))
            write_elem(file, f"obsm/X_{key}", whole)
            if chain.pca:
                before = Transform(transform.features, transform.by, transform.stages[: _first_linear(transform) + 1])
                _write_components(file, f"obsm/X_pca_{key}", before, tables, metadata)
            found, clusters = maps_and_clusters(whole[drawn], options, seed)
            for kind, xy in found.items():
                write_elem(file, f"obsm/X_{kind}_{key}", _spread_rows(xy, drawn, len(metadata)))
            obs[f"leiden_{key}"] = _spread(pd.Series(clusters), drawn, names)
        write_elem(file, "obs", obs)
        write_elem(file, "uns", {"phenoloom": _notes(profiles, options, seed, len(metadata), drawn, origin)})


def obs_of(metadata):
    """Metadata as obs: names without their prefix, text as categories, empty text as missing."""
    columns = {}
    for name in metadata:
        key = _key(name.removeprefix(METADATA))
        while key in columns:
            key += "_"
        columns[key] = metadata[name] if pd.api.types.is_numeric_dtype(metadata[name]) else _categories(metadata[name])
    return pd.DataFrame(columns)


def var_of(features, channels):
    """DataFrame with a row per feature: compartment, group, measure, and its channels ("" where it has none).

    >>> var_of(["Cells_Correlation_Correlation_BF_DNA"], ["BF", "DNA"]).iloc[0].tolist()
    ['Cells', 'Correlation', 'Correlation', 'BF', 'DNA']
    """
    rows = []
    for feature in features:
        compartment, group, rest = (feature.split("_", 2) + ["", ""])[:3]
        found = channels_of(feature, channels)
        measure = rest.removesuffix("".join(f"_{name}" for name in found))
        rows.append((compartment, group, measure, *found, *[""] * (2 - len(found))))
    return pd.DataFrame(rows, index=list(features), columns=["compartment", "group", "measure", "channel", "channel_2"])


def drawn_cells(metadata, places, options, seed):
    """Sorted rows of at most `max_cells` cells that every profile has, the same share of each label.

    places: rows (of each profile) among all cells.
    """
    everywhere = np.ones(len(metadata), dtype=bool)
    for rows in places:
        has = np.zeros(len(metadata), dtype=bool)
        has[rows] = True
        everywhere &= has
    rows = np.flatnonzero(everywhere)
    column = METADATA + options["label"].removeprefix(METADATA)
    labels = as_text(metadata[column]).to_numpy(object)[rows] if column in metadata else np.full(len(rows), "")
    return rows[stratified_sample(labels, options["max_cells"], stream(seed, "map of cells"))]


def maps_and_clusters(values, options, seed):
    """({kind: (n, 2) float32}, Leiden cluster (n,) as text) of an embedding (n, k).

    Kinds are `umap`, of the same graph of neighbours as the clusters, and with a `perplexity` also `tsne`. Fewer than
    FEWEST cells have neither: NaN and "".
    """
    import scanpy

    from phenoloom.evaluation.clustering import leiden, neighbour_graph

    kinds = ("umap",) if options["perplexity"] is None else ("umap", "tsne")
    if len(values) < FEWEST:
        return dict.fromkeys(kinds, np.full((len(values), 2), np.nan, np.float32)), np.full(len(values), "", object)
    graph = neighbour_graph(values, options["neighbors"], seed)
    scanpy.tl.umap(graph, min_dist=options["min_dist"], random_state=seed)
    maps = {"umap": graph.obsm["X_umap"]}
    if "tsne" in kinds:
        maps["tsne"] = t_sne(values, seed, options["perplexity"], "euclidean")
    clusters = leiden(graph, options["resolution"], seed)
    return {kind: xy.astype(np.float32) for kind, xy in maps.items()}, clusters.astype(str).astype(object)


def read_maps(path):
    """(obs of the cells on the maps, {kind: {profile: (n, 2)}}, positions of these cells, notes) of such a file.

    The features stay where they are, see `feature_rows`.
    """
    import h5py
    from anndata.io import read_elem

    with h5py.File(path, "r") as file:
        notes = json.loads(file["uns/phenoloom/notes"].asstr()[()])
        obs = read_elem(file["obs"])
        rows = np.asarray(file["uns/phenoloom/drawn"])
        keys = {name: _key(name) for name in notes["profiles"]}
        maps = {
            kind: {name: np.asarray(file[f"obsm/X_{kind}_{key}"])[rows] for name, key in keys.items()}
            for kind in ("umap", "tsne")
            if all(f"obsm/X_{kind}_{key}" in file for key in keys.values())
        }
    return obs.iloc[rows], maps, rows, notes


def feature_rows(path, rows, block=50_000):
    """Features (m, d) of some rows (sorted) as a float32 DataFrame; `block` rows are read at a time."""
    import h5py
    from anndata.io import read_elem

    with h5py.File(path, "r") as file:
        names, values, parts = read_elem(file["var"]).index, file["X"], []
        for start in range(0, len(values), block):
            here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + block)]
            if len(here):
                parts.append(values[start : start + block][here - start])
    return pd.DataFrame(np.concatenate(parts) if parts else np.empty((0, len(names)), np.float32), columns=names)


def _names(metadata):
    """A name (n,) of each cell: dataset, sample, event and number. Raises InputError where two cells are alike."""
    columns = [METADATA + name for name in KEYS if METADATA + name in metadata]
    if not columns:
        raise InputError(f"the tables of cells have none of Metadata_{', Metadata_'.join(KEYS)}; make them again")
    names = as_text(metadata[columns[0]])
    for column in columns[1:]:
        names = names + "/" + as_text(metadata[column])
    names = pd.Index(names, dtype=object)
    if names.has_duplicates:
        raise InputError(f"two cells are named {names[names.duplicated()][0]}; name the samples differently")
    return names


def _placed(path, names):
    """Rows among all cells of the cells of a profile."""
    rows = names.get_indexer(_names(read_metadata([path])))
    if (rows < 0).any():
        raise InputError(f"{path} has cells that the tables of features lack; make it again")
    return rows


def _read_profile(path, shuffled):
    """(embedding (m, k) float32, metadata that the profile itself gave) of the cells of a profile."""
    own = [SPLIT, *([METADATA + shuffled] if shuffled else [])]
    table = pq.read_table(path, columns=[*feature_columns(pq.read_schema(path)), *own])
    features = feature_columns(table)
    embedding = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for number, name in enumerate(features):
        embedding[:, number] = table[name].to_numpy()
    return embedding, {name: as_text(table[name].to_pandas()) for name in own}


def _spread(values, rows, names):
    """Text of some cells as categories of all cells, missing for the others."""
    whole = np.full(len(names), "", dtype=object)
    whole[rows] = values
    return pd.Series(_categories(pd.Series(whole)).array, index=names)


def _categories(values):
    """Text as categories in natural order; empty text is missing."""
    from phenoloom.report.style import natural

    text = as_text(values)
    return pd.Series(
        pd.Categorical(text.where(text != ""), categories=sorted(set(text) - {""}, key=natural)), index=text.index
    )


def _spread_rows(values, rows, n):
    whole = np.full((n, values.shape[1]), np.nan, dtype=np.float32)
    whole[rows] = values
    return whole


def _array(file, key, shape):
    """An empty float32 array of the file, as AnnData marks its arrays."""
    found = file.create_dataset(key, shape=shape, dtype=np.float32, track_times=False)
    found.attrs["encoding-type"], found.attrs["encoding-version"] = "array", "0.2.0"
    return found


def _batches(tables, features):
    """(first row, DataFrame) of the features, at most ROWS at a time."""
    first = 0
    for path in tables:
        with pq.ParquetFile(path) as opened:
            for batch in opened.iter_batches(ROWS, columns=features):
                yield first, batch.to_pandas()
                first += batch.num_rows


def _write_features(file, key, shape, tables, features):
    array = _array(file, key, shape)
    for first, frame in _batches(tables, features):
        array[first : first + len(frame)] = frame[features].to_numpy(np.float32)


def _write_components(file, key, transform, tables, metadata):
    """Principal components of every cell, by the part of a transform that ends in them."""
    array = _array(file, key, (len(metadata), len(transform.stages[-1][1]["components"])))
    for first, frame in _batches(tables, transform.features):
        part = metadata.iloc[first : first + len(frame)].reset_index(drop=True)
        array[first : first + len(frame)] = apply(transform, pd.concat([part, frame], axis=1))


def _first_linear(transform):
    return next(number for number, (kind, _) in enumerate(transform.stages) if kind == "linear")


def _key(name):
    """A name that can be one of HDF5."""
    return "index" if name == "_index" else str(name).replace("/", "|")


def _notes(profiles, options, seed, cells, drawn, origin):
    notes = {
        "profiles": {name: chain.words for name, (_, _, chain) in profiles.items()},
        "options": options,
        "seed": seed,
        "cells": cells,
        "cells on maps": len(drawn),
        "maps": "UMAP and Leiden of the cells in `drawn`; NaN for others, as is a cell that a profile lacks",
    }
    return {
        "notes": json.dumps(notes),
        "origin": json.dumps(origin or {}, sort_keys=True, default=str),
        "drawn": np.asarray(drawn, dtype=np.int64),
    }
