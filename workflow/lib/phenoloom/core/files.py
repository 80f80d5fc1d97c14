"""Whole files or none: everything is written beside its place and moved there when complete."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

#: What a full disk, a used-up quota and a limit on the size of files look like.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic(path):
    """Yield a temporary path beside `path`; move it there if the block succeeds, remove it otherwise.

    A full disk, a kill or an exception therefore never leaves a partial file under the final name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:60]}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


@contextlib.contextmanager
def atomic_folder(folder):
    """Yield a temporary folder beside `folder`, whose place it takes if the block succeeds; it is removed otherwise."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield partial
        os.chmod(partial, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def full_disk(error):
    """One sentence for an error that says that a disk is full, None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    place = error.filename or "a file"
    return f"{place} cannot be written ({os.strerror(error.errno)}); make room and give the same command again"


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path, text):
    """Write UTF-8 text atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_if_changed(path, data):
    """Write bytes atomically, only when the file does not hold them already; return whether it wrote.

    An unchanged file keeps its time stamp, so that nothing after it reruns.
    """
    path = Path(path)
    if path.is_file() and path.read_bytes() == data:
        return False
    with atomic(path) as partial:
        partial.write_bytes(data)
    return True


def digest_file(path):
    """Hexadecimal BLAKE2b-128 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
