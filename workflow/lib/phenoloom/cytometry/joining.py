"""The join of image stacks to FCS events by index: which page belongs to which detector, and whether the join is right.

The sum over a page grows with the area of the pulse that the same light made. Pages and areas are matched by that
alone, and a join that is shifted, permuted or partial shows as sums that follow no area.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from phenoloom.core.errors import InputError
from phenoloom.core.words import count

#: Rows whose moments are taken at once.
CHUNK = 65_536
#: Events that it takes to verify a join; with fewer, some page follows some area by chance.
MIN_EVENTS = 10
#: Rank correlation that a verified pair must have too, lest a single bright event make the join.
MIN_RANK = 0.5
#: Rank correlation of the best page in the typical block from which on each block is verified as well.
STRONG_RANK = 0.9
#: Events of a block at least, and the most blocks; a right join stays above BLOCK_FITS in each (by Fisher's z).
MIN_BLOCK, BLOCKS, BLOCK_FITS = 20, 400, 0.4
#: Mean difference of ranks, as a share of the events, from which on an event and its image are not of one cell; by
#: pages of at least this rank correlation; and the share of such events that a right join may have.
MISFIT, MISFIT_RANK, MISFITS = 0.3, 0.8, 0.05


class Match(NamedTuple):
    """A page (0-based) and the parameter whose pulse area it follows best; r is Pearson's, over all events."""

    page: int
    parameter: str
    r: float


@dataclass(frozen=True)
class Join:
    """A join of images and events.

    matches: list of Match, by page. verified: whether it was shown to be right; otherwise `reason` says why not.
    misfits: row numbers of events whose image does not fit them in any verified page (empty, cut off, saturated).
    """

    matches: list
    verified: bool
    reason: str = ""
    misfits: tuple = ()


