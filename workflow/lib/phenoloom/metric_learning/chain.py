"""Steps of a cell profile as the study's config lists them, their options and what cannot work. Imports nothing heavy:
the DAG is built with it.
"""

import difflib

#: Steps and their options with the defaults, in the order in which a chain may have them (select and scale may change
#: places). `metric` has further options by method.
STEPS = {
    "permute": {"column": "Label", "within": []},
    "split": {
        "hold_out": "none",
        "share": 0.3,
        "groups": [],
        "stratify": "Label",
        "max_cells": 100_000,
    },
    "select": {"exclude": [], "missing_share": 0.05, "correlation": None},
    "scale": {"method": "standard", "by": None},
    "pca": {"n": 50, "whiten": False},
    "metric": {"method": "nca", "label": "Label", "n": None, "max_cells": None},
}

#: Options of each method of `metric` with their defaults; max_cells: on how many cells it is fitted at most.
METHODS = {
    "none": {"max_cells": None},
    "nca": {
        "max_cells": 100_000,
        "solver": "auto",
        "max_iter": 50,
        "steps": 300,
        "batch_size": 512,
        "references": 8192,
        "learning_rate": 0.05,
    },
    "lmnn": {"max_cells": 4_000, "neighbours": 3, "push": 0.5, "max_iter": 200},
    "mlkr": {"max_cells": 4_000, "max_iter": 100},
    "lfda": {"max_cells": 10_000, "neighbours": 7},
}

SCALES = ("standard", "robust", "minmax", "none")

_PLACE = {"permute": 0, "split": 1, "select": 2, "scale": 2, "pca": 3, "metric": 4}

_COUNTS = ("max_iter", "steps", "batch_size", "references", "neighbours", "max_cells", "n")


def parse(steps):
    """[(name, options), ...] with complete options, of a list of single-key maps such as [{"pca": {"n": 20}}].

    A chain without `split` fits on all cells; one without `select` leaves out features with missing values as its
    default does. Options of `metric` that are None take the method's default. Raises ValueError with the first of
    `problems`.
    """
    found = problems(steps)
    if found:
        raise ValueError(found[0])
    given = [(name, dict(options or {})) for step in steps for name, options in step.items()]
    names = [name for name, _ in given]
    if "split" not in names:
        given.insert(names.count("permute"), ("split", {}))
    if "select" not in names:
        given.insert(names.count("permute") + 1, ("select", {}))
    return [(name, _complete(name, options)) for name, options in given]


def problems(steps):
    """Sentences about what cannot work in a chain; none for one that can."""
    found = []
    for step in steps:
        if not isinstance(step, dict) or len(step) != 1:
            found.append(f"a step is a map with exactly one name, not {step!r}")
            continue
        ((name, options),) = step.items()
        if name not in STEPS:
            found.append(f"{name} is no step of a cell profile{_near(name, STEPS)}; they are {', '.join(STEPS)}")
        elif options is not None and not isinstance(options, dict):
            found.append(f"the options of step {name} are a map, not {options!r}")
        else:
            found.extend(_option_problems(name, dict(options or {})))
    names = [name for step in steps if isinstance(step, dict) for name in step if name in STEPS]
    found.extend(f"{name} stands twice; a chain has at most one" for name in STEPS if names.count(name) > 1)
    for first, second in zip(names, names[1:], strict=False):
        if _PLACE[first] > _PLACE[second]:
            found.append(f"{second} comes before {first}; the order is {', '.join(STEPS)}")
    return found


def _option_problems(name, options):
    known = dict(STEPS[name])
    if name == "metric":
        method = options.get("method", known["method"])
        if method not in METHODS:
            yield f"metric: {method!r} is no method{_near(method, METHODS)}; they are {', '.join(METHODS)}"
            return
        known |= METHODS[method]
        options = {key: value for key, value in options.items() if value is not None}
    for key in options:
        if key not in known:
            of = f"metric with method {options.get('method', 'nca')}" if name == "metric" else name
            yield f"{key} is no option of {of}{_near(key, known)}; they are {', '.join(known)}"
    for key in _COUNTS:
        value = options.get(key)
        if value is None or key not in known:
            continue
        share = name == "pca" and isinstance(value, float) and 0 < value < 1
        if not share and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            yield f"{key} of {name} is a whole number of at least 1, not {value!r}"
    yield from _value_problems(name, _filled(name, options))


def _value_problems(name, options):
    if name == "split" and not 0 < options["share"] < 1:
        yield f"share of split lies between 0 and 1, not {options['share']!r}"
    if name == "split" and options["groups"] and options["hold_out"] in ("none", "cells"):
        yield "groups of split name values of the column that hold_out names; set hold_out to that column"
    if name == "scale" and options["method"] not in SCALES:
        near = _near(options["method"], SCALES)
        yield f"scale: {options['method']!r} is no method{near}; they are {', '.join(SCALES)}"
    if name == "select" and not 0 <= options["missing_share"] <= 1:
        yield f"missing_share of select lies between 0 and 1, not {options['missing_share']!r}"
    if name == "select" and options["correlation"] is not None and not 0 < options["correlation"] <= 1:
        yield f"correlation of select lies between 0 and 1 or is null, not {options['correlation']!r}"
    if name == "metric" and not 0 < options.get("push", 0.5) < 1:
        yield f"push of metric lies between 0 and 1, not {options['push']!r}"
    if name == "metric" and options.get("solver", "auto") not in ("auto", "exact", "stochastic"):
        yield f"solver of metric is auto, exact or stochastic, not {options['solver']!r}"
    if name == "metric" and not options.get("learning_rate", 1) > 0:
        yield f"learning_rate of metric is a number above 0, not {options['learning_rate']!r}"


def _filled(name, options):
    known = STEPS[name]
    if name == "metric":
        known = known | METHODS[options.get("method", known["method"])]
    return known | options


def _complete(name, options):
    if name == "metric":
        options = {key: value for key, value in options.items() if value is not None}
    return _filled(name, options)


def _near(word, known):
    near = difflib.get_close_matches(str(word), list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
