"""Fingerprint of the code a rule runs: the syntax of its script and of every phenoloom module that it imports.

Comments and docstrings do not count, so that editing them reruns nothing.
"""

import ast
import functools
import hashlib
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2]

#: Logging and job plumbing change how a job reports, not what it computes.
IGNORED = ("phenoloom.core.job", "phenoloom.core.code", "phenoloom.core.errors")


def fingerprint(script, pins=(), modules=()):
    """Hexadecimal digest of a script, its transitive phenoloom imports, extra `modules` and the `pins` files."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(_syntax(Path(script).resolve()))
    names = set(modules)
    for name in [*modules]:
        names |= _closure(name)
    for name in _imports(Path(script).resolve()):
        names |= _closure(name)
    for name in sorted(names):
        if name not in IGNORED:
            digest.update(name.encode() + _syntax(_path_of(name)))
    for path in pins:
        lines = (line.split("#", 1)[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
        digest.update("\n".join(line for line in lines if line).encode())
    return digest.hexdigest()


@functools.cache
def _closure(name):
    """The module `name` and all phenoloom modules that it imports, directly or not."""
    seen, queue = set(), [name]
    while queue:
        module = queue.pop()
        if module in seen or module in IGNORED:
            continue
        seen.add(module)
        queue.extend(_imports(_path_of(module)))
    return frozenset(seen)


def _path_of(name):
    base = LIBRARY.joinpath(*name.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _exists(name):
    return _path_of(name).is_file()


@functools.cache
def _imports(path):
    """phenoloom modules that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            candidates = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found.update(name for name in candidates if name.split(".")[0] == "phenoloom" and _exists(name))
    return frozenset(found)


@functools.cache
def _syntax(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree).encode()