def correlate(first, second):
    """Pearson's r (P, A) of each column of first (N, P) with each of second (N, A), where both are finite.

    NaN where a column is constant or fewer than 3 rows are left. The memory does not grow with N.
    """
    first, second = np.asarray(first), np.asarray(second)
    centre = [_centre(values) for values in (first, second)]
    n = 0
    moments = [0.0] * 5
    for start in range(0, len(first), CHUNK):
        a, in_a = _standard(first[start : start + CHUNK], *centre[0])
        b, in_b = _standard(second[start : start + CHUNK], *centre[1])
        n = n + in_a.T @ in_b
        new = (a.T @ in_b, in_a.T @ b, (a * a).T @ in_b, in_a.T @ (b * b), a.T @ b)
        moments = [old + more for old, more in zip(moments, new, strict=True)]
    if np.ndim(n) == 0:
        return np.full((first.shape[1], second.shape[1]), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        s_a, s_b, s_aa, s_bb, s_ab = (moment / n for moment in moments)
        spread_a, spread_b = s_aa - s_a**2, s_bb - s_b**2
        r = (s_ab - s_a * s_b) / np.sqrt(spread_a * spread_b)
    r[(n < 3) | ~(spread_a > 1e-12) | ~(spread_b > 1e-12)] = np.nan
    return np.clip(r, -1, 1)


def match_pages(sums, events, suffix="-A"):
    """Which page belongs to which parameter: list of Match by page, each parameter taken once.

    sums: (N, P) sums over the pages of the image of each event, NaN where there is none. events: DataFrame of N rows;
    its columns that end in `suffix` are the pulse areas. The assignment makes the sum of all r as large as it can be.
    Pages that are constant, and those beyond the number of areas, are left out.
    """
    sums, areas, names = _checked(sums, events, suffix)
    return _assign(correlate(sums, areas), names)


def verify_join(sums, events, at_least=0.9, suffix="-A", max_shift=50):
    """Match pages and pulse areas as match_pages does, and verify that row k of both is one event: returns a Join.

    A join is right when a page follows its area with r of `at_least` (and its ranks do too), over all events and in
    every block of consecutive ones. Fewer than MIN_EVENTS events are matched but not verified.
    Images of bad events (empty, cut off, saturated) best have NaN for sums.
    Raises InputError where sums and events differ in number, no page follows an area, or a block of events or more than
    a few single ones do not fit; the sentence says by how many events (up to `max_shift`) the images seem shifted.
    """
    if not len(sums) == len(events):
        raise InputError(_partial(sums, events, suffix, max_shift, at_least))
    sums, areas, names = _checked(sums, events, suffix)
    matches = _assign(correlate(sums, areas), names)
    usable = int(np.isfinite(sums).any(axis=1).sum())
    if usable < MIN_EVENTS:
        reason = f"{count(usable, 'event')} with an image are too few to verify the join; it takes {MIN_EVENTS}"
        return Join(matches, False, reason)
    pairs = [(match.page, names.index(match.parameter)) for match in matches if match.r >= at_least]
    pairs = [(page, area) for page, area in pairs if _rank_r(sums[:, page], areas[:, area]) >= MIN_RANK]
    if not pairs:
        raise InputError(_unrelated(sums, areas, names, matches, at_least, max_shift))
    ranks = _ranks(sums, areas, pairs)
    if found := _changed(sums, areas, pairs, ranks, max_shift, at_least):
        raise InputError(_slipped(*found))
    misfits = _misfits(*ranks)
    if len(misfits) > max(1, MISFITS * usable):
        raise InputError(
            f"the images of {len(misfits)} of {count(usable, 'event')} do not fit their pulse areas (first that of "
            f"event {misfits[0]}): some images stand in another order; number the images as the events are"
        )
    return Join(matches, True, misfits=misfits)


def _checked(sums, events, suffix):
    """Sums and areas as float64 arrays of two dimensions, with NaN for infinite values, and the names of the areas."""
    names = [name for name in events.columns if str(name).endswith(suffix) and not str(name).startswith("Metadata_")]
    if not names:
        raise InputError(
            f"the events have no pulse areas (columns that end in {suffix!r}), so no join can be verified; "
            "set join.areas to how they end"
        )
    sums = np.asarray(sums, dtype=np.float64)
    if sums.ndim != 2 or len(sums) != len(events):
        raise ValueError(f"sums are (events, pages), not {sums.shape} for {len(events)} events")
    return sums, events[names].to_numpy(dtype=np.float64), names


def _assign(r, names):
    """Matches that make the sum of r largest."""
    known = np.isfinite(r)
    pages, areas = linear_sum_assignment(np.where(known, r, -2.0), maximize=True)
    pairs = [(page, area) for page, area in zip(pages.tolist(), areas.tolist(), strict=True) if known[page, area]]
    return [Match(page, names[area], float(r[page, area])) for page, area in pairs]


def _centre(values):
    """Median and spread of each column in its first rows: enough to keep the sums of squares exact."""
    if not len(values):
        return np.zeros(values.shape[1]), np.full(values.shape[1], np.inf)
    head = np.asarray(values[:CHUNK], dtype=np.float64)
    head = np.where(np.isfinite(head), head, np.nan)
    empty = np.isnan(head).all(axis=0)
    middle = np.nanmedian(np.where(empty, 0.0, head), axis=0)
    spread = np.nanstd(np.where(empty, 0.0, head), axis=0)
    # A spread that is only rounding is none: the column is constant.
    return middle, np.where(spread > 1e-12 * np.maximum(1e-300, np.abs(middle)), spread, np.inf)


def _standard(values, middle, spread):
    """Values about their middle in units of their spread with 0 where they are not finite, and where they are."""
    scaled = (np.asarray(values, dtype=np.float64) - middle) / spread
    finite = np.isfinite(scaled)
    return np.where(finite, scaled, 0.0), finite.astype(np.float64)


def _rank_r(first, second):
    """Spearman's correlation of two columns over the rows where both are finite; -1 where there is none."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return -1.0
    r = correlate(rankdata(first[both])[:, None], rankdata(second[both])[:, None])[0, 0]
    return float(np.nan_to_num(r, nan=-1.0))


def _shifted(first, second, shift):
    """Rows that stand beside each other when the image of event k + shift is taken for event k."""
    first_rows = slice(max(0, shift), len(first) + min(0, shift))
    second_rows = slice(max(0, -shift), len(second) + min(0, -shift))
    length = min(first_rows.stop - first_rows.start, second_rows.stop - second_rows.start)
    return first[first_rows][: max(0, length)], second[second_rows][: max(0, length)]


def _best_shift(sums, areas, shifts, at_least):
    """(shift, r) with the highest r of any page with any area among the shifts that reach `at_least`, else None."""
    best = None
    for shift in shifts:
        one, other = _shifted(sums[:CHUNK], areas[:CHUNK], shift)
        if len(one) < MIN_EVENTS:
            continue
        r = correlate(one, other)
        if np.isfinite(r).any():
            page, area = np.unravel_index(np.nanargmax(r), r.shape)
            fits = r[page, area] >= at_least and _rank_r(one[:, page], other[:, area]) >= MIN_RANK
            if fits and (best is None or r[page, area] > best[1]):
                best = (shift, float(r[page, area]))
    return best


def _shifts(most):
    """1, -1, 2, -2, ..."""
    return [sign * size for size in range(1, most + 1) for sign in (1, -1)]


def _unrelated(sums, areas, names, matches, at_least, max_shift):
    """The sentence for a join in which no page follows its area."""
    best = max(matches, key=lambda match: match.r, default=None)
    said = f"page {best.page} with {best.parameter}, r = {best.r:.3f}" if best else "none varies"
    head = f"the images do not belong to the events by their index: no page follows a pulse area (best: {said})"
    for part in (2, 4, 8):
        if found := _slipped_within(sums, areas, len(sums) // part, max_shift, at_least):
            return _slipped(*found)
    if found := _best_shift(sums, areas, _shifts(max_shift), at_least):
        moved = f"they fit with r = {found[1]:.3f} when the images are moved by {_words(found[0])}"
        return f"{head}; {moved}; {_mend(found[0])}"
    return (
        f"{head}, nor with a shift of up to {max_shift} events; the images stand in another order, or are of another "
        f"run; check the sample's images, or lower join.at_least from {at_least:g}"
    )


def _partial(sums, events, suffix, max_shift, at_least):
    """The sentence for sums and events that differ in number."""
    head = f"there are images of {count(len(sums), 'event')} for {count(len(events), 'event')} in the FCS file"
    most = abs(len(sums) - len(events)) + max_shift
    names = [name for name in events.columns if str(name).endswith(suffix)]
    sums, areas = np.asarray(sums, dtype=np.float64), events[names].to_numpy(dtype=np.float64)
    found = _best_shift(sums, areas, [0, *_shifts(most)], at_least) if names and sums.ndim == 2 else None
    if found is None:
        return f"{head}, and no shift brings them together; give the images and the FCS file of one run"
    where = "by their index" if found[0] == 0 else f"when the images are moved by {_words(found[0])}"
    return f"{head}; those there are fit {where} (r = {found[1]:.3f}); give the images of all events, or number them"


def _words(shift):
    return f"{'-' if shift > 0 else '+'}{count(abs(shift), 'event')}"


def _mend(shift):
    what = "an image too many stands before them" if shift > 0 else "an image is missing before them"
    return f"{what}, so number the images as the events are"


def _slipped(event, shift):
    """The sentence for images that lose their events within a run."""
    return (
        f"the images belong to the events by their index only up to about event {event}; from there on they fit when "
        f"the images are moved by {_words(shift)}; {_mend(shift)}"
    )


def _slipped_within(sums, areas, first, max_shift, at_least):
    """(event, shift) where images lose their events, if the `first` of them fit; else None."""
    if first < MIN_EVENTS:
        return None
    r = correlate(sums[:first], areas[:first])
    page, area = np.unravel_index(np.argmax(np.nan_to_num(r, nan=-1.0)), r.shape)
    if not r[page, area] >= at_least:
        return None
    return _changed(sums, areas, [(page, area)], _ranks(sums, areas, [(page, area)]), max_shift, at_least, first)


def _ranks(sums, areas, pairs):
    """Ranks as shares of the events, NaN where one is missing: of the images and of the areas, each (N, pairs)."""
    by = np.full((2, len(sums), len(pairs)), np.nan)
    for column, (page, area) in enumerate(pairs):
        both = np.isfinite(sums[:, page]) & np.isfinite(areas[:, area])
        for side, values in enumerate((sums[both, page], areas[both, area])):
            by[side, both, column] = rankdata(values) / max(1, both.sum())
    return by[0], by[1]


def _changed(sums, areas, pairs, ranks, max_shift, at_least, first=None):
    """(event, shift) of the first block of events that does not fit by its index but does with a shift; else None.

    first: events that are known to fit; without it most of all are taken to.
    """
    size = max(MIN_BLOCK, -(-len(sums) // BLOCKS))
    edges = [*range(0, len(sums) - MIN_BLOCK + 1, size), len(sums)]
    blocks = [slice(*ends) for ends in zip(edges, edges[1:], strict=False)]
    r = [np.diag(correlate(ranks[0][block], ranks[1][block])) for block in blocks]
    best = np.array([np.nanmax(values, initial=-1.0) for values in r])
    pages, columns = (list(numbers) for numbers in zip(*pairs, strict=True))
    known = best[: max(1, sum(block.stop <= (first or len(sums)) for block in blocks))]
    if not len(best) or np.median(known) < STRONG_RANK:
        return None
    for block, fit in zip(blocks, best, strict=True):
        if fit >= BLOCK_FITS:
            continue
        shifts = _shifts(min(max_shift, block.stop - block.start - MIN_EVENTS))
        if found := _best_shift(sums[block][:, pages], areas[block][:, columns], shifts, at_least):
            return block.start, found[0]
    return None


def _misfits(by_image, by_area):
    """Row numbers of events whose ranks by image and by area are far apart, over the pages that are clear."""
    clear = [column for column in range(by_image.shape[1]) if _clear(by_image[:, column], by_area[:, column])]
    by_image, by_area = by_image[:, clear], by_area[:, clear]
    known = np.isfinite(by_image) & np.isfinite(by_area)
    apart = np.where(known, np.abs(by_image - by_area), 0.0).sum(axis=1) / np.maximum(1, known.sum(axis=1))
    return tuple(np.flatnonzero(apart >= MISFIT).tolist())


def _clear(by_image, by_area):
    return _rank_r(by_image, by_area) >= MISFIT_RANK
