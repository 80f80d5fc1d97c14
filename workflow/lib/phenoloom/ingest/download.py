"""Fetch public images once: http(s), S3 buckets open to all, or an archive that is here; resumed, checked, unpacked."""

import contextlib
import fnmatch
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from phenoloom.core.errors import InputError
from phenoloom.core.files import write_text
from phenoloom.ingest.archives import extract, is_archive, safe_name

#: Attempts of one file before giving up; each continues where the last one stopped.
ATTEMPTS = 4
TIMEOUT = 60
_CHUNK = 2**20


def fetch(download, plates, say=print):
    """Fetch all files of a dataset's completed block `download`. What was fetched before is left alone.

    A folder that somebody else filled (it has files but no record of ours) needs none of its archives; of an S3
    prefix only the files that are missing are fetched.
    plates: names for {plate}. say: takes progress lines. Raises InputError naming the address and what is wrong.
    """
    folder = Path(download["folder"])
    records = folder / ".fetched"
    ours = records.is_dir() and any(records.iterdir())
    filled = folder.is_dir() and not ours and any(path != records for path in folder.iterdir())
    for entry in download["files"]:
        if filled and not entry["url"].endswith("/"):
            say(f"{folder} has files already: {entry['url']} is not fetched")
            continue
        varies = "{plate}" in entry["url"] or "{plate}" in entry.get("to", "")
        for plate in plates if varies else [""]:
            url = entry["url"].replace("{plate}", quote(plate) if "://" in entry["url"] else plate)
            below = entry.get("to", "").replace("{plate}", plate)
            target = folder / safe_name(below, "download.to") if below else folder
            _fetch_one(url, target, records, entry, download, say)


def _fetch_one(url, target, records, entry, download, say):
    here = os.stat(url) if "://" not in url and os.path.isfile(url) else None
    version = [here.st_size, here.st_mtime_ns] if here else []
    identity = json.dumps([url, *version, str(target), entry.get("include"), entry.get("sha256"), entry.get("md5")])
    name = hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()
    record = records / f"{name}.json"
    if record.is_file():
        return
    records.mkdir(parents=True, exist_ok=True)
    include = tuple(entry.get("include") or ("*",))
    scheme = urlsplit(url).scheme
    endpoint = download.get("endpoint") or os.environ.get("PHENOLOOM_S3_ENDPOINT")
    if scheme == "s3" and url.endswith("/"):
        files, size = _fetch_prefix(url, target, include, endpoint, say)
    else:
        part = records / f"{name}.part"
        if scheme in ("http", "https"):
            _resume(url, part, _http, say)
        elif scheme == "s3":
            _resume(url, part, _s3_opener(endpoint), say)
        elif "://" in url:
            raise InputError(f"{url}: only http, https, s3 and paths can be fetched")
        elif not Path(url).is_file():
            raise InputError(f"{url} does not exist; check download.files in the study's config")
        here = part if "://" in url else Path(url)
        _verify(url, here, entry)
        size = here.stat().st_size
        files = _place(url, here, target, include, entry, download, say)
        part.unlink(missing_ok=True)
        _validator(part).unlink(missing_ok=True)
    write_text(record, json.dumps({"url": url, "files": files, "bytes": size}, indent=1) + "\n")


def _place(url, here, target, include, entry, download, say):
    """Unpack an archive, or put a file in its place; return the number of files."""
    name = os.path.basename(unquote(urlsplit(url).path)) or "download"
    if entry.get("extract", True) and is_archive(name):
        say(f"unpacking {name}")
        kind = here.with_name(here.name + "." + name) if here.suffix == ".part" else here
        if kind != here:  # the kind of an archive is told by its name
            os.replace(here, kind)
        try:
            limits = (int(download.get("max_gigabytes", 500) * 1e9), int(download.get("max_files", 2_000_000)))
            return extract(kind, target, include, *limits)
        except InputError as error:
            raise InputError(str(error).replace(str(kind), url)) from error
        finally:
            if kind != here:
                os.replace(kind, here)
    target.mkdir(parents=True, exist_ok=True)
    if here.suffix == ".part":
        os.replace(here, target / name)
    elif (target / name).resolve() != here.resolve():
        raise InputError(f"{url} is no archive; point the table of plates to it instead of fetching it")
    return 1


def _verify(url, path, entry):
    for kind in ("sha256", "md5"):
        due = entry.get(kind)
        if not due:
            continue
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != due.lower():
            if path.suffix == ".part":
                path.unlink()
            raise InputError(f"{url} has {kind} {found} where {due} is due; the file at its source has changed")


def _validator(part):
    """File beside a partial download: what identifies the version of which it is a part."""
    return part.with_suffix(".version")


