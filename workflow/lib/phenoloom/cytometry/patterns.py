"""What the names of event images say: event, channel, montage and metadata, by a pattern with named fields."""

import re

from phenoloom.core.errors import InputError
from phenoloom.cytometry.samples import name_problem

#: Fields with a meaning of their own and what they match; any other field becomes metadata.
FIELDS = {"event": r"[^/]+?", "channel": r"[^/]+?", "montage": r"[^/]+?"}

#: The event of a sorter: a number, as large as files have them.
NUMBER = r"[0-9]{1,18}"

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
    literals, names = re.split(r"\{\w*\}", pattern), re.findall(r"\{(\w*)\}", pattern)
    if any(character in literal for literal in literals for character in "{}"):
        raise InputError(f"{where} has braces that are no field; a field is a name in braces, such as {{event}}")
    missing, doubled = needed - set(names), {name for name in names if names.count(name) > 1}
    foreign = (set(names) & set(FIELDS)) - needed - optional
    if missing:
        raise InputError(f"{where} lacks the field {{{min(missing)}}}, which the format {layout} needs")
    if doubled:
        raise InputError(f"{where} has the field {{{min(doubled)}}} twice; write * for one of them")
    if foreign:
        raise InputError(f"{where} has the field {{{min(foreign)}}}, which means nothing to the format {layout}")
    for name in set(names) - set(FIELDS):
        problem = name_problem(name) or ("" if name.isidentifier() else "is no name; begin it with a letter")
        if problem:
            raise InputError(f"{where}: the field {{{name}}} {problem}")
    fields = {**FIELDS, "event": NUMBER} if layout == "sorter" else FIELDS
    groups = [f"(?P<{name}>{fields.get(name, '[^/]+?')})" for name in names] + [""]
    plain = [re.escape(literal).replace(r"\*", "[^/]*?") for literal in literals]
    return re.compile("".join(a + b for a, b in zip(plain, groups, strict=True)), re.IGNORECASE)


def metadata_fields(pattern, layout):
    """Names of the fields of a pattern that become metadata."""
    return [name for name in compile_pattern(pattern, layout).groupindex if name not in FIELDS]


def metadata_of(fields):
    """{"Metadata_Name": text} of the matched fields that have no meaning of their own."""
    return {f"Metadata_{name}": text for name, text in fields.items() if name not in FIELDS}
