"""Identifiers for paths: any name a lab uses becomes letters, digits, dot, underscore, hyphen and tilde.

A percent sign would be shorter to explain, but Slurm takes it for a pattern in the paths of its logs.
"""

import re

_SAFE = re.compile(rb"[A-Za-z0-9._-]")

#: Wildcard constraint for an encoded name.
PATTERN = r"[A-Za-z0-9._~-]+"


def encode(name):
    """Encode a name for use in a path, reversibly (percent-encoding with a tilde; a leading dot is encoded too).

    >>> encode("plate 1/β")
    'plate~201~2F~CE~B2'
    """
    text = str(name)
    if not text:
        raise ValueError("an empty name cannot stand in a path")
    encoded = "".join(chr(byte) if _SAFE.match(bytes([byte])) else f"~{byte:02X}" for byte in text.encode("utf-8"))
    return "~2E" + encoded[1:] if encoded.startswith(".") else encoded


def decode(name):
    """Undo :func:`encode`."""
    return re.sub(rb"~([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), name.encode()).decode(
        "utf-8", "replace"
    )
