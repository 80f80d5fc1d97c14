"""Choice of rows by a query in pandas' language, with errors that name the column that was meant."""

import difflib
import io
import re
import tokenize

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError


def select(frame, query, step, known=None):
    """Boolean array (n,): the rows of `frame` for which the query holds; "all" holds for every row.

    A comparison with a missing value does not hold. `known` lists the columns of the table where `frame` holds only
    some of them. Raises InputError naming the step, the query and near columns.
    """
    if query.strip() == "all":
        return np.ones(len(frame), dtype=bool)
    try:
        # no names but the columns: `@name` would reach into this module
        chosen = frame.eval(query, local_dict={}, global_dict={}, engine="python")
    except Exception as error:  # the query is the user's: whatever it raises is about the query
        hint = _nearest(query, known or frame.columns)
        raise InputError(f'the query "{query}" of step {step} cannot be evaluated ({_words(error)}){hint}') from error
    if isinstance(chosen, bool | np.bool_):
        return np.full(len(frame), bool(chosen))
    if not isinstance(chosen, pd.Series) or len(chosen) != len(frame):
        raise InputError(
            f'the query "{query}" of step {step} gives no yes or no per row; compare a column with a value'
        )
    chosen = chosen.fillna(False)
    if not pd.api.types.is_bool_dtype(chosen):
        raise InputError(
            f'the query "{query}" of step {step} gives no yes or no per row; compare a column with a value'
        )
    return chosen.to_numpy(dtype=bool)


def columns_of(query, columns):
    """Those of `columns` that a query mentions, as names or in backticks, in the order of `columns`."""
    mentioned = set(re.findall(r"`([^`]+)`", query)) | _names(query)
    return [column for column in columns if column in mentioned]


def nearest(name, candidates, count=3):
    """Candidates that look like `name`, best first, for error messages."""
    candidates = [str(candidate) for candidate in candidates]
    lower = {candidate.lower(): candidate for candidate in reversed(candidates)}
    found = difflib.get_close_matches(str(name).lower(), list(lower), n=count, cutoff=0.6)
    contained = [candidate for candidate in candidates if str(name).lower() in candidate.lower()]
    return list(dict.fromkeys([*(lower[match] for match in found), *contained]))[:count]


def _names(query):
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(re.sub(r"`[^`]+`", "", query)).readline))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return set()
    return {token.string for token in tokens if token.type == tokenize.NAME}


def _nearest(query, columns):
    known = set(map(str, columns))
    unknown = sorted(name for name in _names(query) if name not in known and name.startswith("Metadata_"))
    if not unknown:
        return ""
    near = nearest(unknown[0], columns)
    return f"; the table has no column {unknown[0]}" + (f", did you mean {', '.join(near)}?" if near else "")


def _words(error):
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
