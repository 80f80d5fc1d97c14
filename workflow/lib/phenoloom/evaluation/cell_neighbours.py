"""Labels of held-out cells by their nearest training cells: what an embedding says of cells that it has not seen."""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import NearestNeighbors

from phenoloom.core.errors import InputError
from phenoloom.core.words import count
from phenoloom.evaluation.intervals import permutation_pvalue
from phenoloom.evaluation.results import Result, row
from phenoloom.evaluation.units import choose, text, units
from phenoloom.metric_learning.splits import SPLIT, TEST, TRAIN, groups_of, stratified_sample, stream

_TRANSDUCTIVE = (
    "transductive: cross-validation in {} parts, since no cell was held out of the embedding; a learned metric has "
    "seen the labels that are asked for"
)


def held_out_accuracy(
    table,
    label="Label",
    neighbours=15,
    samples="",
    cluster="",
    folds=5,
    max_cells=20_000,
    permute_within=(),
    permutations=200,
    bootstrap=1000,
    seed=0,
):
    """Balanced accuracy of k-nearest-neighbour labels: training cells vote on the label of each held-out cell.

    table: DataFrame of cells, Metadata_* and an embedding. Where Metadata_Split has train and test, the neighbours are
    training cells and test cells are asked; otherwise cross-validation in `folds` parts, which says little of a learned
    metric that has seen all labels, and its note says so. Euclidean distance, majority of `neighbours`, ties to the
    label that is first in order. Balanced: mean over the labels of the share of their cells that is right.
    cluster: metadata column whose cells are not independent (Sample, Batch) and are resampled together; empty: cells
    are. permutations: shuffles of the training labels, for chance; permute_within: metadata columns within whose values
    they are shuffled, such as Dataset, where each has labels of its own. More than `max_cells` cells on either side are
    thinned by the seed, the same share of each label.
    Returns a Result: its details name label and vote (`neighbour_label`) of every cell that was asked.
    """
    chosen = choose(table, samples)
    labelled = text(chosen, label) != ""
    split = text(chosen, SPLIT) if SPLIT in chosen else np.full(len(chosen), "", dtype=object)
    held_out = bool((split[labelled] == TEST).any() and (split[labelled] == TRAIN).any())
    rng = stream(seed, "cell neighbours")
    kept, thinned = _thinned(text(chosen, label), split if held_out else np.full(len(chosen), ""), max_cells, rng)
    if not len(kept):
        raise InputError(f"no cell has a value in Metadata_{label.removeprefix('Metadata_')}; choose another label")
    cells = units(chosen.iloc[kept])
    labels = text(cells.table, label)
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    if len(names) < 2:
        raise InputError(f"all cells have the label {str(names[0])!r}; neighbours can tell apart two or more")
    rounds = _held_out(cells.table) if held_out else _folds(codes, folds, seed)
    found = [(asked, known, _nearest(cells.values, known, asked, neighbours)) for known, asked in rounds]
    if not sum(len(asked) for asked, _, _ in found):
        raise InputError("no label has cells on both sides of the split; hold out less or merge rare labels")

    votes = np.full(len(codes), -1)
    for asked, _, nearest in found:
        votes[asked] = _majority(codes[nearest], len(names))
    asked = votes >= 0
    accuracies = _recalls(codes[asked], votes[asked] == codes[asked], len(names))
    balanced = np.nanmean(accuracies)
    groups = groups_of(cells.table, list(permute_within))
    null = [_shuffled(codes, groups, found, len(names), rng) for _ in range(permutations)]
    low, high = _interval(cells.table, codes, votes, cluster, bootstrap, rng)

    unknown = sorted(set(names[codes[asked]]) - set(names[codes[found[0][1]]]))
    notes = [
        f"{len(found[0][1]):,} training cells" if held_out else _TRANSDUCTIVE.format(len(found)),
        f"interval: {cluster.removeprefix('Metadata_')} resampled" if cluster else "interval: cells resampled",
        f"null: mean of {permutations} shuffles of the training labels"
        + (f" within {', '.join(name.removeprefix('Metadata_') for name in permute_within)}" if permute_within else ""),
        *([f"no training cell has {', '.join(unknown)}"] if unknown and held_out else []),
        *([thinned] if thinned else []),
        *([f"{count(int((~labelled).sum()), 'cell')} without a label left out"] if not labelled.all() else []),
        *cells.notes,
    ]
    right = int((votes[asked] == codes[asked]).sum())
    summary = [
        row(
            "balanced accuracy",
            balanced,
            asked.sum(),
            low,
            high,
            np.mean(null) if null else np.nan,
            permutation_pvalue(balanced, null),
            [f"{right:,} of {int(asked.sum()):,} right, {count(int(np.isfinite(accuracies).sum()), 'label')}", *notes],
        )
    ]
    for name, accuracy, number in zip(names, accuracies, np.bincount(codes[asked], minlength=len(names)), strict=True):
        if number:
            summary.append(row(f"share right of {name}", accuracy, number))
    return Result(_details(cells.table, names, codes, votes), summary, cells.left_out)


