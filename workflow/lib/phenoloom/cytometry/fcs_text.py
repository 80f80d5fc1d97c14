"""HEADER and TEXT of an FCS file: its offsets, its keywords, and what in them is not as the standard has it."""

import re
from dataclasses import dataclass
from pathlib import Path

import flowio

from phenoloom.core.errors import InputError

#: Bytes of a HEADER up to the offsets of ANALYSIS; pairs of other segments may follow until TEXT begins.
HEADER_BYTES = 58
#: Sets of data that are looked for in one file.
MAX_DATA_SETS = 1000
#: What flowio raises on files that it does not take; MemoryError comes from absurd offsets.
_FLOWIO_ERRORS = (
    *(flowio.exceptions.FCSParsingError, ValueError, LookupError, TypeError, AttributeError, OSError, EOFError),
    *(re.error, OverflowError, MemoryError, NotImplementedError),
)


class Policy:
    """What to do about a deviation from the standard: `strict` refuses the file, `lenient` notes it.

    deviations: the sentences noted so far.
    """

    NAMES = ("strict", "lenient")

    def __init__(self, path, name="lenient"):
        if name not in self.NAMES:
            raise InputError(f"the policy for FCS files is {' or '.join(self.NAMES)}, not {name!r}")
        self.path = path
        self.strict = name == "strict"
        self.deviations = []

    def note(self, deviation, handling):
        """Keep a deviation with what is done about it, or raise InputError with it."""
        if self.strict:
            raise InputError(f"{self.path}: {deviation}; export it again, or read it with the policy lenient")
        self.deviations.append(f"{deviation}; {handling}")

    def refuse(self, sentence):
        """An InputError that names the file, to be raised."""
        return InputError(f"{self.path} {sentence}")


@dataclass(frozen=True)
class DataSet:
    """One data set of a file.

    offset: of its HEADER in the file; all others count from there. segments: {"text" | "data" | "analysis":
    (first byte, last byte)}, None where the HEADER is blank. others: offsets of further segments, in pairs.
    keywords: {name in lower case without the dollar sign: value}.
    """

    offset: int
    version: str
    segments: dict
    others: list
    keywords: dict

    def number(self, name):
        """Integer value of a keyword, None where it is absent, blank or no number."""
        return _integer(self.keywords.get(name, ""))


def read_data_sets(path, policy):
    """All data sets of a file as a list of DataSet, keywords parsed by flowio wherever it can.

    policy: a Policy, which is told of every deviation in the first data set and in the chain of the sets.
    Raises InputError for a file that is missing, empty, no FCS, or that ends within HEADER or TEXT.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file; check the path in the table of samples")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again")
    with open(path, "rb") as file:
        sets = [_read_data_set(file, 0, size, policy)]
        while len(sets) < MAX_DATA_SETS and (step := sets[-1].number("nextdata")):
            offset = _next_offset(file, sets[-1].offset, step, size)
            if offset is None:
                policy.note(f"$NEXTDATA points to byte {step}, where no data set begins", "it is ignored")
                break
            sets.append(_read_data_set(file, offset, size, policy))
    return sets


def _next_offset(file, offset, step, size):
    """Beginning of the next data set: counted from this one, as the standard has it, or from the file's beginning."""
    for candidate in (offset + step, step):
        if offset < candidate <= size - HEADER_BYTES:
            file.seek(candidate)
            if file.read(3) == b"FCS":
                return candidate
    return None


