"""Datasets put together: features under the roles of their channels, and those that all of them have."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns, metadata_columns, stream_table

#: Features between two channels that depend on their order.
DIRECTED = ("_Manders",)

#: Rows written at a time.
ROWS = 50_000


def channels_of(feature, channels):
    """Names of the one or two channels, of those given, that a feature ends in; () for none.

    >>> channels_of("Cells_AreaShape_Area_Ch4", ["Ch3", "Ch4"])
    ('Ch4',)
    """
    ends = [(one, other) for one in channels for other in channels] + [(one,) for one in channels]
    fitting = [names for names in ends if feature.endswith("_" + "_".join(names))]
    return max(fitting, key=lambda names: len("_".join(names)), default=())


def renamed(feature, roles):
    """Name of a feature with its channels replaced by their roles; None where one of them has none.

    roles: {channel: role or None} of all channels. What is the same for (a, b) and (b, a) names the roles in
    alphabetical order.

    >>> renamed("Cells_Correlation_Correlation_Ch4_Ch3", {"Ch3": "BF", "Ch4": "DNA"})
    'Cells_Correlation_Correlation_BF_DNA'
    >>> renamed("Cells_AreaShape_Area_Ch4", {"Ch3": "BF", "Ch4": "DNA"})
    'Cells_AreaShape_Area_DNA'
    """
    channels = channels_of(feature, roles)
    found = [roles[name] for name in channels]
    if not found or None in found:
        return None
    stem = feature.removesuffix("_" + "_".join(channels))
    return "_".join([stem, *(found if stem.endswith(DIRECTED) else sorted(found))])


def merge(path, tables, channels, roles, apart, ledger, origin=None):
    """Write one table of all cells with the features that every dataset has.

    tables: {dataset: paths of its samples}. channels: {dataset: names}. roles: {dataset: {channel: role}}; a dataset
    without any keeps the names of its channels. apart: metadata whose values get the name of the dataset. Metadata that
    a dataset lacks is empty. Features that not all have go to the ledger, counted by dataset. Raises InputError when
    none is left.
    """
    names = {
        dataset: _names(paths[0], {one: _role(one, roles.get(dataset)) for one in channels[dataset]})
        for dataset, paths in tables.items()
    }
    first, *others = (list(known.values()) for known in names.values())
    common = [name for name in first if all(name in known for known in others)]
    if not common:
        raise InputError(
            f"the datasets {', '.join(tables)} have no feature in common; "
            "give their channels common roles in merge.roles"
        )
    for dataset, known in names.items():
        if lost := len(known) - len(common):
            ledger.add("features that not every dataset has", unit="feature", count=lost, dataset=dataset)
    schemas = [pq.read_schema(one) for paths in tables.values() for one in paths]
    metadata = list(dict.fromkeys(name for schema in schemas for name in metadata_columns(schema.names)))
    words = [
        name for name in metadata if not all(name in schema.names and _is_number(schema, name) for schema in schemas)
    ]
    with stream_table(path, origin) as write:
        for dataset, paths in tables.items():
            for one in paths:
                for batch in pq.ParquetFile(one).iter_batches(ROWS):
                    frame = batch.to_pandas().rename(columns=names[dataset])
                    for name in (f"Metadata_{one}" for one in apart):
                        if name in frame:
                            frame[name] = [None if pd.isna(text) else f"{dataset}: {text}" for text in frame[name]]
                    frame[[name for name in metadata if name not in frame]] = None
                    write(frame[[*metadata, *common]].astype(dict.fromkeys(words, "string")))


def _role(channel, roles):
    """Role of a channel; its own name where its dataset has no roles, None where it has none among them."""
    return roles.get(channel) if roles else channel


def _is_number(schema, name):
    kind = schema.field(name).type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _names(path, roles):
    """{feature: its name under the roles} of the features of a table that have one."""
    found = {feature: renamed(feature, roles) for feature in feature_columns(pq.read_schema(path))}
    return {feature: name for feature, name in found.items() if name}
