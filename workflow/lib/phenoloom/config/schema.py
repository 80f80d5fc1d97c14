"""The study schema, composed from one file per block in `workflow/schemas`."""

import functools
from pathlib import Path

import yaml

SCHEMAS = Path(__file__).resolve().parents[3] / "schemas"


@functools.cache
def study_schema():
    """The whole JSON schema of a study as one dict, every reference resolved."""
    name = "study.schema.yaml"
    return _resolve(_file(name), name)


@functools.cache
def _file(name):
    return yaml.safe_load((SCHEMAS / name).read_text(encoding="utf-8"))


def _resolve(node, name):
    """Replace every `$ref` ("#/..." in the same file or "other.schema.yaml#/...") by what it points to."""
    if isinstance(node, list):
        return [_resolve(item, name) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" not in node:
        return {key: _resolve(value, name) for key, value in node.items() if key not in ("$defs", "$schema", "$id")}
    target, _, pointer = node["$ref"].partition("#")
    target = target or name
    found = _file(target)
    for part in pointer.strip("/").split("/"):
        found = found[part] if part else found
    beside = {key: value for key, value in node.items() if key != "$ref"}
    return {**_resolve(found, target), **_resolve(beside, name)}


def with_defaults(value, schema):
    """Copy of a valid config value with every default of the schema filled in, at all depths.

    A missing object appears when its schema has a default, so that a rule always sees its full options.
    """
    branch = _branch(value, schema)
    if isinstance(value, dict):
        properties = branch.get("properties", {})
        extra = branch.get("additionalProperties")
        full = {}
        # In the schema's order, so that the order in which a file gives its keys reruns nothing.
        for key, inner in properties.items():
            if key in value or "default" in inner:
                full[key] = with_defaults(value.get(key, inner.get("default")), inner)
        for key, item in value.items():
            if key not in properties:
                full[key] = with_defaults(item, extra if isinstance(extra, dict) else {})
        return full
    if isinstance(value, list):
        return [with_defaults(item, branch.get("items", {})) for item in value]
    return value


def _branch(value, schema):
    """The alternative of a oneOf/anyOf that the value satisfies, merged with what stands beside it."""
    from jsonschema import Draft202012Validator

    for key in ("oneOf", "anyOf"):
        for option in schema.get(key, ()):
            if Draft202012Validator(option).is_valid(value):
                return {**schema, **_branch(value, option)}
    return schema