def _read_data_set(file, offset, size, policy):
    file.seek(offset)
    header = file.read(HEADER_BYTES)
    if not header.startswith(b"FCS"):
        raise policy.refuse(f"is no FCS file (it begins with {header[:6]!r}); check what was exported")
    if len(header) < HEADER_BYTES:
        raise policy.refuse(f"ends within its HEADER, after {size} bytes; copy it again")
    version = header[3:6].decode("ascii", "replace")
    if version not in ("2.0", "3.0", "3.1", "3.2"):
        policy.note(f"the version {version!r} is not known", "it is read as FCS 3.1")
    numbers = [_integer(header[start : start + 8].decode("ascii", "replace")) for start in range(10, HEADER_BYTES, 8)]
    segments = {
        name: (first, last) if first is not None and last is not None else None
        for name, first, last in zip(("text", "data", "analysis"), numbers[::2], numbers[1::2], strict=True)
    }
    if not segments["text"] or not HEADER_BYTES <= segments["text"][0] < segments["text"][1]:
        raise policy.refuse("has a HEADER that does not say where TEXT lies; export it again")
    first, last = segments["text"]
    file.seek(offset)
    between = file.read(first)[HEADER_BYTES:]
    text = file.read(last - first + 1)
    if len(text) < last - first + 1:
        raise policy.refuse(f"ends within its TEXT, after {size} bytes; copy it again")
    others = [int(number) for number in re.findall(rb"\d+", between)] if re.fullmatch(rb"[\d ]*", between) else []
    keywords = _read_keywords(file, offset, text, policy)
    keywords = {**_supplement(file, offset, keywords, segments["text"], policy), **keywords}
    return DataSet(offset, version, segments, others, keywords)


def _read_keywords(file, offset, text, policy):
    """Keywords of a TEXT segment: as flowio reads them, else with doubled and at last with plain delimiters.

    flowio takes the last character for a delimiter, and keeps some delimiters doubled that stand for themselves.
    """
    decoded = _decode(text, policy)
    delimiter = decoded[0]
    whole = decoded.rstrip(" \0\r\n" if delimiter not in "\r\n" else " \0").endswith(delimiter)
    plain = whole and delimiter * 2 not in decoded
    readings = [lambda: _flowio_keywords(file, offset)] if plain else []
    readings += [lambda: split_keywords(decoded), lambda: split_keywords(decoded, doubled=False)]
    for reading in readings:
        keywords = reading()
        if _is_sound(keywords, delimiter):
            if reading is readings[-1]:
                policy.note("keywords without a value stand in TEXT", "they are taken as empty")
            return keywords
    raise policy.refuse("has a TEXT without $PAR, or without $PnN and $PnB of each parameter; export it again")


def _decode(text, policy):
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        policy.note("TEXT is not UTF-8", "it is read as Latin-1")
        return text.decode("latin-1")


def _flowio_keywords(file, offset):
    try:
        # flowio closes what it is given when it stops.
        with open(file.name, "rb") as own:
            return flowio.FlowData(
                own, ignore_offset_error=True, ignore_offset_discrepancy=True, only_text=True, nextdata_offset=offset
            ).text
    except _FLOWIO_ERRORS:
        return {}


def split_keywords(text, doubled=True):
    """{keyword in lower case without the dollar sign: value} of a TEXT segment that begins with its delimiter.

    doubled: two delimiters in a row are one character of a value, as the standard has it; otherwise they enclose an
    empty value.
    """
    delimiter, body = text[0], text[1:].rstrip(" \0").removesuffix(text[0])
    if doubled:
        tokens = [token.replace("\0\0", delimiter) for token in body.replace(delimiter * 2, "\0\0").split(delimiter)]
    else:
        tokens = body.split(delimiter)
    return {key.strip().lower().replace("$", ""): value for key, value in zip(tokens[::2], tokens[1::2], strict=False)}


def _is_sound(keywords, delimiter):
    """Whether the keywords name each of $PAR parameters, and none has run into another."""
    count = _integer(keywords.get("par", ""))
    if not count or any(delimiter in name for name in keywords):
        return False
    return all(f"p{number}n" in keywords and f"p{number}b" in keywords for number in range(1, count + 1))


def _supplement(file, offset, keywords, primary, policy):
    """Keywords of the supplemental TEXT; none where there is none or where TEXT itself is named again."""
    first, last = (_integer(keywords.get(name, "")) for name in ("beginstext", "endstext"))
    if not first or not last or last <= first or (first, last) == primary:
        return {}
    file.seek(offset + first)
    text = file.read(min(last - first + 1, 2**26))
    if not text or text[:1].isalnum() or len(text) < last - first + 1:
        policy.note("the supplemental TEXT holds no keywords", "it is left out")
        return {}
    try:
        return split_keywords(text.decode("utf-8", "replace"))
    except IndexError:
        return {}


def _integer(text):
    """Whole number of a text, None where there is none or it is negative."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
