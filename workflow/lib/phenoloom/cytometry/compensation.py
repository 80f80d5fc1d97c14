"""Spillover between detectors: the matrix from an FCS file or a CSV, and its removal from the events."""

from dataclasses import dataclass

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.core.tables import read_text_table

#: Condition from which on a matrix cannot be inverted in any useful way.
SINGULAR = 1e10


@dataclass(frozen=True)
class Spillover:
    """matrix[i, j]: signal of the dye of detector i that detector j sees, per signal in i. names: $PnN, length n."""

    names: tuple
    matrix: np.ndarray


def read_spillover(fcs):
    """Spillover of an FCS file ($SPILLOVER, SPILL or $COMP), None where it has none.

    fcs: as fcs.read_header returns it. $COMP has no names: it is of the first n parameters.
    Raises InputError for a matrix that is malformed. Source: Spidlen et al. 2010, doi:10.1002/cyto.a.20825.
    """
    for keyword in ("spillover", "spill"):
        text = fcs.keywords.get(keyword, "").strip()
        if text:
            return _parse(text, fcs.path, keyword.upper())
    text = fcs.keywords.get("comp", "").strip()
    if not text:
        return None
    fields = text.split(",")
    size = _size(fields, fcs.path, "$COMP")
    pnn = [parameter.pnn for parameter in fcs.parameters]
    if size > len(pnn):
        raise InputError(f"{fcs.path} has a $COMP of {size} parameters but only {len(pnn)}; give spillover as a CSV")
    return _checked(pnn[:size], fields[1:], fcs.path, "$COMP")


def read_spillover_csv(path):
    """Spillover of a CSV: a header of $PnN, one row per dye, with or without a first column of the same names.

    Raises InputError naming the file.
    """
    frame = read_text_table(path)
    first = frame.columns[0]
    if len(frame.columns) == len(frame) + 1:
        if list(frame[first]) != list(frame.columns[1:]):
            raise InputError(
                f"{path}: rows and columns do not name the same parameters in the same order; make them so"
            )
        frame = frame.drop(columns=first)
    return _checked(list(frame.columns), list(frame.to_numpy().ravel()), path, "the table")


def compensate(events, names, spillover, path="the FCS file"):
    """Events (n, p) with spillover removed from the columns that it names, as float64; the others are as they were.

    true = measured @ inverse(matrix). Events must be on linear scales (fcs.linearise).
    Raises InputError for names that are not in the file and for a matrix without an inverse.
    Source: Bagwell & Adams 1993, doi:10.1111/j.1749-6632.1993.tb38775.x.
    """
    missing = [name for name in spillover.names if name not in names]
    if missing:
        raise InputError(
            f"the spillover matrix names {missing[0]!r}, which is no parameter of {path}; correct the name"
        )
    if np.linalg.cond(spillover.matrix) > SINGULAR:
        raise InputError(f"the spillover matrix for {path} is singular and cannot be undone; correct its rows")
    columns = [list(names).index(name) for name in spillover.names]
    compensated = np.array(events, dtype=np.float64)
    compensated[:, columns] = np.linalg.solve(spillover.matrix.T, compensated[:, columns].T).T
    return compensated


def _parse(text, path, keyword):
    """n, n names, n * n numbers, row by row."""
    fields = text.split(",")
    size = _size(fields, path, keyword)
    return _checked([name.strip() for name in fields[1 : size + 1]], fields[size + 1 :], path, keyword)


def _size(fields, path, keyword):
    text = fields[0].strip()
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= len(fields)):
        raise InputError(f"{path} has a {keyword} that does not begin with the number of its parameters")
    return int(text)


def _checked(names, numbers, path, keyword):
    size = len(names)
    if len(numbers) != size * size:
        raise InputError(f"{path} has a {keyword} with {len(numbers)} values where {size} parameters ask for {size**2}")
    if len(set(names)) < size:
        raise InputError(f"{path} has a {keyword} that names a parameter twice; make its names distinct")
    try:
        matrix = np.array(numbers, dtype=np.float64).reshape(size, size)
    except ValueError as error:
        raise InputError(f"{path} has a {keyword} with a value that is no number; correct it") from error
    if not np.isfinite(matrix).all():
        raise InputError(f"{path} has a {keyword} with a value that is not finite; correct it")
    return Spillover(tuple(names), matrix)