def _thinned(labels, split, max_cells, rng):
    """(positions of the cells that are used, note): at most max_cells of each side of the split, '' for all used."""
    kept, notes = [], []
    for side in [TRAIN, TEST] if (split == TRAIN).any() else [""]:
        inside = np.flatnonzero((labels != "") & (split == side))
        sample = inside[stratified_sample(labels[inside], max_cells, rng)]
        if len(sample) < len(inside):
            notes.append(f"{len(sample):,} of {len(inside):,} {side or 'all'} cells drawn by the seed")
        kept.append(sample)
    return np.sort(np.concatenate(kept)), "; ".join(notes)


def _held_out(table):
    split = text(table, SPLIT)
    return [(np.flatnonzero(split == TRAIN), np.flatnonzero(split == TEST))]


def _folds(codes, folds, seed):
    """(known, asked) rows of each fold; cells of labels with a single cell are neighbours only."""
    counts = np.bincount(codes)
    several = np.flatnonzero(counts[codes] > 1)
    number = min(folds, int(counts[counts > 1].max(initial=0)))
    if number < 2:
        return []
    with warnings.catch_warnings():  # rare labels are not in every fold; that is so
        warnings.simplefilter("ignore", UserWarning)
        parts = StratifiedKFold(number, shuffle=True, random_state=seed).split(several, codes[several])
        return [(np.setdiff1d(np.arange(len(codes)), several[asked]), several[asked]) for _, asked in parts]


def _nearest(values, known, asked, neighbours):
    """Rows (asked, k) of the nearest known cells of each asked cell."""
    if not len(known) or not len(asked):
        return np.empty((len(asked), 0), dtype=np.int64)
    fitted = NearestNeighbors(n_neighbors=min(neighbours, len(known)), n_jobs=1).fit(values[known])
    return known[fitted.kneighbors(values[asked], return_distance=False)]


def _majority(codes, n):
    """Most frequent code of each row of (m, k), ties to the smallest."""
    flat = np.arange(len(codes))[:, None] * n + codes
    return np.bincount(flat.ravel(), minlength=len(codes) * n).reshape(len(codes), n).argmax(axis=1)


def _recalls(codes, hits, n):
    """Share of hits (n,) among the cells of each code; NaN where there is none."""
    total = np.bincount(codes, minlength=n)
    with np.errstate(invalid="ignore"):
        return np.bincount(codes, weights=hits, minlength=n) / total


def _shuffled(codes, groups, found, n, rng):
    """Balanced accuracy when the labels of the known cells are shuffled within their groups; the neighbours stay."""
    true, hits = [], []
    for asked, known, nearest in found:
        moved = np.empty_like(codes)
        for group in np.unique(groups[known]):
            inside = known[groups[known] == group]
            moved[inside] = codes[rng.permutation(inside)]
        true.append(codes[asked])
        hits.append(_majority(moved[nearest], n) == codes[asked])
    return np.nanmean(_recalls(np.concatenate(true), np.concatenate(hits), n))


def _interval(table, codes, votes, cluster, bootstrap, rng, confidence=0.95):
    """Percentile interval of the balanced accuracy: cells of each label resampled, or clusters of cells."""
    asked = votes >= 0
    codes, hits = codes[asked], (votes == codes)[asked]
    n = codes.max() + 1
    total = np.bincount(codes, minlength=n)
    if cluster:
        places = pd.factorize(text(table, cluster)[asked])[0]
        number = places.max() + 1
        if number < 2:
            return np.nan, np.nan
        flat = places * n + codes
        totals = np.bincount(flat, minlength=number * n).reshape(number, n)
        rights = np.bincount(flat, weights=hits, minlength=number * n).reshape(number, n)
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=bootstrap)
        right, total = drawn @ rights, drawn @ totals
    else:
        share = np.divide(np.bincount(codes, weights=hits, minlength=n), total, where=total > 0, out=np.zeros(n))
        right = rng.binomial(total, share, size=(bootstrap, n))
        total = np.broadcast_to(total, right.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nanmean(np.where(total > 0, right / total, np.nan), axis=1)
    tail = (1 - confidence) / 2
    return tuple(float(value) for value in np.quantile(means, [tail, 1 - tail]))


def _details(table, names, codes, votes):
    """One row per cell: its label, the vote of its neighbours, whether it is right."""
    asked = votes >= 0
    unit = [name for name in ("Metadata_Dataset", "Metadata_Sample", "Metadata_Event") if name in table]
    parts = [text(table, name) for name in unit] or [np.arange(len(table)).astype(str)]
    details = pd.DataFrame(
        {
            "unit": ["/".join(part) for part in zip(*parts, strict=True)],
            "label": names[codes],
            "neighbour_label": np.where(asked, names[votes], ""),
            "evaluated": asked,
            "hit": asked & (votes == codes),
        }
    )
    if SPLIT in table:
        details = details[text(table, SPLIT) != TRAIN] if (text(table, SPLIT) == TEST).any() else details
    return details.reset_index(drop=True)
