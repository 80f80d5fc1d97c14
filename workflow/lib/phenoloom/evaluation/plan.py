"""Which evaluation is run on which profile: patterns of the config against the profiles that the study has."""

import difflib
from fnmatch import fnmatchcase

from phenoloom.core.errors import InputError


def combinations(evaluations, profiles):
    """Pairs of evaluation and profile, in the order of the config and of `profiles`.

    evaluations: the config's `evaluation` block, name -> options with an optional `of`: patterns such as
    `plates1/cellprofiler/*` (shell wildcards; a pattern of two parts leaves the dataset open); none means all.
    profiles: (dataset, representation, profile) tuples. Returns (evaluation, dataset, representation, profile) tuples.
    Raises InputError when a pattern matches nothing, naming the nearest profile.

    >>> combinations({"nsc": {"of": ["cellprofiler/*"]}}, [("plates1", "cellprofiler", "default")])
    [('nsc', 'plates1', 'cellprofiler', 'default')]
    """
    names = {"/".join(parts): parts for parts in profiles}
    found = []
    for evaluation, options in evaluations.items():
        patterns = options.get("of") or ["*/*/*"]
        chosen = set()
        for pattern in patterns:
            matching = [name for name in names if _matches(name, pattern)]
            if not matching and options.get("of"):
                raise InputError(_no_match(evaluation, pattern, names))
            chosen.update(matching)
        found.extend((evaluation, *parts) for name, parts in names.items() if name in chosen)
    return found


def fits(dataset, representation, pattern):
    """Whether a representation is one that a pattern names: `cellprofiler`, `dino*` or `plates1/cellprofiler`.

    >>> fits("plates1", "dino-epoch0004", "dino*"), fits("plates1", "dino", "plates2/*")
    (True, False)
    """
    wanted = pattern.split("/") if "/" in pattern else ["*", pattern]
    return len(wanted) == 2 and fnmatchcase(dataset, wanted[0]) and fnmatchcase(representation, wanted[1])


def _matches(name, pattern):
    if pattern.count("/") == 1:
        pattern = f"*/{pattern}"
    parts = list(zip(name.split("/"), pattern.split("/"), strict=False))
    return pattern.count("/") == 2 and all(fnmatchcase(part, wanted) for part, wanted in parts)


def _no_match(evaluation, pattern, names):
    near = difflib.get_close_matches(pattern if pattern.count("/") == 2 else f"*/{pattern}", names, 1, 0.3)
    hint = f"did you mean {near[0]!r}?" if near else f"the profiles are {', '.join(sorted(names)) or 'none'}"
    return f"evaluation.{evaluation}.of: {pattern!r} matches no dataset/representation/profile; {hint}"
