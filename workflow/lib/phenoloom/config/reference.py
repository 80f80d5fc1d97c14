"""The reference page of all config keys (config/README.md), generated from the schemas."""

import json

from phenoloom.config.schema import study_schema

HEADER = """# All keys of a study's config

One YAML file describes a study. Keys that are not listed here are errors. This page is generated from
`workflow/schemas` by `make docs`; a test fails when it has drifted.

`config.yaml` in this folder is the demo study, `template.yaml` a commented start for your own data, and `studies/`
holds the studies that ship. `<name>` stands for a name of your choice.

| key | type | default | meaning |
|---|---|---|---|
"""


def reference():
    """The page as Markdown text."""
    return HEADER + "".join(_row(*row) for row in _walk(study_schema(), ""))


def _walk(schema, path, required=False):
    """(path, schema, required) of every key, depth first, in the schema's order."""
    # A map keyed by names of one's own stands for itself; its entries need a row only where they say more.
    if path and (schema.get("description") or not path.endswith("<name>")):
        yield path, schema, required
    for key, inner in schema.get("properties", {}).items():
        yield from _walk(inner, f"{path}.{key}" if path else key, key in schema.get("required", ()))
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        yield from _walk(extra, f"{path}.<name>" if path else "<name>")
    items = schema.get("items")
    if isinstance(items, dict) and (items.get("properties") or items.get("oneOf") or items.get("anyOf")):
        yield from _nested(items, f"{path}[]")
    for key in ("oneOf", "anyOf"):
        for option in schema.get(key, ()):
            yield from _nested(option, path)


def _nested(schema, path):
    """The keys below a list item or an alternative, without a row of its own."""
    rows = _walk(schema, path)
    for row in rows:
        if row[0] != path:
            yield row


def _row(path, schema, required):
    default = "required" if required else _code(schema["default"]) if "default" in schema else ""
    text = " ".join(str(schema.get("description", "")).split()).replace("|", "\\|")
    return f"| `{path}` | {_type(schema)} | {default} | {text} |\n"


def _code(value):
    text = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
    return f"`{text}`"


def _type(schema):
    if "const" in schema:
        return _code(schema["const"])
    if "enum" in schema:
        return " \\| ".join(_code(value) for value in schema["enum"])
    kinds = schema.get("type")
    if kinds is None:
        options = [option for key in ("oneOf", "anyOf") for option in schema.get(key, ())]
        return " or ".join(_type(option) for option in options if option.get("type") != "null") or "any"
    kinds = kinds if isinstance(kinds, list) else [kinds]
    flat = []
    for kind in kinds:
        for one in kind if isinstance(kind, list) else [kind]:
            if one and one != "null" and one not in flat:
                flat.append(one)
    return " or ".join(flat) or "any"
