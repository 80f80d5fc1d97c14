"""Parameters of an FCS file: types on disk, ranges, amplification, and names that can be columns."""

import re
from dataclasses import dataclass

import numpy as np

_LITTLE = ("1,2,3,4", "1,2", "1", "1,2,3,4,5,6,7,8")
_BIG = ("4,3,2,1", "2,1", "8,7,6,5,4,3,2,1")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an FCS file.

    number: from 1. name: its column, unique in the file. pnn, pns: names as the file has them. bits, range, gain:
    $PnB, $PnR, $PnG (1 where absent). decades, log_zero: $PnE, (0, 0) is linear. type: of its values on disk.
    """

    number: int
    name: str
    pnn: str
    pns: str
    bits: int
    range: float
    gain: float
    decades: float
    log_zero: float
    type: np.dtype

    @property
    def mask(self):
        """Bits that belong to the value of an integer, None where all do: the next power of 2 to $PnR, less 1."""
        if self.type.kind != "u" or self.range < 1:
            return None
        used = (int(self.range) - 1).bit_length()
        return (1 << used) - 1 if used < self.bits else None


def byte_order(text, policy):
    """'<' or '>'."""
    text = text.replace(" ", "")
    if text in _LITTLE or text in _BIG:
        return "<" if text in _LITTLE else ">"
    raise policy.refuse(f"has the byte order {text or 'missing'!r} ($BYTEORD), which is not read; export it again")


def data_type(keywords, policy):
    """I, F, D, or None where $DATATYPE is missing."""
    kind = keywords.get("datatype", "").strip().upper()
    if kind in ("I", "F", "D", ""):
        return kind or None
    raise policy.refuse(
        f"holds values of $DATATYPE {kind}, which are not read; export it with integers or floats (I, F or D)"
    )


def read_parameters(keywords, version, kind, order, policy):
    """Parameters in order, with unique names. From FCS 3.2 on each may have a type of its own."""
    number_of = int(keywords["par"].strip())
    taken, parameters = set(), []
    for number in range(1, number_of + 1):
        get = {key: keywords.get(f"p{number}{key}", "").strip() for key in "nsbrge"}
        own = keywords.get(f"p{number}datatype", "").strip().upper() if version == "3.2" else ""
        if own and own not in "IFD":
            raise policy.refuse(f"holds values of $P{number}DATATYPE {own}, which are not read; export it again")
        bits, stored = _stored_type(number, get["b"], own or kind, order, policy)
        largest = finite(get["r"])
        if largest is None or largest <= 0:
            policy.note(f"$P{number}R is {get['r'] or 'missing'!r}", "no bits of the values are masked")
            largest = 0.0
        decades, log_zero = _amplification(number, get["e"], policy)
        if decades > 0 and (not largest or stored.kind == "f"):
            policy.note(f"$P{number}E is {get['e']!r} where the values can only be linear", "it is ignored")
            decades, log_zero = 0.0, 0.0
        gain = finite(get["g"] or "1")
        if gain is None or gain < 0:
            policy.note(f"$P{number}G is {get['g']!r}, no gain", "it is ignored")
            gain = 1.0
        name = _unique_name(number, get["n"], taken, policy)
        taken.add(name)
        parameters.append(Parameter(number, name, get["n"], get["s"], bits, largest, gain, decades, log_zero, stored))
    return tuple(parameters)


def _stored_type(number, text, kind, order, policy):
    """(bits, type on disk) of a parameter."""
    bits = int(text) if text.isascii() and text.isdigit() else 0
    if kind in "FD":
        due = 32 if kind == "F" else 64
        if bits != due:
            policy.note(f"$P{number}B is {text!r} where the data type asks for {due}", f"{due} are read")
        return due, np.dtype(f"{order}f{due // 8}")
    if bits not in (8, 16, 32, 64):
        raise policy.refuse(f"has integers of {text or 'no'} bits ($P{number}B), which are not read; export floats")
    return bits, np.dtype(f"{order}u{bits // 8}")


def _amplification(number, text, policy):
    """(decades, value of zero) of $PnE; a value of 0 for log(0) is 1, as the standard has it."""
    if not text:
        policy.note(f"$P{number}E is missing", "the values are taken as linear")
        return 0.0, 0.0
    parts = [finite(part) for part in text.split(",")]
    if len(parts) != 2 or None in parts or min(parts) < 0:
        policy.note(f"$P{number}E is {text!r}, no pair of numbers", "the values are taken as linear")
        return 0.0, 0.0
    decades, log_zero = parts
    return (decades, log_zero or 1.0) if decades else (0.0, 0.0)


def _unique_name(number, pnn, taken, policy):
    """Name of a column: $PnN, made printable, unique, and no metadata."""
    name = re.sub(r"[\x00-\x1f\x7f]+", " ", pnn).strip()
    if not name:
        name = f"P{number}"
        policy.note(f"$P{number}N is empty", f"the column is named {name}")
    if name.startswith("Metadata_"):
        name = f"P{number} {name}"
        policy.note(f"$P{number}N begins as the columns of metadata do", f"the column is named {name}")
    if name not in taken:
        return name
    copy = next(f"{name}_{again}" for again in range(2, number + 2) if f"{name}_{again}" not in taken)
    policy.note(f"$P{number}N is {name} once more", f"the column is named {copy}")
    return copy


def finite(text, default=None):
    """A finite number from text, else the default."""
    try:
        value = float(text)
    except ValueError:
        return default
    return value if np.isfinite(value) else default
