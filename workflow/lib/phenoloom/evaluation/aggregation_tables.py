"""What a learned aggregation retrieves beside others: tables by plate, joined over plates, by mechanism, by compound.

Compounds count alike: an average precision is the mean over a compound's wells, then over compounds.
Source: CytoSummaryNet, van Dijk et al. 2024, its model evaluation, table 1 and figures 1 to 5.
"""

import itertools
import os
import warnings

import numpy as np
import pandas as pd
from scipy import stats

from phenoloom.cell_sets.stratification import VALIDATION
from phenoloom.evaluation.aggregation import MECHANISMS
from phenoloom.evaluation.intervals import bootstrap_mean
from phenoloom.metric_learning.splits import ALL, TEST, TRAIN

SIDES = (TRAIN, VALIDATION, TEST)
#: Compounds that ask: all, those of which wells taught, those that chose the weights.
COMPOUNDS = (ALL, TRAIN, VALIDATION)
ALL_BATCHES = "all batches"

PLATE_COLUMNS = ["task", "candidates", "profile", "batch", "plate", "plate_side", "compounds"]
PLATE_COLUMNS += ["mean_average_precision", "n_compounds", "n_left_out"]
STRATUM_COLUMNS = ["task", "candidates", "plate_side", "compounds", "batch", "reference", "learned", "against"]
STRATUM_COLUMNS += ["difference", "low", "high", "relative", "welch_t", "pvalue", "n_plates", "n_compounds"]
GROUP_COLUMNS = ["mean_average_precision", "n_compounds", "n_profiles"]

#: What is stored: tables of cells, the cells as the network reads them, tables of wells.
CELLS, NETWORK_CELLS, WELLS = "table of cells", "cells for the network", "wells"

BOOTSTRAP = 1000
#: Spread of plates below which it is rounding only.
ALIKE = 1e-9


def plate_table(queries, left_out):
    """Mean average precision of every plate, with the columns of PLATE_COLUMNS.

    queries: aggregation.average_precision_of_wells. left_out: Series, wells by plate that were not compared.
    """
    parts = []
    for compounds in COMPOUNDS:
        asking = queries if compounds == ALL else queries[queries["compound_side"] == compounds]
        place = ["task", "candidates", "profile", "batch", "plate", "plate_side"]
        parts.append(_over_compounds(asking, place).assign(compounds=compounds))
    table = pd.concat(parts, ignore_index=True)
    table["n_left_out"] = table["plate"].map(left_out).fillna(0).astype(int)
    return _in_order(table, queries)[PLATE_COLUMNS]


def stratum_table(plates, learned, seed, n_bootstrap=BOOTSTRAP):
    """How the learned profile compares with each reference over plates, with the columns of STRATUM_COLUMNS.

    plates: plate_table. learned: name of the profile. Welch's t-test takes plates as a sample each way, as the paper
    does; it is NaN below two plates. low, high: 95 % bootstrap interval of the difference, paired by plate.
    relative: difference as a share of the reference. n_compounds: mean over plates of those that ask.
    """
    rows = []
    references = [name for name in plates["profile"].unique() if name != learned]
    for key, part in plates.groupby(["task", "candidates", "plate_side", "compounds"], sort=False):
        wide = part.pivot(index=["batch", "plate"], columns="profile", values="mean_average_precision")
        compounds = part[part["profile"] == learned].set_index(["batch", "plate"])["n_compounds"]
        batches = wide.index.get_level_values("batch")
        for batch in (ALL_BATCHES, *batches.unique()):
            inside = wide if batch == ALL_BATCHES else wide[batches == batch]
            for reference in references:
                pairs = inside[[learned, reference]].dropna()
                if len(pairs):
                    compared = _compared(*pairs.to_numpy().T, seed, n_bootstrap)
                    rows.append([*key, batch, reference, *compared, len(pairs), compounds[pairs.index].mean()])
    numbers = dict.fromkeys(STRATUM_COLUMNS[STRATUM_COLUMNS.index("learned") :], float)
    return pd.DataFrame(rows, columns=STRATUM_COLUMNS).astype({**numbers, "n_plates": int})


