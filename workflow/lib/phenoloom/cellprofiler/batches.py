"""Sites grouped into jobs of about the same length; imports nothing heavy, for it runs while the DAG is built."""

import hashlib
import json
from pathlib import Path

from phenoloom.core.errors import InputError

#: Sites per job where a dataset has no CellProfiler features to size the jobs by.
DEFAULT_SIZE = 50

#: Seconds per site where a study gives none and nothing was measured.
DEFAULT_SECONDS = 60

#: Name of the file with the measured rate, in the results folder of a dataset.
RATE = "rate.json"


def seconds_per_site(block, folder):
    """CPU seconds that a site takes: as configured, else as measured, else DEFAULT_SECONDS. All users ask here.

    block: the completed features.cellprofiler of a dataset. folder: where the dataset's results lie.
    """
    if block.get("seconds_per_site") is not None:
        return block["seconds_per_site"]
    return (read_rate(folder) or {}).get("seconds_per_site", DEFAULT_SECONDS)


def read_rate(folder):
    """What `rate` measured for the dataset whose results lie in `folder` (rate.write_rate), or None.

    Raises InputError when the file is damaged.
    """
    path = Path(folder) / RATE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if float(found["seconds_per_site"]) > 0:
            return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise InputError(f"{path} holds no measured rate; delete it, or run `python -m phenoloom rate` to write it again")


def pipeline_digest(path):
    """Digest of a .cppipe, to tell whether a rate was measured with it."""
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()


def batch_size(minutes_per_job, seconds_per_site):
    """Number of sites that take about `minutes_per_job` at `seconds_per_site`; at least 1.

    >>> batch_size(30, 60)
    30
    """
    if not minutes_per_job > 0 or not seconds_per_site > 0:
        raise ValueError("minutes_per_job and seconds_per_site must be above 0")
    return max(1, int(minutes_per_job * 60 / seconds_per_site + 1e-9))


def assign(sites, size):
    """Batches of at most `size` sites each, from (well, site) pairs; wells stay whole unless one exceeds `size`.

    Sorted by well and site, so the same sites give the same batches in any order of input. Returns a list of lists
    of (well, site). A well larger than `size` is cut into batches of its own. Duplicate pairs count once.

    >>> assign([("A01", 1), ("A02", 1), ("A01", 2), ("A02", 2)], 3)
    [[('A01', 1), ('A01', 2)], [('A02', 1), ('A02', 2)]]
    """
    if size < 1:
        raise ValueError("a batch holds at least one site")
    wells = {}
    for well, site in sorted(set(sites)):
        wells.setdefault(well, []).append((well, site))
    batches, current = [], []
    for members in wells.values():
        if current and len(current) + len(members) > size:
            batches.append(current)
            current = []
        if len(members) > size:
            batches.extend(members[start : start + size] for start in range(0, len(members), size))
        else:
            current = current + members
    return [*batches, current] if current else batches


def batch_name(number):
    """Identifier of the `number`-th batch (from 1) of a plate: four digits, more where they do not suffice."""
    return f"{number:04d}"
