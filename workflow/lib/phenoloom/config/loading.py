"""Read and check the config of a study: one list of everything wrong, each with its place and the nearest known key."""

import difflib
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from phenoloom.config import learned
from phenoloom.config.schema import study_schema, with_defaults
from phenoloom.core.errors import InputError
from phenoloom.cytometry.patterns import metadata_fields
from phenoloom.cytometry.samples import name_problem
from phenoloom.evaluation import plan
from phenoloom.ingest.filenames import channel_key
from phenoloom.metric_learning import chain as cell_chain
from phenoloom.models.presets import PRESETS
from phenoloom.profiles import chain

#: Blocks that only datasets of single events have.
EVENT_KEYS = ("samples", "events", "merge")


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that rejects a key given twice, which YAML would silently overwrite."""


def _mapping(loader, node, deep=False):
    own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]  # `<<`, whose keys may be overridden
    keys = [loader.construct_object(key, deep=deep) for key in own]
    doubled = sorted({str(key) for key in keys if keys.count(key) > 1})
    if doubled:
        raise InputError(f"line {node.start_mark.line + 1}: the key {', '.join(doubled)} is given twice")
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_config(path):
    """Read, check and complete a study's YAML file. Raises InputError naming the file and everything wrong with it."""
    return complete(read_yaml(path), str(path))