def mechanism_table(queries):
    """Mean average precision of every mechanism: mean over the wells of each compound, then over compounds.

    n_profiles: wells that ask. One row per side of the plates, mechanism and profile.
    """
    place = ["plate_side", "label", "profile"]
    table = _over_compounds(queries[queries["task"] == MECHANISMS], place)
    return _in_order(table, queries)[[*place, *GROUP_COLUMNS]].rename(columns={"label": "mechanism"})


def compound_table(queries):
    """Mean average precision of every compound for each of its labels, by side of the plates and profile."""
    place = ["task", "plate_side", "compound", "label", "profile"]
    grouped = queries.groupby(place, sort=False)["average_precision"].agg(["mean", "size"]).reset_index()
    grouped = grouped.rename(columns={"mean": "mean_average_precision", "size": "n_profiles"})
    return _in_order(grouped, queries)


def size_table(files, n_plates):
    """Bytes of files, all together and per plate. files: list of (profile, what they hold, paths)."""
    rows = [(profile, what, sum(os.path.getsize(path) for path in paths)) for profile, what, paths in files]
    table = pd.DataFrame(rows, columns=["profile", "files", "bytes"])
    return table.assign(n_plates=n_plates, bytes_per_plate=table["bytes"] / max(1, n_plates))


def best_pairs(compounds, learned, number):
    """The `number` pairs of compounds of one mechanism that the learned profile finds best, as a DataFrame.

    compounds: compound_table. A compound counts with the mean over its sides of plates, a pair with the mean of both.
    Columns mechanism, first, second, mean_average_precision; the best first.
    """
    own = compounds[(compounds["task"] == MECHANISMS) & (compounds["profile"] == learned)]
    rows = []
    for mechanism, part in own.groupby("label"):
        scores = part.groupby("compound")["mean_average_precision"].mean()
        for first, second in itertools.combinations(scores.index, 2):
            rows.append((mechanism, first, second, (scores[first] + scores[second]) / 2))
    table = pd.DataFrame(rows, columns=["mechanism", "first", "second", "mean_average_precision"])
    return table.sort_values("mean_average_precision", ascending=False, kind="stable").head(number)


def _over_compounds(queries, place):
    """Mean over compounds of the mean over each one's queries, by `place`."""
    by = queries.groupby([*place, "compound"], sort=False)["average_precision"].agg(["mean", "size"]).reset_index()
    grouped = by.groupby(place, sort=False)
    table = pd.DataFrame(
        {
            "mean_average_precision": grouped["mean"].mean(),
            "n_compounds": grouped.size(),
            "n_profiles": grouped["size"].sum(),
        }
    )
    return table.reset_index()


def _compared(ours, theirs, seed, n_bootstrap):
    difference = ours.mean() - theirs.mean()
    low, high = bootstrap_mean(ours - theirs, n_bootstrap=n_bootstrap, seed=seed)
    relative = difference / theirs.mean() if theirs.mean() > 0 else np.nan
    return [ours.mean(), theirs.mean(), difference, low, high, relative, *_welch(ours, theirs)]


def _welch(ours, theirs):
    """Statistic and p-value of Welch's t-test; NaN for fewer than two plates, and where plates are alike either way."""
    if len(ours) < 2 or max(np.ptp(ours), np.ptp(theirs)) < ALIKE:
        return np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of plates that are alike one way
        found = stats.ttest_ind(ours, theirs, equal_var=False)
    return found.statistic, found.pvalue


def _in_order(table, queries):
    """Rows by task, side of the plates, compounds, batch and plate, and profiles in the order of the queries."""
    orders = {
        "task": list(queries["task"].unique()),
        "plate_side": SIDES,
        "compounds": COMPOUNDS,
        "profile": list(queries["profile"].unique()),
    }
    by = ["task", "plate_side", "compounds", "batch", "plate", "mechanism", "label", "compound", "profile"]
    keys = {name: _ranks(table[name], orders.get(name)) for name in by if name in table}
    order = np.lexsort(list(keys.values())[::-1])
    return table.iloc[order].reset_index(drop=True)


def _ranks(values, order):
    """Places of values in an order, else among themselves."""
    if order is None:
        return np.unique(values.astype(str), return_inverse=True)[1]
    return values.map({value: rank for rank, value in enumerate(order)}).to_numpy()
