"""Average precision of retrieving a profile's positives among its positives and negatives, and its significance.

The definitions are those of copairs (Kalinin et al. 2025, doi:10.1038/s41467-025-60306-2). Three things differ, on
purpose: pairs within one compound can be ignored (copairs takes every pair that is no positive and fulfils the
conditions as a negative), ties in similarity count against the query (copairs puts positives first), and null values
equal to the observed one count in the p-value (copairs counts only larger ones, which makes a perfect score significant
however few profiles there are).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from phenoloom.evaluation.intervals import adjusted
from phenoloom.evaluation.similarity import between, blocks, prepared

#: Entries of random orders held at a time.
DRAWN_ENTRIES = 20_000_000


@dataclass(frozen=True)
class Pairing:
    """Which profiles are a query's positives and negatives; every array has one entry per profile.

    Of the profile itself (these move when labels are shuffled):
    labels: (n, L) bool, membership in labels. query: may ask. negative: may be a negative.
    compound: integer code; pairs of one compound are ignored, as negatives always, as positives unless
    `positives_within_compound`. Negative codes belong to no compound.
    Of its place:
    positive_same, negative_same: codes that a pair must share. positive_different, negative_different: lists of codes
    in each of which a pair must differ.
    """

    labels: np.ndarray
    query: np.ndarray
    negative: np.ndarray
    compound: np.ndarray
    positives_within_compound: bool
    positive_same: np.ndarray
    negative_same: np.ndarray
    positive_different: tuple = ()
    negative_different: tuple = ()

    @cached_property
    def code(self):
        """Column (n,) of each profile's only label, -1 for none; None when a profile has several labels."""
        n_labels = self.labels.sum(axis=1)
        return None if n_labels.max(initial=0) > 1 else np.where(n_labels == 1, self.labels.argmax(axis=1), -1)

    def shuffled(self, rows):
        """The same places with other identities: profile i takes labels and role of profile rows[i].

        The compounds move with the labels where the labels are finer than compounds (replicates), and stay where the
        labels are shared by compounds (mechanisms).
        """
        compound = self.compound[rows] if self.positives_within_compound else self.compound
        return replace(
            self, labels=self.labels[rows], query=self.query[rows], negative=self.negative[rows], compound=compound
        )


def average_precisions(values, pairing, distance="cosine", shuffles=()):
    """Average precision of every query and label, and the same after each shuffle of the profiles' identities.

    values: (n, d) finite floats; (n, n) similarities where distance is `precomputed`. shuffles: arrays (n,) of rows
    (see Pairing.shuffled); similarities are computed once for all. Returns a list of 1 + len(shuffles) DataFrames, one
    row per query and label it has, with columns row, label (its column in `labels`), average_precision,
    normalized_average_precision, n_pos_pairs, n_total_pairs.
    average_precision is NaN where a query has no positive or no negative.
    Of a query with several labels each label is asked on its own; profiles that share any label are no negatives.
    """
    vectors = prepared(values, distance)
    pairings = [pairing, *(pairing.shuffled(rows) for rows in shuffles)]
    parts = [[] for _ in pairings]
    for rows in blocks(len(vectors), len(vectors)):
        ranking = _Ranking(between(vectors, rows, slice(None), distance), np.arange(rows.start, rows.stop))
        places = _places(pairing, ranking.rows)
        for part, one in zip(parts, pairings, strict=True):
            part.append(_of_block(one, ranking, places))
    return [_normalized(pd.concat(part, ignore_index=True)) for part in parts]


class _Ranking:
    """Order of all profiles by similarity to the queries `rows` (b, n)."""

    def __init__(self, similarities, rows):
        n = similarities.shape[1]
        self.rows = rows
        self.order = np.argsort(-similarities, axis=1, kind="stable")
        self.place = np.empty_like(self.order)
        np.put_along_axis(self.place, self.order, np.arange(n)[None, :], axis=1)
        ranked = np.take_along_axis(similarities, self.order, axis=1)
        # Last place that holds the same similarity: negatives up to there stand before a positive of the tie.
        changes = np.ones_like(ranked, dtype=bool)
        changes[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
        last = np.where(changes, np.arange(n)[None, :], n)
        self.last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]


def _places(pairing, rows):
    """(may be positive, may be negative) (b, n) as far as the places of the profiles decide."""
    positive = _shared(pairing.positive_same, rows)
    positive[np.arange(len(rows)), rows] = False
    negative = _shared(pairing.negative_same, rows)
    negative[np.arange(len(rows)), rows] = False
    for code in pairing.positive_different:
        positive &= ~_shared(code, rows)
    for code in pairing.negative_different:
        negative &= ~_shared(code, rows)
    return positive, negative


def _shared(code, rows):
    return code[rows][:, None] == code[None, :]


