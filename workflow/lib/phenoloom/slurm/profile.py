"""A workflow profile of Snakemake: its settings, and which of its keys no option of Snakemake is named by."""

import difflib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from phenoloom.core.errors import InputError

#: Seconds for Snakemake to list its options; its Slurm plugin asks the cluster meanwhile.
TIMEOUT = 60
#: How Snakemake calls the file in a profile's folder; a number is the oldest version of Snakemake that takes it.
_FILE = re.compile(r"(?:profile|config)(?:\.v(\d+)\+)?\.yaml")
_SHORT = {"executor": "-e"}
#: A value that stands for itself; others are expressions that Snakemake evaluates.
_PLAIN = re.compile(r"[\w.,@+ -]+")
#: Snakemake is asked in a process of its own: the library does not depend on it.
_LIST_OPTIONS = """
import dataclasses, importlib, json
from snakemake.cli import get_argument_parser
options = [(action.option_strings, list(map(str, action.choices or []))) for action in get_argument_parser()._actions]
try:
    limits = importlib.import_module("snakemake_executor_plugin_slurm.partitions").PartitionLimits
    limits = [field.name for field in dataclasses.fields(limits)]
except ImportError:
    limits = None
print(json.dumps({"options": options, "limits": limits}))
"""


@dataclass(frozen=True)
class Options:
    """What this Snakemake takes: names of its long options, executors, and keys of a partition (None: no plugin)."""

    names: list
    executors: list
    limits: list | None


@dataclass(frozen=True)
class Profile:
    """A profile's file and its settings, together with the arguments on the command line, which go before them."""

    path: Path
    values: dict
    arguments: tuple = ()

    def setting(self, name, otherwise=None):
        """The value of an option: that of the command line, else the profile's, else `otherwise`."""
        given = self._given(name)
        if given:
            return given[0]
        value = self.values.get(name)
        return otherwise if value is None else value

    def number(self, name, otherwise):
        """The value of an option that is a whole number. Raises InputError when it is none."""
        value = self.setting(name, otherwise)
        try:
            return int(value)
        except (TypeError, ValueError):
            raise InputError(f"{self.path}: {name} must be a whole number, and is {value!r}") from None

    def path_setting(self, name):
        """An option's path as Snakemake takes it: in the profile's folder where that holds it, else from here."""
        value = self.setting(name)
        if value is None:
            return None
        value = os.path.expanduser(os.path.expandvars(str(value)))
        beside = self.path.parent / value
        return beside if not self._given(name) and beside.exists() else Path(value)

    def default_resource(self, name):
        """A resource that all jobs have by default, None where it is absent or an expression."""
        given = self._given("default-resources") or self.values.get("default-resources") or {}
        if not isinstance(given, dict):
            given = dict(str(item).split("=", 1) for item in given if "=" in str(item))
        return _plain(given.get(name))

    def rule_resources(self, name):
        """A resource as `set-resources` gives it to single rules: {rule: value}, expressions left out."""
        rules = self.values.get("set-resources")
        rules = rules if isinstance(rules, dict) else {}
        found = {rule: _plain(values.get(name)) for rule, values in rules.items() if isinstance(values, dict)}
        return {rule: value for rule, value in found.items() if value is not None}

    def _given(self, name):
        """What the command line says last for an option: all words up to the next option."""
        found, taking = [], False
        for argument in self.arguments:
            option, equals, value = argument.partition("=")
            if argument.startswith("-"):
                taking = option in (f"--{name}", _SHORT.get(name))
                if taking:
                    found = [value] if equals else []
            elif taking:
                found.append(argument)
        return found


def _plain(value):
    """A value as text without the quotes that make it a text to Snakemake; None for an expression."""
    if isinstance(value, str):
        quoted = re.fullmatch(r"""(["'])(.*)\1""", value.strip())
        value = quoted[2] if quoted else value
        return value if _PLAIN.fullmatch(value) else None
    return None if value is None else str(value)


def read(folder, arguments=()):
    """Read the profile in a folder, or in a file. Raises InputError when there is none or it is no mapping."""
    path = _file(Path(folder))
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the profile {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"the profile {path} is not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError(f"the profile {path} must hold lines `option: value`")
    return Profile(path, {str(key): value for key, value in values.items()}, tuple(map(str, arguments)))


def _file(folder):
    """The file of a profile: that for the newest Snakemake where there are several."""
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise InputError(f"there is no profile {folder}; this folder must hold a config.yaml")
    found = {path: _FILE.fullmatch(path.name) for path in sorted(folder.iterdir())}
    found = {path: int(match[1] or 0) for path, match in found.items() if match}
    if not found:
        raise InputError(f"the profile {folder} holds no config.yaml")
    return max(found, key=found.get)


def options():
    """The options of the Snakemake that will run, those of its plugins included. Raises InputError when it fails."""
    command = [sys.executable, "-c", _LIST_OPTIONS]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"Snakemake's plugins did not load within {TIMEOUT} s: Slurm's commands answer too slowly, try again later"
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"Snakemake with its plugins does not start: {last}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    names = [name[2:] for strings, _ in found["options"] for name in strings if name.startswith("--")]
    executors = next((choices for strings, choices in found["options"] if "--executor" in strings), [])
    return Options(names, executors, found["limits"])


def misspelt(profile, known):
    """One sentence for each key of the profile that is no option of Snakemake; it would ignore some without a word."""
    for key in profile.values:
        if key not in known.names and not key.startswith("__"):
            near = difflib.get_close_matches(key, known.names, 1, 0.6)
            hint = f"did you mean `{near[0]}`?" if near else "`snakemake --help` lists what there is"
            yield f"{profile.path}: `{key}` is no option of Snakemake; {hint}"
