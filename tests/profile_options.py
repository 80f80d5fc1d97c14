"""Options of profile chains and representations as a study's loader completes them."""

import yaml

from phenoloom.config.schema import SCHEMAS, with_defaults


def chain(*steps):
    """A chain of steps with every default of the schema."""
    return _complete("profiles.schema.yaml", list(steps))


def representation(**block):
    """A representation's block with every default of the schema."""
    return _complete("representations.schema.yaml", block)


def _complete(name, value):
    schema = yaml.safe_load((SCHEMAS / name).read_text(encoding="utf-8"))
    return with_defaults({"name": value}, schema)["name"]
