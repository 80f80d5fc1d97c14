"""Well names: rows A..AF and columns 1..48, written as A01."""

import re

_WELL = re.compile(r"^\s*([A-Za-z]{1,2})\s*[-_]?\s*0*([1-9][0-9]?)\s*$")

#: Rows and columns of the plates in use.
FORMATS = {6: (2, 3), 12: (3, 4), 24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}


def row_letters(row):
    """Letters of a 0-based row: 0 -> A, 25 -> Z, 26 -> AA."""
    return chr(65 + row) if row < 26 else "A" + chr(65 + row - 26)


def well_name(row, column):
    """Name of a well from 0-based row and column: (0, 0) -> A01."""
    return f"{row_letters(row)}{column + 1:02d}"


def normalize_well(text):
    """Canonical well name: 'a1', 'A-01', 'A001' -> 'A01'. Raises ValueError when it is no well."""
    match = _WELL.match(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a well name such as A01")
    letters = match[1].upper()
    if len(letters) == 2 and letters[0] != "A":
        raise ValueError(f"{text!r} is not a well name such as A01")
    return f"{letters}{int(match[2]):02d}"


def position(well):
    """0-based (row, column) of a well name."""
    name = normalize_well(well)
    letters, number = re.match(r"([A-Z]+)(\d+)", name).groups()
    row = ord(letters) - 65 if len(letters) == 1 else 26 + ord(letters[1]) - 65
    return row, int(number) - 1


def plate_format(wells):
    """Smallest standard plate (rows, columns) that holds all wells; a 1536-well plate at most."""
    positions = [position(well) for well in wells]
    rows = max((row for row, _ in positions), default=0) + 1
    columns = max((column for _, column in positions), default=0) + 1
    for shape in FORMATS.values():
        if rows <= shape[0] and columns <= shape[1]:
            return shape
    return rows, columns
