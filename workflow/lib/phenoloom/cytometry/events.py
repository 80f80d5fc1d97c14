"""Events of an FCS file as a table: integers decoded, scales linear, spillover removed, names as in the file."""

import numpy as np
import pandas as pd

from phenoloom.cytometry.bit_patterns import chosen_patterns, declared_types, decode_bit_patterns
from phenoloom.cytometry.compensation import compensate
from phenoloom.cytometry.fcs import linearise, read_chunks, read_events

#: Events that are looked at to find bit patterns.
LOOK_AT = 20_000


def patterns_of(fcs, choice="auto"):
    """{name: why} of the columns of an Fcs that hold bit patterns. choice: 'auto', 'none' or a list of names."""
    declared = declared_types(fcs.keywords, len(fcs.names)) if fcs.version != "3.2" else None
    return chosen_patterns(choice, read_events(fcs, 0, LOOK_AT), fcs.names, fcs.ranges, declared, fcs.path)


def event_frame(fcs, events, patterns=(), linear=True, spillover=None):
    """DataFrame of events (n, p) as read_events gives them, one column per parameter.

    patterns: names of columns that become uint32. linear: undo log amplification and gains (fcs.linearise).
    spillover: a Spillover to remove. Measurements are float32, or float64 where the file has floats of 64 bits.
    """
    values = linearise(fcs, events) if linear else events
    if spillover is not None:
        values = compensate(values, fcs.names, spillover, fcs.path)
    kind = np.float64 if fcs.dtype == np.float64 else np.float32
    columns = {}
    for column, name in enumerate(fcs.names):
        decoded = name in patterns
        columns[name] = decode_bit_patterns(events[:, column]) if decoded else values[:, column].astype(kind)
    return pd.DataFrame(columns)


def event_frames(fcs, patterns=(), linear=True, spillover=None, rows=None):
    """Yield (number of the first event, DataFrame) in chunks, see event_frame; the memory is that of one chunk."""
    for start, events in read_chunks(fcs, rows):
        yield start, event_frame(fcs, events, patterns, linear, spillover)
