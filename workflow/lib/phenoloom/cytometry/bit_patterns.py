"""Integers that hide in FCS files of floats: sorters store numbers and times of events as patterns of 32 bits."""

import re

import numpy as np

from phenoloom.core.errors import InputError

#: Floats below this, other than 0, are no measurements; integers up to half a billion, read as floats, all are.
TINY = 1e-20
#: $PnR from which on a float of 32 bits cannot tell neighbouring integers of the range apart.
WIDE = 2.0**32 - 1
#: Share of a column's values other than 0 that must be patterns for it to be taken as one.
SHARE = 0.5
#: Bits of a float that is just missing, without its sign.
_QUIET_NAN = 0x7FC00000


def declared_types(keywords, count):
    """Types that the instrument declares beside the standard (P1DATATYPE, as BD's FACSDiscover writes it), by column.

    keywords: of the FCS file, names in lower case. count: number of parameters. '' where nothing is declared. I32 and
    F32 are values; B32 and any type that is wider than the column (I64, B128) can only be a pattern or a part of one.
    """
    return [keywords.get(f"p{number}datatype", "").strip().upper() for number in range(1, count + 1)]


def find_bit_patterns(events, names, ranges, declared=None):
    """Columns of floats that hold patterns of integers: {name: why}, in the order of `names`.

    events: (n, p) float32, as stored; consecutive events, some thousand are enough. ranges: $PnR. declared: see
    declared_types; where it says anything, it decides. Otherwise a column is a pattern when most of its values but 0
    are no measurements (below TINY, or NaN with a payload), and, once the file has such a column, when its $PnR is
    beyond what a float can resolve and its values are no whole numbers. Columns of whole numbers stay.
    """
    if events.dtype != np.float32:
        return {}
    declared = declared or [""] * len(names)
    found = {}
    for column, (name, kind) in enumerate(zip(names, declared, strict=True)):
        if kind:
            if kind.startswith("B") or re.sub(r"\D", "", kind) in ("64", "128"):
                found[name] = f"the file declares it as {kind}"
            continue
        values = events[:, column]
        strange = _strange(values)
        others = np.count_nonzero(values) - np.count_nonzero(_is_missing(values))
        if others and strange >= max(1, SHARE * others):
            found[name] = f"{strange} of {others} values are no measurements as floats"
    if found and not any(declared):
        for column, name in enumerate(names):
            if name not in found and ranges[column] >= WIDE and not _whole_numbers(events[:, column]):
                found[name] = f"its range, {ranges[column]:.3g}, is beyond what floats of 32 bits resolve"
    return {name: found[name] for name in names if name in found}


def decode_bit_patterns(values):
    """The unsigned integers, uint32, whose bits the float32 `values` (any shape) are. Exact.

    Raises ValueError for another type: casting a float has changed its bits.
    """
    if values.dtype != np.float32:
        raise ValueError(f"bit patterns stand in float32 as stored in the file, not in {values.dtype}")
    return np.ascontiguousarray(values).view(np.uint32)


def chosen_patterns(choice, events, names, ranges, declared=None, path="the FCS file"):
    """{name: why} of the columns to decode. choice: 'auto', 'none', or a list of names.

    Raises InputError for a name that the file does not have, or for a list where the file holds no floats of 32 bits.
    """
    if choice == "auto":
        return find_bit_patterns(events, names, ranges, declared)
    if choice == "none" or not choice:
        return {}
    unknown = [name for name in choice if name not in names]
    if unknown:
        raise InputError(f"bit_patterns names {unknown[0]!r}, which {path} does not have; take it out of the list")
    if events.dtype != np.float32:
        raise InputError(f"bit_patterns names columns, but {path} holds {events.dtype}, not float32; set it to none")
    return dict.fromkeys(choice, "the study names it")


def _strange(values):
    """How many values are no measurements: tiny but not 0, or NaN with a payload."""
    size = np.abs(values)
    return int(np.count_nonzero((size > 0) & (size < TINY)) + np.count_nonzero(np.isnan(values) & ~_is_missing(values)))


def _is_missing(values):
    """Where a float is the NaN that arithmetic makes."""
    return (np.ascontiguousarray(values).view(np.uint32) & 0x7FFFFFFF) == _QUIET_NAN


def _whole_numbers(values):
    """Whether some values are not 0 and all of those are whole numbers: counts and ids stored as floats."""
    others = values[(values != 0) & ~np.isnan(values)]
    return len(others) > 0 and bool(np.all(np.isfinite(others) & (others == np.rint(others))))
