"""Steps of a profile chain as the study's config lists them. Imports nothing heavy: the DAG is built with it."""

STEPS = ("filter", "normalize", "tvn", "aggregate", "deep_sets", "feature_select", "harmonize", "fuse", "consensus")

#: Steps that make wells of cells or sites, of which a chain has one.
AGGREGATES = ("aggregate", "deep_sets")

#: Steps that can act on cells or sites, before `aggregate`.
BEFORE = ("filter", "normalize", "tvn")


def parse(steps):
    """[(name, options), ...] of a list of single-key maps such as [{"aggregate": {"operation": "median"}}].

    Raises ValueError for a step with no name, several names or an unknown one.
    """
    parsed = []
    for step in steps:
        if len(step) != 1:
            raise ValueError(f"a step has exactly one name, not {sorted(step)}")
        ((name, options),) = step.items()
        if name not in STEPS:
            raise ValueError(f"{name} is no step; the steps are {', '.join(STEPS)}")
        parsed.append((name, dict(options or {})))
    return parsed


def before_aggregate(steps):
    """The steps up to and including the one that makes wells, as configured; none where the chain has no such step."""
    return list(steps[: _position(steps) + 1])


def after_aggregate(steps):
    """The steps after the one that makes wells, as configured; all where the chain has no such step."""
    return list(steps[_position(steps) + 1 :])


def fitted_over_plates(steps):
    """The steps up to and including a `tvn` that is fitted over several plates, as configured; else none."""
    for number, (name, options) in enumerate(parse(steps)):
        if name == "tvn" and options.get("by", "dataset") != "plate":
            return list(steps[: number + 1])
    return []


def learned(steps):
    """Options of the step that learns how to make wells of cells, None where the chain has none."""
    return next((options for name, options in parse(steps) if name == "deep_sets"), None)


def projects(steps):
    """Whether a chain projects covariances at random."""
    return any(name == "aggregate" and options.get("covariances") for name, options in parse(steps))


def fuses(steps):
    """Whether a chain ends in a similarity between wells, which has no features."""
    return any(name == "fuse" for name, _ in parse(steps))


def problems(steps, level=None):
    """Sentences about what cannot work in a chain; level: cells, sites, wells, treatments or None (any)."""
    names = [name for name, _ in parse(steps)]
    found = []
    aggregates = [name for name in names if name in AGGREGATES]
    if len(aggregates) > 1:
        found.append(
            f"{aggregates[0]} stands twice; a chain has at most one"
            if len(set(aggregates)) == 1
            else "aggregate and deep_sets both make wells; keep one of them"
        )
    if "deep_sets" in names and level not in (None, "cells"):
        found.append(f"deep_sets works on cells, and there is a representation of {level}; say profiles_of")
    if "consensus" in names and names.index("consensus") != len(names) - 1:
        found.append("consensus ends a chain; move it to the end and keep one")
    for number, (name, options) in enumerate(parse(steps)):
        if name == "tvn":
            found.extend(_problems_of_tvn(options, names, number, level))
        if name == "fuse":
            found.extend(_problems_of_fuse(parse(steps), number, level))
    if level in ("cells", "sites"):
        if not aggregates:
            found.append(f"the units are {level}, so that a step `aggregate` is needed")
        for name, options in parse(before_aggregate(steps)):
            found.extend(_problems_before(name, options))
    return found


def _problems_of_tvn(options, names, number, level):
    if names.count("tvn") > 1 and number == names.index("tvn"):
        yield "tvn stands twice; a chain has at most one"
    if level in ("wells", "treatments"):
        yield f"tvn works on sites, and there is a representation of {level}; leave the step out or the representation"
    elif set(AGGREGATES) & set(names[:number]):
        yield "tvn works on sites; move it before aggregate"
    elif "deep_sets" in names:
        yield "tvn makes sites of cells, and deep_sets works on cells; leave one of them out"
    by = options.get("by", "dataset")
    if by != "dataset" and options.get("method", "PCA") == "PCA":
        yield f"tvn by {by} gives each {by} axes of its own, which cannot be compared; add method: ZCA"


def _problems_of_fuse(steps, number, level):
    before, after = dict(steps[:number]), steps[number + 1 :]
    made = before.get("aggregate", {})
    if "deep_sets" in before:
        yield "fuse joins averages, dispersions and covariances of aggregate, and deep_sets makes none; leave one out"
    elif level in ("cells", "sites") and not (made.get("dispersion") or made.get("covariances")):
        yield "fuse joins several statistics and aggregate makes one; add dispersion or covariances to aggregate"
    for name, options in after:
        if name != "consensus":
            yield f"fuse makes a similarity of wells, which has no features; move {name} before it"
        elif options.get("operation", "mean") != "mean" or options.get("first"):
            yield "after fuse, a treatment is the mean of its wells' similarities; leave out operation and first"


def _problems_before(name, options):
    if name not in (*BEFORE, *AGGREGATES):
        yield f"{name} works on wells; move it after aggregate"
    if name == "normalize" and options.get("method") == "spherize":
        yield "spherize works on wells; move it after aggregate"
    if name == "normalize" and options.get("by", "plate") != "plate":
        yield f"before aggregate, normalize goes by plate, not by {options['by']}; move it after aggregate"


def _position(steps):
    """Index of the step that makes wells, -1 where there is none."""
    return next((number for number, step in enumerate(steps) if set(AGGREGATES) & set(step)), -1)
