"""Labels of events from a table with one row per event, such as the gates or classes that somebody gave them."""

import csv

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.words import count

#: Column of the table that says which event a row is of; without it the rows are in the events' order.
KEY = "event"


def read_labels(path, labels, numbers, names, n_events, ledger):
    """{"Metadata_Name": (n,) text or None} of events, from a table of tab, semicolon or comma separated text.

    labels: {name: column}. numbers, names: (n,) of the events. The column `event`, where there is one, holds numbers of
    events (from 0) or, where `names` is given, their names; else the table has a row for each of n_events. Events
    without a row, and rows of no event, go to the ledger as flagged. Raises InputError naming the table.
    """
    table = _read(path, labels.values())
    if KEY not in table:
        if len(table) != n_events:
            raise InputError(
                f"{path} has {count(len(table), 'row')} for {count(n_events, 'event')}; give a row per event, or a "
                f"column '{KEY}' that says which"
            )
        places = np.asarray(numbers)
    else:
        keys = table[KEY] if names is not None else _numbers(table[KEY], path)
        if doubled := keys[keys.duplicated()].tolist():
            raise InputError(f"{path}: the column '{KEY}' has {doubled[0]} more than once; give each event one row")
        places = pd.Index(keys).get_indexer(numbers if names is None else names)
        if not (places >= 0).any():
            example = f" (it begins with {keys.iloc[0]})" if len(keys) else ""
            raise InputError(f"{path}: the column '{KEY}' names no usable event of the sample{example}; correct it")
        for number, what in (
            ((places < 0).sum(), "events without a row"),
            (len(table) - (places >= 0).sum(), "rows of no usable event"),
        ):
            if number:
                ledger.add(f"{what} in {path}", "flagged", unit="event", count=number)
    found = {}
    for name, column in labels.items():
        values = table[column].to_numpy(object)
        found[f"Metadata_{name}"] = np.where((places >= 0) & (values[places] != ""), values[places], None)
    return found


def _numbers(texts, path):
    numbers = pd.to_numeric(texts, errors="coerce")
    wrong = texts[numbers.isna() | (numbers != numbers.round()) | (numbers.abs() > 2**53)]
    if len(wrong):
        raise InputError(f"{path}: the column '{KEY}' needs whole numbers, not {wrong.iloc[0]!r}")
    return numbers.astype(np.int64)


def _read(path, columns):
    """The columns asked for, and KEY, as stripped text; the others are not held in memory."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            separator = max("\t;,", key=line.count)
            header = [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); correct the sample's column 'events'") from error
    if missing := [name for name in columns if name not in header]:
        known = ", ".join(header) or "none"
        raise InputError(f"{path} lacks the column {', '.join(missing)}; it has {known}")
    wanted = [place for place, name in enumerate(header) if name in {KEY, *columns}]
    if len(wanted) > len({header[place] for place in wanted}):
        raise InputError(f"{path} has a column twice that it needs once; rename one of {', '.join(header)}")
    try:
        table = pd.read_csv(
            path,
            sep=separator,
            usecols=wanted,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
    table.columns = [header[place] for place in sorted(wanted)]
    return table.fillna("").apply(lambda column: column.str.strip())
