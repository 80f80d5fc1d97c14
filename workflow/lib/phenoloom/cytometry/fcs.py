"""FCS 2.0 to 3.2: parameters and events of a file, and every deviation from the standard that was met."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.cytometry.fcs_parameters import byte_order, data_type, finite, read_parameters
from phenoloom.cytometry.fcs_segments import guess_type, locate, note_trailing_bytes
from phenoloom.cytometry.fcs_text import Policy, read_data_sets

#: Bytes of events that are read at once.
CHUNK_BYTES = 2**25


@dataclass(frozen=True)
class Fcs:
    """What stands in an FCS file, without its events.

    keywords: {name in lower case without the dollar sign: value}. data_set: number read, from 0, of `data_sets`.
    begin: byte at which the events begin. deviations: one sentence each, for the ledger.
    """

    path: Path
    version: str
    keywords: dict
    parameters: tuple
    n_events: int
    begin: int
    data_set: int
    data_sets: int
    deviations: tuple = ()

    @property
    def names(self):
        """Unique names of the columns."""
        return [parameter.name for parameter in self.parameters]

    @property
    def ranges(self):
        """$PnR of the columns, as floats."""
        return [parameter.range for parameter in self.parameters]

    @property
    def instrument(self):
        """$CYT, empty where the file does not say."""
        return self.keywords.get("cyt", "").strip()

    @property
    def row(self):
        """Type of one event on disk."""
        return np.dtype([(f"p{parameter.number}", parameter.type) for parameter in self.parameters])

    @property
    def dtype(self):
        """Type of the events in memory: float32, float64 or the widest unsigned integer of the file."""
        return np.result_type(*(parameter.type.newbyteorder("=") for parameter in self.parameters))


def read_fcs(path, policy="lenient", data_set=None):
    """Read an FCS file whole: (Fcs, events (n, p)), as read_header and read_events do."""
    fcs = read_header(path, policy, data_set)
    return fcs, read_events(fcs)


def read_header(path, policy="lenient", data_set=None):
    """Everything of an FCS file but its events, as Fcs.

    policy: strict refuses every deviation from the standard, lenient notes it in `deviations` and reads what can be
    read. data_set: number from 0; without it the first is read, and more than one is a deviation.
    Raises InputError, one sentence that names the file, for whatever cannot be read or is refused.
    Source: Spidlen et al. 2010 (FCS 3.1), doi:10.1002/cyto.a.20825; Spidlen et al. 2021 (FCS 3.2),
    doi:10.1002/cyto.a.24225.
    """
    path, policy = Path(path), Policy(path, policy)
    sets = read_data_sets(path, policy)
    if data_set is None and len(sets) > 1:
        others = ", ".join(map(str, range(1, len(sets))))
        policy.note(
            f"the file holds {len(sets)} data sets and data_set does not choose one", f"0 is read, {others} are not"
        )
    number = data_set or 0
    if not 0 <= number < len(sets):
        raise policy.refuse(f"has no data set {number}; there are {len(sets)}, numbered from 0")
    one = sets[number]
    mode = one.keywords.get("mode", "").strip().upper()
    if not mode:
        policy.note("$MODE is missing", "it is taken as a list of events")
    elif mode != "L":
        raise policy.refuse(f"holds histograms ($MODE {mode}), no list of events; export it as events")
    order = byte_order(one.keywords.get("byteord", ""), policy)
    kind = data_type(one.keywords, policy)
    parameters = read_parameters(one.keywords, one.version, kind or "I", order, policy)
    begin, n_events, end = locate(one, sum(parameter.type.itemsize for parameter in parameters), path, policy)
    if kind is None:
        kind = guess_type(path, begin, n_events, parameters, order)
        parameters = read_parameters(one.keywords, one.version, kind, order, Policy(path))
        word = {"I": "integers", "F": "floats of 32 bits", "D": "floats of 64 bits"}[kind]
        policy.note("$DATATYPE is missing", f"the values are read as {word}, as their bits and $PnB say")
    if number + 1 == len(sets):
        note_trailing_bytes(one, end, path, policy)
    fcs = Fcs(path, one.version, one.keywords, parameters, n_events, begin, number, len(sets))
    _note_extra_bits(fcs, policy)
    return replace(fcs, deviations=tuple(policy.deviations))


def read_events(fcs, start=0, stop=None):
    """Events start to stop (all) of an Fcs as an array (n, p), values as stored, integers masked to their range.

    The bits of floats are untouched. The memory is that of the events asked for.
    """
    stop = fcs.n_events if stop is None else min(stop, fcs.n_events)
    rows = max(0, stop - start)
    raw = np.fromfile(fcs.path, fcs.row, rows, offset=fcs.begin + start * fcs.row.itemsize)
    if len(raw) < rows:
        raise InputError(f"{fcs.path} has become shorter since its HEADER was read; copy it again")
    shape = (rows, len(fcs.parameters))
    stored = fcs.parameters[0].type
    if len({parameter.type for parameter in fcs.parameters}) == 1:
        # The bytes are swapped as integers: as floats the bits of a NaN may change.
        word = np.dtype(f"u{stored.itemsize}").newbyteorder(stored.byteorder)
        values = raw.view(word).astype(word.newbyteorder("="), copy=False).view(fcs.dtype).reshape(shape)
    else:
        values = np.empty(shape, fcs.dtype)
        for column, parameter in enumerate(fcs.parameters):
            values[:, column] = raw[f"p{parameter.number}"]
    for column, parameter in enumerate(fcs.parameters):
        if parameter.mask is not None:
            values[:, column] = values[:, column].astype(np.uint64) & np.uint64(parameter.mask)
    return values


def read_chunks(fcs, rows=None):
    """Yield (number of the first event, events (n, p)) in chunks of `rows`, or of about CHUNK_BYTES."""
    rows = rows or max(1, CHUNK_BYTES // max(1, fcs.row.itemsize))
    for start in range(0, fcs.n_events, rows):
        yield start, read_events(fcs, start, start + rows)


def linearise(fcs, events):
    """Events (n, p) on linear scales, float64: log amplification undone, divided by gains, Time in $TIMESTEP's units.

    value = 10 ** (decades * stored / range) * log_zero for $PnE (decades, log_zero), stored / $PnG for linear ones.
    Source: Spidlen et al. 2010, doi:10.1002/cyto.a.20825.
    """
    with np.errstate(invalid="ignore"):  # bit patterns may be signalling NaN
        values = np.array(events, dtype=np.float64)
    for column, parameter in enumerate(fcs.parameters):
        if parameter.decades > 0 and parameter.range > 0:
            values[:, column] = 10 ** (parameter.decades * values[:, column] / parameter.range) * parameter.log_zero
        if parameter.pnn.strip().lower() == "time":
            values[:, column] *= finite(fcs.keywords.get("timestep", ""), 1.0)
        elif parameter.gain not in (0.0, 1.0):
            values[:, column] /= parameter.gain
    return values


def fcs_table(paths):
    """What becomes of FCS files: DataFrame of file, version, instrument, parameters, events, strict, lenient.

    strict, lenient: `read`, or why it is not; behind `read:` stand the deviations that were noted.
    """
    rows = []
    for path in map(Path, paths):
        row = {"file": path.name, "version": "", "instrument": "", "parameters": 0, "events": 0}
        with contextlib.suppress(InputError):
            first = read_data_sets(path, Policy(path))[0]
            row |= {"version": first.version, "instrument": first.keywords.get("cyt", "").strip()}
        for policy in Policy.NAMES:
            try:
                fcs = read_header(path, policy)
            except InputError as error:
                row[policy] = "refused: " + str(error).removeprefix(str(path)).lstrip(": ")
                continue
            row |= {"parameters": len(fcs.parameters), "events": fcs.n_events}
            row[policy] = ": ".join(filter(None, ["read", "; ".join(fcs.deviations)]))
        rows.append(row)
    return pd.DataFrame(rows, columns=["file", "version", "instrument", "parameters", "events", *Policy.NAMES])


def _note_extra_bits(fcs, policy):
    """Note integers with bits beyond their range, which reading masks."""
    masked = [(column, parameter) for column, parameter in enumerate(fcs.parameters) if parameter.mask is not None]
    if not masked:
        return
    beyond = dict.fromkeys((parameter.name for _, parameter in masked), 0)
    bare = replace(fcs, parameters=tuple(replace(parameter, range=0.0) for parameter in fcs.parameters))
    for _, values in read_chunks(bare):
        for column, parameter in masked:
            beyond[parameter.name] += int(np.count_nonzero(values[:, column] > parameter.mask))
    words = ", ".join(f"{name} ({number})" for name, number in beyond.items() if number)
    if words:
        policy.note(f"values have bits beyond their $PnR, in {words}", "those bits are masked")