def _resume(url, part, open_from, say):
    """Download to `part`, continuing what is there if the source still has the same version; retry when cut off."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _transfer(url, part, open_from, say)
            return
        except _Stale:
            part.unlink(missing_ok=True)
            _validator(part).unlink(missing_ok=True)
            reason = "the file at its source changed meanwhile"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise InputError(f"{url} cannot be fetched: the server says {error.code} {error.reason}") from error
            reason = f"the server says {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        if attempt < ATTEMPTS:
            time.sleep(min(0.2 * 4**attempt, 30))
    raise InputError(f"{url} cannot be fetched ({reason}); run again to continue where it stopped")


class _Stale(Exception):
    """The partial download belongs to another version of the file."""


def _transfer(url, part, open_from, say):
    start = part.stat().st_size if part.is_file() else 0
    version = _validator(part).read_text(encoding="utf-8") if start and _validator(part).is_file() else ""
    if start and not version:
        start = 0  # nothing says of which version this is a part
    body, first, total, now = open_from(url, start, version)
    with contextlib.closing(body):
        if first not in (0, start):
            raise _Stale
        if first == 0:
            write_text(_validator(part), now)
        done, shown = first, time.monotonic()
        with open(part, "ab" if first else "wb") as file:
            while done != total and (chunk := body.read(_CHUNK)):
                file.write(chunk)
                done += len(chunk)
                if time.monotonic() - shown > 5:
                    shown = time.monotonic()
                    of = f" of {total / 1e6:.0f}" if total else ""
                    say(f"fetching {url}: {done / 1e6:.0f}{of} MB")
    if total is not None and done < total:
        raise OSError(f"cut off at {done} of {total} bytes")
    if total is not None and done > total:
        raise _Stale
    say(f"fetched {url}: {done / 1e6:.1f} MB")


def _http(url, start, version):
    """(body, first byte, total or None, version) of an address from a byte on."""
    request = urllib.request.Request(url, headers={"User-Agent": "phenoloom"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)  # http or https only, see the caller
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if total.isdigit() and int(total) == start:
            return error, start, start, version
        raise _Stale from error
    # Weak validators do not promise the same bytes, so they cannot join two parts.
    tag = answer.headers.get("ETag", "")
    now = answer.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    length = answer.headers.get("Content-Length")
    if answer.status == 206:
        span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        first = int(span.partition("-")[0])
        return answer, first, int(total) if total.isdigit() else None, now or version
    return answer, 0, int(length) if length else None, now


def _client(endpoint):
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    options = Config(
        signature_version=UNSIGNED,
        s3={"addressing_style": "path"},
        connect_timeout=TIMEOUT,
        read_timeout=TIMEOUT,
        retries={"max_attempts": ATTEMPTS},
        max_pool_connections=16,
    )
    return boto3.client("s3", region_name="us-east-1", endpoint_url=endpoint, config=options)


def _s3_opener(endpoint, client=None):
    """Opener like _http for s3:// addresses."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = client or _client(endpoint)

    def open_from(url, start, version):
        parts = urlsplit(url)
        request = {"Bucket": parts.netloc, "Key": unquote(parts.path.lstrip("/"))}
        if start:
            request |= {"Range": f"bytes={start}-", "IfMatch": version}
        try:
            answer = client.get_object(**request)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in ("412", "PreconditionFailed", "416", "InvalidRange"):
                raise _Stale from error
            raise InputError(f"{url} cannot be fetched: the service says {code}") from error
        except BotoCoreError as error:
            raise OSError(str(error)) from error
        span = answer.get("ContentRange", "").removeprefix("bytes ")
        first = int(span.partition("-")[0]) if start and span else 0
        return _Body(answer["Body"]), first, first + answer["ContentLength"], answer.get("ETag", "")

    return open_from


class _Body:
    """Body of an S3 answer whose errors are those of files."""

    def __init__(self, body):
        self.body = body

    def read(self, count):
        from botocore.exceptions import BotoCoreError

        try:
            return self.body.read(count)
        except BotoCoreError as error:
            raise OSError(str(error)) from error

    def close(self):
        self.body.close()


def _fetch_prefix(url, target, include, endpoint, say):
    """Fetch all objects below an s3 prefix that fit; return (number, bytes). Objects that are here whole are kept.

    Folders of the prefix may hold `*`; names are kept from the first such folder on.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlsplit(url)
    folders = unquote(parts.path.lstrip("/"))
    listed = folders.split("*", 1)[0]
    fixed = folders if "*" not in folders else listed.rpartition("/")[0] + "/" * ("/" in listed)
    below = re.compile("[^/]*".join(map(re.escape, folders.split("*"))))
    client = _client(endpoint)
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=parts.netloc, Prefix=listed)
        objects = [(item["Key"], item["Size"]) for page in pages for item in page.get("Contents", ())]
    except (BotoCoreError, ClientError) as error:
        raise InputError(f"{url} cannot be listed ({error}); check the address and the network") from error
    wanted = []
    for key, size in objects:
        start = below.match(key)
        name = key[start.end() :] if start else ""
        if name and not name.endswith("/") and any(fnmatch.fnmatch(name, pattern) for pattern in include):
            wanted.append((key, target / safe_name(key.removeprefix(fixed), url), size))
    if not wanted:
        raise InputError(f"{url} has no file that fits {', '.join(include)} ({len(objects)} files are there)")
    due = [item for item in wanted if not (item[1].is_file() and item[1].stat().st_size == item[2])]
    total = sum(size for _, _, size in due)
    say(f"fetching {len(due)} of {len(wanted)} files, {total / 1e9:.2f} GB, from {url}")
    opener = _s3_opener(endpoint, client)

    def one(item):
        key, place, _ = item
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        _resume(f"s3://{parts.netloc}/{quote(key)}", part, opener, lambda text: None)
        os.replace(part, place)
        _validator(part).unlink(missing_ok=True)
        return place

    with ThreadPoolExecutor(8) as pool:
        for number, _ in enumerate(pool.map(one, due), start=1):
            if number % 500 == 0:
                say(f"fetched {number} of {len(due)} files from {url}")
    return len(wanted), sum(size for _, _, size in wanted)
