"""What file names say: well, site, channel, plane and time, by a pattern with named fields or an instrument's habit."""

import re
from typing import NamedTuple

from phenoloom.core.errors import InputError
from phenoloom.core.wells import normalize_well, well_name


class Plane(NamedTuple):
    """One image plane that was found. aliases: names the channel goes by, most telling first. z, time: None if unsaid.

    path: of the file, page: 0-based. listed_in: the instrument's file that names it, "" when it was found on disk.
    """

    well: str
    site: int
    aliases: tuple
    z: int | None
    time: int | None
    path: str
    page: int = 0
    listed_in: str = ""


#: Fields of a pattern and what they match. A name may also hold `*` for anything.
FIELDS = {
    "well": r"[A-Za-z]{1,2}[-_ ]?\d{1,3}",
    "row": r"[A-Za-z]{1,2}|\d{1,2}",
    "column": r"\d{1,2}",
    "site": r"\d+",
    "channel": r"[^/]+?",
    "plate": r"[^/]+?",
    "z": r"\d+",
    "time": r"\d+",
    "any": r"[^/]*?",
}
FIELDS["page"] = FIELDS["z"]

GUID = r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}"

#: MetaXpress names, with or without site, wavelength and GUID; a single digit of wavelength precedes a GUID. The first
#: thing that can be a well is the well, since s16 and w12 could be wells of a large plate too.
IMAGEXPRESS = re.compile(
    rf"(?:.*?_)?(?P<well>[A-Z]{{1,2}}\d\d)(?:_s(?P<site>\d+))?"
    rf"(?:_w(?P<channel>\d(?={GUID})|\d+(?!{GUID})))?(?:{GUID})?\.tiff?",
    re.IGNORECASE,
)
#: Harmony names: row, column, field, plane, channel; sk = time point (0-based or 1-based by version), fk, fl.
PHENIX = re.compile(
    r"r(?P<row>\d+)c(?P<column>\d+)f(?P<site>\d+)p(?P<z>\d+)-ch(?P<channel>\d+)sk(?P<time>\d+)fk\d+fl\d+\.tiff?",
    re.IGNORECASE,
)
#: CellVoyager names: T time point, F field, L timeline, A action, Z plane, C channel.
CELLVOYAGER = re.compile(
    r".*_(?P<well>[A-Z]{1,2}\d{2})_T(?P<time>\d+)F(?P<site>\d+)L\d+A(?P<action>\d+)Z(?P<z>\d+)C(?P<channel>\d+)\.tiff?",
    re.IGNORECASE,
)


def compile_pattern(pattern):
    """Regular expression for a file-name pattern with fields in braces, matched without regard to case.

    A field may be limited to alternatives: `{channel:DAPI|GFP}`. Raises InputError for an unknown or repeated field.

    >>> bool(compile_pattern("{well}_s{site}_{channel}.tif").fullmatch("a1_s03_DNA.TIF"))
    True
    """
    out, seen = [], set()
    for literal, name, choice in re.findall(r"([^{}]+)|\{(\w+)(?::([^{}]*))?\}", pattern):
        if literal:
            out.append(re.escape(literal).replace(r"\*", "[^/]*?"))
            continue
        if name not in FIELDS:
            raise InputError(
                f"images.pattern {pattern!r} has the unknown field {{{name}}}; known are {', '.join(FIELDS)}"
            )
        inner = "|".join(map(re.escape, choice.split("|"))) if choice else FIELDS[name]
        if name == "any":
            out.append(f"(?:{inner})")
            continue
        if name in seen:
            raise InputError(
                f"images.pattern {pattern!r} has the field {{{name}}} twice; write {{any}} for one of them"
            )
        seen.add(name)
        out.append(f"(?P<{'z' if name == 'page' else name}>{inner})")
    _check_place(seen, f"images.pattern {pattern!r}")
    return re.compile("".join(out), re.IGNORECASE)


def compile_regex(text):
    """A user's own regular expression; its named groups are the fields of a pattern."""
    try:
        regex = re.compile(text)
    except re.error as error:
        raise InputError(f"images.regex {text!r} is no regular expression ({error})") from error
    _check_place(set(regex.groupindex), f"images.regex {text!r}")
    return regex


def _check_place(fields, what):
    if "well" not in fields and not {"row", "column"} <= fields:
        raise InputError(f"{what} says no well; use {{well}}, or {{row}} and {{column}}")


def place_of(fields, site_base=1):
    """(well, site) from matched fields; sites count from 1. Raises ValueError when there is no such well or site."""
    if fields.get("well"):
        well = normalize_well(fields["well"])
    else:
        row, column = fields["row"], fields["column"]
        if row.isdigit():
            well = normalize_well(well_name(int(row) - 1, int(column) - 1)) if int(row) and int(column) else "?"
            if well == "?":
                raise ValueError(f"row {row}, column {column} is no well: rows and columns count from 1")
        else:
            well = normalize_well(row + column)
    site = int(fields["site"]) - site_base + 1 if fields.get("site") else 1
    if site < 1:
        raise ValueError("sites count from 0 in the names; set images.site_base: 0")
    return well, site


def channel_key(text):
    """Form in which channel names are compared: no case, no leading zeros of numbers.

    >>> channel_key("C01") == channel_key("c1")
    True
    """
    return re.sub(r"(?<!\d)0+(?=\d)", "", str(text).strip().casefold())


def number(text):
    """Integer of a matched field, None for an absent one."""
    return int(text) if text else None
