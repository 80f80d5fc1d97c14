"""Safe unpacking of .zip and .tar.* archives: nothing leaves the target folder, and size and number are limited."""

import errno
import fnmatch
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from phenoloom.core.errors import InputError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz")

_CHUNK = 2**20

#: What the readers of archives raise on damaged ones.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    RuntimeError,
)


def is_archive(name):
    """Whether a file name is that of an archive which can be unpacked here."""
    return str(name).casefold().endswith(SUFFIXES)


def extract(archive, target, include=("*",), max_bytes=500 * 10**9, max_files=2_000_000):
    """Unpack regular files into `target`, all or none; return their number.

    include: shell patterns of names to take. Raises InputError for absolute names, names with .., links, devices,
    encrypted or damaged archives, and beyond the limits, which count what is written, not what the archive claims.
    """
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target))
    limits = _Limits(archive, max_bytes, max_files)
    try:
        members = _zip_members if str(archive).casefold().endswith(".zip") else _tar_members
        for name, file in members(archive, include):
            limits.file()
            place = scratch / safe_name(name, archive)
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "wb") as out:
                while chunk := file.read(_CHUNK):
                    limits.bytes(len(chunk))
                    out.write(chunk)
        _move(scratch, target)
    except InputError:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # a full disk is no fault of the archive
            raise
        raise InputError(f"{archive} is damaged; download it again") from error
    except _DAMAGE as error:
        raise InputError(f"{archive} is damaged or no archive ({error}); download it again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not limits.files:
        raise InputError(f"{archive} holds no file that fits {', '.join(include)}")
    return limits.files


class _Limits:
    def __init__(self, archive, max_bytes, max_files):
        self.archive, self.max_bytes, self.max_files = archive, max_bytes, max_files
        self.files, self.size = 0, 0

    def file(self):
        self.files += 1
        if self.files > self.max_files:
            raise InputError(f"{self.archive} holds more than {self.max_files} files (download.max_files)")

    def bytes(self, count):
        self.size += count
        if self.size > self.max_bytes:
            raise InputError(
                f"{self.archive} unpacks to more than {self.max_bytes / 1e9:g} GB (download.max_gigabytes)"
            )


def safe_name(name, source):
    """Relative path of an archive's or bucket's name. Raises InputError when it points out of its folder."""
    text = name.replace("\\", "/")
    parts = PurePosixPath(text).parts
    if not parts or text.startswith("/") or ".." in parts or "\0" in text or (len(text) > 1 and text[1] == ":"):
        raise InputError(f"{source} holds the name {name!r}, which points out of its folder; it is not unpacked")
    return Path(*parts)


def _wanted(name, include):
    parts = PurePosixPath(name).parts
    if "__MACOSX" in parts or (parts and parts[-1].startswith("._")) or (parts and parts[-1] == ".DS_Store"):
        return False
    return any(
        fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(PurePosixPath(name).name, pattern) for pattern in include
    )


def _zip_members(archive, include):
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if member.is_dir() or not _wanted(member.filename, include):
                continue
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise InputError(f"{archive} holds {member.filename!r}, a link or device; it is not unpacked")
            if member.flag_bits & 1:
                raise InputError(f"{archive} is encrypted; unpack it by hand")
            with file.open(member) as content:
                yield member.filename, content


def _tar_members(archive, include):
    with tarfile.open(archive, "r|*") as file:
        for member in file:
            if member.isdir() or not _wanted(member.name, include):
                continue
            if not member.isreg():
                raise InputError(f"{archive} holds {member.name!r}, a link or device; it is not unpacked")
            yield member.name, file.extractfile(member)


def _move(scratch, target):
    """Move everything into place; on the same file system, so each file arrives whole."""
    for folder, _, files in os.walk(scratch):
        place = target / Path(folder).relative_to(scratch)
        place.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.replace(os.path.join(folder, name), place / name)
