"""What the names of event images say: event, channel, montage and metadata, by a pattern with named fields."""

import re

from phenoloom.core.errors import InputError

#: Fields with a meaning of their own and what they match; any other field becomes metadata.
FIELDS = {"event": r"[^/]+?", "channel": r"[^/]+?", "montage": r"[^/]+?"}

#: Fields that a format needs, and those that it may have.
ALLOWED = {
    "sorter": ({"event"}, set()),
    "montage": ({"channel"}, {"montage"}),
    "crops": ({"event"}, {"channel"}),
}


def compile_pattern(pattern, layout):
    """Regular expression for the names of a format's image files, matched without regard to case.

    `*` stands for anything but a slash. The event of a sorter is a number. Raises InputError naming what is wrong.

    >>> compile_pattern("{Label}/*_{event}.png", "crops").fullmatch("G1/x_7.png").groupdict()
    {'Label': 'G1', 'event': '7'}
    """
    where = f"events.pattern {pattern!r}"
    needed, optional = ALLOWED[layout]
    names = re.findall(r"\{(\w+)\}", pattern)
    missing, doubled = needed - set(names), {name for name in names if names.count(name) > 1}
    foreign = (set(names) & set(FIELDS)) - needed - optional
    if missing:
        raise InputError(f"{where} lacks the field {{{min(missing)}}}, which the format {layout} needs")
    if doubled:
        raise InputError(f"{where} has the field {{{min(doubled)}}} twice; write * for one of them")
    if foreign:
        raise InputError(f"{where} has the field {{{min(foreign)}}}, which means nothing to the format {layout}")
    fields = {**FIELDS, "event": r"\d+"} if layout == "sorter" else FIELDS
    out = []
    for literal, name in re.findall(r"([^{}]+)|\{(\w+)\}", pattern):
        if literal:
            out.append(re.escape(literal).replace(r"\*", "[^/]*?"))
        else:
            out.append(f"(?P<{name}>{fields.get(name, '[^/]+?')})")
    return re.compile("".join(out), re.IGNORECASE)


def metadata_of(fields):
    """{"Metadata_Name": text} of the matched fields that have no meaning of their own."""
    return {f"Metadata_{name}": text for name, text in fields.items() if name not in FIELDS}
