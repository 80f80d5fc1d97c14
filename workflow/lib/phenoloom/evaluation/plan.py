"""Which evaluation is run on which profile, and which of these are compared, by patterns of the config."""

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
                raise InputError(_no_match(f"{evaluation}.of", pattern, names))
            chosen.update(matching)
        found.extend((evaluation, *parts) for name, parts in names.items() if name in chosen)
    return found


def snapshot_name(model, epoch):
    """Name of the representation that a model gives after an epoch."""
    return f"{model}-epoch{epoch:04d}"


def learned(models, dataset):
    """Names of the representations that models of a dataset make: the model's own, and one per snapshot.

    models: the config's `models` block.
    """
    return [
        name
        for model, block in models.items()
        if block["dataset"] == dataset
        for name in (model, *(snapshot_name(model, epoch) for epoch in block.get("snapshots", [])))
    ]


def chains_of(dataset, representation, chains, limited):
    """Names of the chains that a representation goes through. limited: the config's `profiles_of` block."""
    return [
        name
        for name in chains
        if name not in limited or any(fits(dataset, representation, pattern) for pattern in limited[name])
    ]


def fits(dataset, representation, pattern):
    """Whether a representation is one that a pattern names: `cellprofiler`, `dino*` or `plates1/cellprofiler`.

    >>> fits("plates1", "dino-epoch0004", "dino*"), fits("plates1", "dino", "plates2/*")
    (True, False)
    """
    wanted = pattern.split("/") if "/" in pattern else ["*", pattern]
    return len(wanted) == 2 and fnmatchcase(dataset, wanted[0]) and fnmatchcase(representation, wanted[1])


def needs_features(options):
    """Whether an evaluation measures features, which a profile that is a similarity between wells has not."""
    metric, method = options.get("metric"), options.get("method")
    return metric in ("control_separation", "dose_response") or (metric, method) == ("activity", "energy")


def comparisons(evaluations, combinations):
    """Pairs of profiles whose scores are compared unit by unit, in the order of `combinations`.

    evaluations: as in `combinations`; an evaluation with the key `against` is compared: its patterns choose the
    references among the profiles it runs on, none of them the first profile of each dataset. combinations: what
    `combinations` gave. Returns (evaluation, dataset, (representation, profile), (representation, profile)) tuples, the
    reference last; two references are compared once.
    Raises InputError when a pattern matches nothing, naming the nearest profile.

    >>> runs = [("nsc", "plates1", "cellprofiler", "default"), ("nsc", "plates1", "dino", "tvn")]
    >>> comparisons({"nsc": {"against": []}}, runs)
    [('nsc', 'plates1', ('dino', 'tvn'), ('cellprofiler', 'default'))]
    """
    found = []
    for evaluation, options in evaluations.items():
        if "against" not in options:
            continue
        names = {"/".join(parts): tuple(parts) for name, *parts in combinations if name == evaluation}
        patterns = options["against"]
        for pattern in patterns:
            if not any(_matches(name, pattern) for name in names):
                raise InputError(_no_match(f"{evaluation}.against", pattern, names))
        for dataset in dict.fromkeys(parts[0] for parts in names.values()):
            own = {name: parts[1:] for name, parts in names.items() if parts[0] == dataset}
            chosen = [name for name in own if any(_matches(name, pattern) for pattern in patterns)]
            references = chosen if patterns else list(own)[:1]
            order = references + [name for name in own if name not in references]
            found.extend(
                (evaluation, dataset, own[name], own[reference])
                for reference in references
                for name in order[order.index(reference) + 1 :]
            )
    return found


def _matches(name, pattern):
    if pattern.count("/") == 1:
        pattern = f"*/{pattern}"
    parts = list(zip(name.split("/"), pattern.split("/"), strict=False))
    return pattern.count("/") == 2 and all(fnmatchcase(part, wanted) for part, wanted in parts)


def _no_match(place, pattern, names):
    near = difflib.get_close_matches(pattern if pattern.count("/") == 2 else f"*/{pattern}", names, 1, 0.3)
    hint = f"did you mean {near[0]!r}?" if near else f"the profiles are {', '.join(sorted(names)) or 'none'}"
    return f"evaluation.{place}: {pattern!r} matches no dataset/representation/profile; {hint}"
