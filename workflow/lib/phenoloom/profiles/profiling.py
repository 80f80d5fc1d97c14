"""The steps of a chain over all wells of a data set, and what comes out: wells, treatments and what was dropped."""

import logging

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns, metadata_columns
from phenoloom.profiles.aggregation import aggregate_table
from phenoloom.profiles.annotation import KEYS, with_standard_columns
from phenoloom.profiles.chain import parse, problems
from phenoloom.profiles.consensus import DEFAULT, treatments
from phenoloom.profiles.feature_selection import select_features
from phenoloom.profiles.fusion import fuse
from phenoloom.profiles.harmony import harmonize
from phenoloom.profiles.queries import select
from phenoloom.profiles.scaling import normalize_wells
from phenoloom.profiles.storage import read_wells

log = logging.getLogger("phenoloom")


def join_plates(tables, dropped):
    """One DataFrame of the wells of several plates, sorted by batch, plate and well.

    A feature that a plate lacks is missing there and counted; a text that it lacks, such as a column that only the maps
    of other plates have, is "". Raises InputError when there is no well at all.
    """
    tables = [table for table in tables if len(table)]
    if not tables:
        raise InputError("no plate has a well left to profile; the ledger says why")
    features = list(dict.fromkeys(name for table in tables for name in feature_columns(table)))
    for table in tables:
        plate = table["Metadata_Plate"].iloc[0]
        for name in sorted(set(features) - set(table.columns)):
            dropped.add("value", name, "profile", "the plate has no such feature", plate, len(table))
    frame = with_standard_columns(pd.concat(tables, ignore_index=True))
    for name in metadata_columns(frame.columns):
        if any(name not in table for table in tables) and not is_numeric_dtype(frame[name]):
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    return frame.sort_values(["Metadata_Batch", *KEYS], kind="stable").reset_index(drop=True)


def run_steps(frame, steps, ledger, dropped, seed=0):
    """Apply filter, normalize, feature_select, harmonize and fuse to wells; others are left to others.

    frame: one row per well with the standard metadata. Infinite values become missing, features without any value are
    dropped; both are counted. Returns a new DataFrame.
    """
    frame = _finite(frame, dropped, "profile")
    for name, options in parse(steps):
        if name == "filter":
            frame = _filter(frame, options, dropped)
        elif name == "normalize":
            frame = _finite(normalize_wells(frame, options, ledger, dropped), dropped, name)
        elif name == "feature_select":
            frame = select_features(frame, options, dropped)
        elif name == "harmonize":
            frame = harmonize(frame, options, ledger, seed)
        elif name == "fuse":
            frame = fuse(frame, options, dropped)
    return frame.reset_index(drop=True)


def profile(tables, steps, ledger, dropped, seed=0):
    """(wells, treatments): the steps after `aggregate` over the wells of all plates.

    tables: wells of each plate. steps: config list with complete options. Treatments are the mean of the wells unless
    the chain ends in a consensus step. seed: of harmonize.
    """
    wells = run_steps(join_plates(tables, dropped), steps, ledger, dropped, seed)
    _tell_missing(wells, ledger)
    options = next((options for name, options in parse(steps) if name == "consensus"), DEFAULT)
    return wells, treatments(wells, options, ledger)


def wells_of_table(path, steps, level, ledger, dropped, seed=0, layout=None, plates=None, imaged=None, fitted=None):
    """Wells of one table: the steps up to and including `aggregate`, whatever the level of its rows.

    Rows that are wells or treatments already pass through; filter and normalize act on them, `aggregate` does nothing.
    Other arguments as in `aggregation.aggregate_table`.
    """
    if level in ("cells", "sites"):
        given = {"layout": layout, "plates": plates, "imaged": imaged, "fitted": fitted}
        return aggregate_table(path, steps, ledger, dropped, seed, level=level, **given)
    found = problems(steps, level)
    if found:
        raise InputError(f"the profile chain cannot work: {found[0]}")
    frame = read_wells(path)
    if any(name == "aggregate" for name, _ in parse(steps)):
        log.info("the rows of %s are %s already: aggregate does nothing", path, level)
    if all(name == "aggregate" for name, _ in parse(steps)):
        return with_standard_columns(frame)
    return run_steps(with_standard_columns(frame), steps, ledger, dropped)


def _filter(frame, options, dropped):
    chosen = select(frame, options["query"], "filter")
    for plate, well in frame.loc[~chosen, KEYS].itertuples(index=False, name=None):
        dropped.add("well", well, "filter", f"not {options['query']}", plate)
    if not chosen.any():
        raise InputError(f'the query "{options["query"]}" of step filter keeps no well')
    return frame[chosen].reset_index(drop=True)


def _finite(frame, dropped, step):
    """Infinite values to missing ones, features without any value dropped; both counted."""
    features = feature_columns(frame)
    values = frame[features].to_numpy(dtype=float)
    infinite = np.isinf(values)
    if infinite.any():
        values = np.where(infinite, np.nan, values)
        for name, count in zip(features, infinite.sum(axis=0), strict=True):
            if count:
                dropped.add("value", name, step, "infinite, taken as missing", count=count)
    empty = np.isnan(values).all(axis=0)
    for name in np.array(features, dtype=object)[empty]:
        dropped.add("feature", name, step, "no value in any well")
    if empty.all():
        raise InputError(f"step {step}: no feature has a value in any of the {len(frame)} wells")
    kept = [name for name, gone in zip(features, empty, strict=True) if not gone]
    metadata = frame[[name for name in frame.columns if name.startswith("Metadata_")]]
    return pd.concat([metadata, pd.DataFrame(values[:, ~empty], columns=kept, index=frame.index)], axis="columns")


def _tell_missing(frame, ledger):
    """Flag the features that still miss values at the end: nothing that compares wells can use them."""
    missing = frame[feature_columns(frame)].isna().sum()
    missing = missing[missing > 0]
    if len(missing):
        ledger.add(
            f"{len(missing)} features miss values in up to {int(missing.max())} wells at the end of the chain "
            f"({missing.index[0]} for one); feature_select with drop_na_columns removes them",
            severity="flagged",
            unit="feature",
            count=len(missing),
        )