def _of_block(pairing, ranking, places):
    asking = np.flatnonzero(pairing.query[ranking.rows])
    rows = ranking.rows[asking]
    membership = pairing.labels[rows]
    if pairing.code is not None:
        shared = _shared(pairing.code, rows) & (pairing.code[rows] >= 0)[:, None]
    else:
        shared = (membership.astype(np.float32) @ pairing.labels.T.astype(np.float32)) > 0
    same_compound = _shared(pairing.compound, rows) & (pairing.compound[rows] >= 0)[:, None]
    negative = places[1][asking] & ~shared & ~same_compound & pairing.negative[None, :]
    before = np.cumsum(np.take_along_axis(negative, ranking.order[asking], axis=1), axis=1, dtype=np.int32)
    positive = places[0][asking] & shared
    if not pairing.positives_within_compound:
        positive &= ~same_compound
    query, label = np.nonzero(membership)
    several = (membership.sum(axis=1) > 1)[query]
    mask = positive[query]
    mask[several] &= pairing.labels[:, label[several]].T
    task, column = np.nonzero(mask)
    place = ranking.place[asking[query[task]], column]
    n_before = before[query[task], ranking.last[asking[query[task]], place]]
    n_positive = np.bincount(task, minlength=len(query))
    order = np.lexsort((place, task))
    hits = np.arange(len(task)) - np.repeat(np.cumsum(n_positive) - n_positive, n_positive) + 1
    precision = hits / (hits + n_before[order])
    n_negative = before[query, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.bincount(task[order], weights=precision, minlength=len(query)) / n_positive
    return pd.DataFrame(
        {
            "row": rows[query],
            "label": label,
            "average_precision": np.where((n_positive > 0) & (n_negative > 0), score, np.nan),
            "n_pos_pairs": n_positive,
            "n_total_pairs": n_positive + n_negative,
        }
    )


def _normalized(frame):
    """Add (AP - expected) / (1 - expected), 0 at chance; expected: of a random order with as many positives."""
    expected = expected_average_precision(frame["n_pos_pairs"], frame["n_total_pairs"])
    with np.errstate(invalid="ignore", divide="ignore"):
        normalized = np.clip((frame["average_precision"] - expected) / (1 - expected), -1, 1)
    frame.insert(3, "normalized_average_precision", normalized)
    return frame


def expected_average_precision(n_positive, n_total):
    """Expected average precision of random orders, exactly; NaN where there is no positive or no negative.

    Source: E[AP] = ((M - 1)/(L - 1) (L - H_L) + H_L) / L with M positives among L, H_L the harmonic number (as
    copairs).
    """
    positive, total = np.asarray(n_positive, dtype=float), np.asarray(n_total, dtype=int)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, total.max(initial=0) + 1))])[total]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = ((positive - 1) / (total - 1) * (total - harmonic) + harmonic) / total
    return np.where((positive > 0) & (total > positive), value, np.nan)


def mean_by(scores, by):
    """Mean average precision of groups: DataFrame indexed by group with columns value, normalized, n_queries."""
    valid = scores[scores["average_precision"].notna()]
    grouped = valid.groupby(by)
    return pd.DataFrame(
        {
            "value": grouped["average_precision"].mean(),
            "normalized": grouped["normalized_average_precision"].mean(),
            "n_queries": grouped.size(),
        }
    )


def significance(scores, by, null_size, seed):
    """mean_by with p-values against random orders and Benjamini-Hochberg q-values.

    As in copairs, the null of a group is the mean over its queries of the average precision of random orders, one draw
    for each number of positives and negatives: queries of one group are taken as fully dependent, which is cautious.
    A null value equal to the observed one counts as at least as large.
    """
    valid = scores[scores["average_precision"].notna()]
    result = mean_by(scores, by)
    nulls = {
        key: random_average_precisions(*key, null_size, seed)
        for key in valid.groupby(["n_pos_pairs", "n_total_pairs"]).groups
    }
    pvalues = []
    for _, group in valid.groupby(by):
        counts = group[["n_pos_pairs", "n_total_pairs"]].value_counts()
        null = sum(nulls[key] * (times / len(group)) for key, times in counts.items())
        # The draws are float32: equal values differ in the seventh digit.
        pvalues.append((1 + np.sum(null >= group["average_precision"].mean() - 1e-6)) / (1 + null_size))
    result["pvalue"] = pvalues
    result["qvalue"] = adjusted(pvalues)
    return result


def random_average_precisions(n_positive, n_total, size, seed):
    """Average precision of `size` random orders with n_positive positives among n_total, drawn by copairs, float32."""
    from copairs.compute import random_ap

    step = max(1, DRAWN_ENTRIES // n_total)
    starts = range(0, size, step)
    parts = [
        random_ap(min(step, size - start), n_positive, n_total, [seed, n_positive, n_total, start]) for start in starts
    ]
    return np.concatenate(parts)
