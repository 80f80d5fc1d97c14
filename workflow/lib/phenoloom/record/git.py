"""Which commit of the workflow ran, and what was changed since."""

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

SECONDS = 20
#: Changed files that are named; of more, the number is given.
NAMED = 200


def state(root):
    """Commit, branch, description, changed files and origin of a checkout; None where git knows nothing of it.

    A folder that merely lies inside another repository, without belonging to it, is no checkout.
    """
    if _git(root, "ls-files", "--error-unmatch", "Snakefile") is None:
        return None
    changed = (_git(root, "status", "--porcelain", "--untracked-files=normal", "--", ".") or "").splitlines()
    return {
        "commit": _git(root, "rev-parse", "HEAD"),
        "branch": _git(root, "symbolic-ref", "--quiet", "--short", "HEAD"),
        "describe": _git(root, "describe", "--always", "--tags", "--dirty"),
        "dirty": bool(changed),
        "changed": changed[:NAMED],
        "changed_files": len(changed),
        "remote": without_credentials(_git(root, "remote", "get-url", "origin")),
    }


def without_credentials(address):
    """An address without user and password, and None for a folder of this machine.

    >>> without_credentials("https://me:secret@example.org/lab/phenoloom.git")
    'https://example.org/lab/phenoloom.git'
    """
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme in ("http", "https", "ssh", "git") and parts.hostname:
        port = f":{parts.port}" if parts.port else ""
        return urlunsplit((parts.scheme, parts.hostname + port, parts.path, "", ""))
    host, colon, path = address.partition(":")
    if colon and "/" not in host and parts.scheme != "file":  # git@example.org:lab/phenoloom.git
        return f"{host.rpartition('@')[2]}:{path}"
    return None


def _git(root, *arguments):
    """What a command of git prints, None when it fails or there is no git."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-c", "core.quotePath=false", *arguments],
            cwd=Path(root),
            env={**environment, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
