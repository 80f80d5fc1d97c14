"""What must be read of each image file: header and content digest, remembered by path, size and time."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.files import digest_file, write_if_changed
from phenoloom.core.images import ImageError, read_header

_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("digest", pa.string()),
        ("page", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("dtype", pa.string()),
    ]
)


class Facts(NamedTuple):
    """Of one file: time it was read at, digest ("" when not asked for), pages {page: (width, height, dtype)}, and
    errors {page: sentence} of pages that cannot be used.
    """

    size: int
    mtime_ns: int
    digest: str
    pages: dict
    errors: dict


def read_facts(found, known, digest="content", threads=4):
    """{path: Facts} of the files of a list of Found planes; those in `known` with the same size and time are not read.

    digest: content (BLAKE2b of the file), time (size and time stamp stand for it) or none.
    """
    wanted = {}
    for plane in found:
        wanted.setdefault(plane.path, (plane.size, plane.mtime_ns, set()))[2].add(plane.page)

    facts = {path: known[path] for path, asked in wanted.items() if _is_known(known.get(path), *asked, digest)}

    def read(path):
        size, mtime_ns, pages = wanted[path]
        return path, _read(path, size, mtime_ns, sorted(pages), digest)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return facts | dict(pool.map(read, [path for path in wanted if path not in facts]))


def _is_known(facts, size, mtime_ns, pages, digest):
    return (
        facts
        and (facts.size, facts.mtime_ns) == (size, mtime_ns)
        and pages <= set(facts.pages)
        and _fits(facts, digest)
    )


def _fits(facts, digest):
    return digest == "none" or facts.digest.startswith("time:") == (digest == "time") and facts.digest != ""


def _read(path, size, mtime_ns, pages, digest):
    headers, errors = {}, {}
    for page in pages:
        try:
            headers[page] = read_header(path, page)[:3]
        except ImageError as error:
            errors[page] = str(error)
    text = ""
    if headers and digest == "time":
        text = f"time:{mtime_ns}"
    elif headers and digest == "content":
        try:
            text = digest_file(path)
        except OSError as error:
            errors = {
                **errors,
                **{page: f"{path} cannot be read ({error.strerror}); copy it again" for page in headers},
            }
            headers = {}
    return Facts(size, mtime_ns, text, headers, errors)


def load(path):
    """Facts remembered in a file, {} when there is none or it cannot be read (it only saves time)."""
    try:
        rows = pq.read_table(path, schema=_SCHEMA).to_pydict()
    except (OSError, ValueError, pa.ArrowException):
        return {}
    known = {}
    for name, size, mtime_ns, digest, page, width, height, dtype in zip(*rows.values(), strict=True):
        facts = known.setdefault(name, Facts(size, mtime_ns, digest, {}, {}))
        facts.pages[page] = (width, height, dtype)
    return known


def save(path, facts):
    """Remember the facts of files that could be read."""
    rows = [
        (name, one.size, one.mtime_ns, one.digest, page, *header)
        for name, one in sorted(facts.items())
        if not one.errors
        for page, header in sorted(one.pages.items())
    ]
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in _SCHEMA.names]
    write_if_changed(path, to_bytes(pa.table(dict(zip(_SCHEMA.names, columns, strict=True)), schema=_SCHEMA)))


def to_bytes(table):
    """An Arrow table as the bytes of a Parquet file; the same table gives the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