def read_yaml(path):
    """Content of a YAML file; a key given twice is an error, where other loaders silently keep the last."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; name the YAML file of a study, such as config/config.yaml")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except InputError as error:
        raise InputError(f"{path}, {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise InputError(f"{path}{line} is not valid YAML; check indentation and quotes") from error


def complete(config, source="the config"):
    """Check a config dict against the schema and return it with all defaults. Raises InputError listing all errors."""
    if not isinstance(config, dict) or not config:
        raise InputError(f"{source} is empty; start from config/template.yaml")
    schema = study_schema()
    problems = sorted({text for error in Draft202012Validator(schema).iter_errors(config) for text in _say(error)})
    if problems:
        raise InputError(f"{source} has {len(problems)} error(s):\n  " + "\n  ".join(problems))
    full = with_defaults(learned.with_presets(config, PRESETS), schema)
    problems = _cross_check(full)
    if problems:
        raise InputError(f"{source} has {len(problems)} error(s):\n  " + "\n  ".join(problems))
    return full


def _say(error):
    """Sentences for one schema error; those of the closest alternative where there are several."""
    place = ".".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1, 0.5)
                hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(known))}"
                yield f"{place}: unknown key '{key}'; {hint}"
        return
    if error.validator in ("oneOf", "anyOf") and error.context:
        branches = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        constants = [next((one for one in errors if one.validator == "const"), None) for errors in branches.values()]
        if all(constants) and len({tuple(one.absolute_path) for one in constants}) == 1:
            yield _none_of(constants[0], [one.validator_value for one in constants])
            return
        fitting = min(branches.values(), key=lambda errors: (_distance(errors), len(errors)))
        for inner in fitting:
            yield from _say(inner)
        return
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        yield f"{place}: missing key {', '.join(repr(key) for key in missing)}"
    elif error.validator == "enum":
        yield _none_of(error, error.validator_value)
    elif error.validator == "type":
        yield f"{place}: {error.instance!r} is not of type {error.validator_value}"
    else:
        yield f"{place}: {error.message}"


def _none_of(error, allowed):
    place = ".".join(str(part) for part in error.absolute_path) or "top level"
    near = difflib.get_close_matches(str(error.instance), [str(item) for item in allowed], 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{place}: {error.instance!r} is none of {', '.join(map(repr, allowed))}{hint}"


def _distance(errors):
    """How far an alternative is from what was written: a wrong type or constant at its top is furthest."""
    return max(
        10 - len(error.path) if error.validator in ("type", "const") else len(error.path) == 0 for error in errors
    )


def _cross_check(config):
    """What the schema cannot say: references between blocks."""
    problems = []
    for name, dataset in config["datasets"].items():
        place = f"datasets.{name}"
        if dataset["assay"] == "cytometry":
            problems += [f"{place}: {text}" for text in _cytometry_problems(name, dataset, config["datasets"])]
            continue
        problems += [f"{place}: {key} is for the assay cytometry" for key in EVENT_KEYS if dataset.get(key)]
        if dataset["features"].get("classical") is not None:
            problems.append(f"{place}: features.classical is for the assay cytometry")
        sources = [key for key in ("plates", "simulate") if dataset.get(key)]
        if len(sources) > 1:
            problems.append(f"{place}: give either 'plates' or 'simulate', not both")
        if not sources and not dataset.get("representations"):
            problems.append(f"{place}: give 'plates' (images), 'simulate' or 'representations' (tables that exist)")
        if sources and not dataset.get("channels"):
            problems.append(f"{place}: missing key 'channels'")
        if dataset.get("plates") and not dataset.get("images"):
            problems.append(f"{place}: missing key 'images' (the format of the file names)")
        if dataset.get("exclude_plates") and not sources:
            problems.append(f"{place}: exclude_plates is for plates with images; tables are filtered by a chain")
        if dataset["illumination"]["functions"]:
            problems += [f"{place}.illumination.{text}" for text in _frozen_problems(dataset)]
        if "cellprofiler" in dataset.get("representations", {}):
            problems.append(f"{place}.representations: the name 'cellprofiler' is taken; choose another")
    for name, steps in config["profiles"].items():
        found = {text: None for level in _levels(config, name) for text in chain.problems(steps, level)}
        problems += [f"profiles.{name}: {text}" for text in found]
    for name in config["profiles_of"]:
        if name not in config["profiles"] and name not in config["cell_profiles"]:
            known = ", ".join([*config["profiles"], *config["cell_profiles"]]) or "none"
            problems.append(f"profiles_of: there is no profile {name!r}; they are {known}")
    problems += learned.problems(config)
    for name, steps in config["cell_profiles"].items():
        problems += [f"cell_profiles.{name}: {text}" for text in cell_chain.problems(steps)]
    shown = config["report"]["cells"]["clusters_of"]
    if shown is not None and shown not in config["cell_profiles"]:
        known = ", ".join(config["cell_profiles"]) or "none"
        problems.append(f"report.cells.clusters_of: there is no cell profile {shown!r}; they are {known}")
    return problems


def _cytometry_problems(name, dataset, datasets):
    """What is wrong with a dataset of single events, or one put together from such."""
    for key in ("plates", "simulate", "representations", "exclude_plates", "platemap_columns"):
        if dataset.get(key):
            yield f"{key} is for the assay plate"
    if dataset["features"].get("cellprofiler"):
        yield "features.cellprofiler is for the assay plate; classical features are those of single events"
    if bool(dataset.get("samples")) == bool(dataset.get("merge")):
        yield "give either 'samples' (images of events) or 'merge' (datasets to put together)"
        return
    if dataset.get("merge"):
        for other in dataset["merge"]["datasets"]:
            if other == name or not datasets.get(other, {}).get("samples"):
                yield f"merge.datasets: {other!r} is no dataset with samples; they are {_with_samples(datasets)}"
            elif datasets[other]["features"].get("classical") is None:
                yield f"merge.datasets: {other!r} has no classical features; add features: {{classical: {{}}}} to it"
        for other, roles in dataset["merge"]["roles"].items():
            known = datasets.get(other, {}).get("channels") or {}
            yield from (f"merge.roles.{other}: there is no channel {one!r}" for one in roles if one not in known)
            if len(set(roles.values())) < len(roles):
                yield f"merge.roles.{other}: two channels have the same role; give each its own"
            if other not in dataset["merge"]["datasets"]:
                yield f"merge.roles: {other!r} is none of merge.datasets"
        return
    missing = [key for key in ("events", "channels") if not dataset.get(key)]
    yield from (f"missing key '{key}'" for key in missing)
    if not missing:
        yield from _event_problems(dataset["events"], dataset["channels"])
        yield from _channel_problems(dataset)


def _event_problems(events, channels):
    """What does not go together in how the images of events are found and read."""
    layout, pattern = events["format"], events["pattern"]
    try:
        fields = metadata_fields(pattern, layout)
    except InputError as error:
        fields = []
        yield str(error)
    for key, others in (("labels", {}), ("gates", events["labels"])):
        for name in events[key]:
            if problem := name_problem(name):
                yield f"events.{key}: {name!r} {problem}"
            elif name in fields or name in others:
                where = "a field of events.pattern" if name in fields else "one of events.labels"
                yield f"events.{key}: {name!r} is {where} too; take one of them out"
    if layout == "montage" and not events["grid"]:
        yield "events: the format montage needs 'grid', the rows and columns of cells in a file"
    for key, where in (("grid", "montage"), ("pages", "sorter"), ("gates", "sorter")):
        if events[key] and layout != where:
            yield f"events: '{key}' is for the format {where}"
    sources = {name: channel["source"] or name for name, channel in channels.items()}
    if layout == "crops" and "{channel}" not in pattern:
        odd = [name for name, channel in channels.items() if channel["source"] and not channel["source"].isdigit()]
        yield from (
            f"channels.{name}: source {sources[name]!r} is no page, and events.pattern has no field {{channel}}"
            for name in odd
        )
    keys = {name: channel_key(source) for name, source in sources.items()}
    if same := [name for name, key in keys.items() if list(keys.values()).count(key) > 1]:
        yield f"channels: {', '.join(same)} have the same source; give each its own"


def _channel_problems(dataset):
    """Channels that options of crops and features name, and that there are not."""
    crops, features = dataset["crops"], dataset["features"].get("classical") or {}
    channels, value = dataset["channels"], features.get("value")
    named = {
        "crops.centre_channel": [crops["centre_channel"]],
        "features.classical.mask_channel": [features.get("mask_channel")],
        "features.classical.contrast": list(features.get("contrast") or {}),
        "features.classical.value": list(value) if isinstance(value, dict) else [],
    }
    for place, names in named.items():
        for name in names:
            if name is not None and name not in channels:
                yield f"{place}: there is no channel {name!r}; they are {', '.join(channels)}"
    for place, values in (
        ("crops.background.value", crops["background"]["value"]),
        ("crops.bad.saturation", crops["bad"]["saturation"]),
    ):
        if isinstance(values, list) and len(values) != len(channels):
            yield f"{place}: {len(values)} values for {len(channels)} channels; give one number or one per channel"
        if isinstance(values, str) and values not in ("type", "none"):
            yield f"{place}: {values!r} is neither type, none nor a number"


def _with_samples(datasets):
    return ", ".join(name for name, block in datasets.items() if block.get("samples")) or "none"


def _frozen_problems(dataset):
    """What is wrong with functions that are declared instead of estimated."""
    from phenoloom.illumination import frozen  # what it brings along would slow down every job that needs none of it

    block = dataset["illumination"]
    text = frozen.pattern_problem(block["functions"], dataset.get("channels") or {})
    if text:
        yield f"functions: {text}"
    if block["method"] == "none":
        yield "functions: method none corrects nothing; take one of them out"


def _levels(config, profile):
    """Sorted levels of the representations of wells that go through a chain; of all where it is limited to none."""
    found = []
    for dataset, block in config["datasets"].items():
        found += [(dataset, name, _level(one)) for name, one in block["representations"].items()]
        if block["features"].get("cellprofiler"):
            found.append((dataset, "cellprofiler", "cells"))
    for name, block in config["models"].items():
        dataset = config["datasets"].get(block["dataset"], {})
        if not dataset.get("samples") and block["tensor"] in dataset.get("tensors", {}):
            items = dataset["tensors"][block["tensor"]]["items"]
            found.append((block["dataset"], name, "sites" if items == "fields" else "cells"))
    patterns = config["profiles_of"].get(profile, ["*"])
    return sorted({level for *named, level in found if any(plan.fits(*named, pattern) for pattern in patterns)})


def _level(block):
    return "cells" if block.get("folders") or block.get("simulate") else block["level"]
