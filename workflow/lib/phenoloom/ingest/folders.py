"""Files below a folder, with size and time, in a stable order."""

import os
from typing import NamedTuple

from phenoloom.core.errors import InputError


class File(NamedTuple):
    """A file: `name` relative to the folder that was walked (with slashes), size in bytes, mtime in nanoseconds."""

    name: str
    path: str
    size: int
    mtime_ns: int


def walk(folder):
    """All files below a folder, sorted by name; hidden ones and folders met before (links in a circle) are left out."""
    if not os.path.isdir(folder):
        raise InputError(f"the folder {folder} does not exist; check the column 'images' of the table of plates")
    found, seen, queue = [], set(), [("", folder)]
    while queue:
        prefix, place = queue.pop()
        identity = os.stat(place)
        if (identity.st_dev, identity.st_ino) in seen:
            continue
        seen.add((identity.st_dev, identity.st_ino))
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    queue.append((f"{prefix}{entry.name}/", entry.path))
                    continue
                try:
                    status = entry.stat()
                except OSError:  # a link to nowhere: the header reader says so in its own words
                    found.append(File(prefix + entry.name, entry.path, 0, 0))
                    continue
                found.append(File(prefix + entry.name, entry.path, status.st_size, status.st_mtime_ns))
    return sorted(found)


def stat(path):
    """File of one path; size and time are 0 where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return File(os.path.basename(path), path, 0, 0)
    return File(os.path.basename(path), path, status.st_size, status.st_mtime_ns)
