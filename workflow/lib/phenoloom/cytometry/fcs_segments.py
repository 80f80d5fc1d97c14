"""Where the events of an FCS file lie: HEADER and TEXT say so, not always alike, and $TOT and the size check them."""

import numpy as np

from phenoloom.core.words import count

#: Bytes of the checksum that ends a file.
CHECKSUM_BYTES = 8
#: Last byte that a HEADER has room for; larger files leave its offsets 0.
HEADER_LIMIT = 99_999_999
#: A float of 32 bits between these, or 0, can be a measurement; integers of 32 bits, read as floats, seldom are.
PLAUSIBLE = (1e-20, 1e20)


def locate(one, row_bytes, path, policy):
    """(byte at which the events begin, number of events, one past the last byte of the segment), in the file."""
    size = path.stat().st_size
    said = one.number("tot")
    if said == 0:
        return one.offset, 0, size
    if said is None and one.version != "2.0":
        policy.note("$TOT is missing", "the events are counted from the bytes")
    first, last = _data_offsets(one, row_bytes * said if said is not None else None, policy)
    if first <= one.segments["text"][1] and last >= one.segments["text"][0]:
        raise policy.refuse(f"has data at {first} to {last} that overlap its TEXT; export it again")
    room = max(0, last - first + 1)
    begin, end = one.offset + first, one.offset + last + 1
    if said is not None and room == said * row_bytes + 1:
        policy.note("the offset of the last byte of the data is one too large", "that byte is left")
        room, end = room - 1, end - 1
    if end > size:
        policy.note(f"the file ends {count(end - size, 'byte')} before its data do", "whole events are read")
        room, end = max(0, size - begin), size
    held = room // row_bytes
    if said is None:
        if held == 0:
            raise policy.refuse("holds no events, only HEADER and TEXT; copy it again")
        if room % row_bytes:
            policy.note(
                f"the data end with {count(room % row_bytes, 'byte')} that make no whole event", "they are left"
            )
        return begin, held, end
    if not held:
        raise policy.refuse(f"holds none of its {count(said, 'event')}, only HEADER and TEXT; copy it again")
    if held < said:
        policy.note(f"$TOT is {said}, but the bytes hold {count(held, 'event')}", "those are read")
    elif room > said * row_bytes:
        policy.note(f"the data hold {room} bytes where $TOT of {said} asks for {said * row_bytes}", "the rest is left")
    return begin, min(held, said), end


def _data_offsets(one, due, policy):
    """(first, last) byte of the data from HEADER and TEXT; where they differ, the pair that $TOT events fill.

    due: bytes that the events take, None where $TOT is missing.
    """
    header = one.segments["data"]
    header = header if header and header != (0, 0) else None
    text = one.number("begindata"), one.number("enddata")
    text = text if all(text) else None
    if one.version == "2.0" and header and not text:
        return header
    if not header and not text:
        raise policy.refuse("says nowhere where its data lie (HEADER, $BEGINDATA, $ENDDATA); export it again")
    if not header:
        if one.segments["data"] is None:
            policy.note("the HEADER leaves the offsets of the data blank", "those of TEXT are used")
        elif text[1] <= HEADER_LIMIT and text[1] > text[0]:
            policy.note("the HEADER has 0 for the offsets of the data", "those of TEXT are used")
        return text
    if not text:
        policy.note("$BEGINDATA or $ENDDATA is missing", "the offsets of the HEADER are used")
        return header
    if header == text or text[1] > HEADER_LIMIT:
        return text
    filled = [pair for pair in (text, header) if due is not None and pair[1] - pair[0] + 1 == due]
    nearly = [pair for pair in (text, header) if due is not None and pair[1] - pair[0] == due]
    chosen = next(iter(filled + nearly), header if one.version == "2.0" else text)
    why = "which $TOT events fill" if filled or nearly else "as the standard has it"
    policy.note(
        f"HEADER has the data at {header[0]} to {header[1]}, TEXT at {text[0]} to {text[1]}",
        f"{'TEXT' if chosen is text else 'HEADER'} is used, {why}",
    )
    return chosen


def guess_type(path, begin, n_events, parameters, order):
    """I, F or D of values without $DATATYPE: by $PnB, and where 32 bits leave both, by the values themselves."""
    bits = {parameter.bits for parameter in parameters}
    if bits == {64}:
        return "D"
    if bits != {32} or any(parameter.decades for parameter in parameters):
        return "I"
    values = np.fromfile(path, f"{order}f4", min(n_events, 10_000) * len(parameters), offset=begin)
    with np.errstate(invalid="ignore"):
        size = np.abs(values)
        plausible = (values == 0) | ((size >= PLAUSIBLE[0]) & (size <= PLAUSIBLE[1]))
    return "F" if plausible.mean() > 0.5 and np.any(values != 0) else "I"


def note_trailing_bytes(one, end, path, policy):
    """Note bytes behind the last segment of a file that no segment accounts for.

    one: the last data set. end: one past the last byte of its data.
    """
    pairs = [*zip(one.others[::2], one.others[1::2], strict=False), one.segments["text"], one.segments["analysis"]]
    pairs += [(one.number(f"begin{name}"), one.number(f"end{name}")) for name in ("stext", "analysis")]
    lasts = [one.offset + pair[1] + 1 for pair in pairs if pair and pair[1]]
    rest = path.stat().st_size - max([end, *lasts])
    if rest > CHECKSUM_BYTES:
        policy.note(f"{count(rest, 'byte')} that belong to nothing follow the data", "they are left")
