"""Feature selection by pycytominer, one operation after the other, each dropped feature with its reason."""

import warnings
from fnmatch import fnmatchcase

import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns
from phenoloom.profiles.annotation import as_text
from phenoloom.profiles.kinds import measured
from phenoloom.profiles.queries import select

#: What each operation of pycytominer.feature_select drops.
REASONS = {
    "variance_threshold": "variance below {min_variance:g}",
    "frequency_threshold": "few different values (freq_cut {freq_cut:g}, unique_cut {unique_cut:g})",
    "correlation_threshold": "correlation above {corr_threshold:g} ({corr_method}) with a feature that is kept",
    "drop_na_columns": "missing in more than {na_cutoff:.0%} of the wells",
    "drop_outliers": "a value beyond {outlier_cutoff:g}",
    "blocklist": "on the block list",
    "noise_removal": "mean standard deviation within replicates above {noise_removal_stdev_cutoff:g}",
}

_REFERENCE = "Metadata_Is_Reference"
_REPLICATES = "Metadata_Replicate_Group"


def select_features(frame, options, dropped, step="feature_select"):
    """Drop the features that the operations exclude; returns the frame with those that stay, in their order.

    frame: one row per well, feature columns numeric. options: operations, samples and the thresholds of
    `pycytominer.feature_select`. The same features stay as in one call of pycytominer with all operations, but for
    features that are identical to the bit: there the last in table order stays, whatever the machine's sort does.
    Raises InputError when nothing stays.
    """
    reference = select(frame, options["samples"], step)
    if not reference.any():
        raise InputError(f"step {step} finds no well with {options['samples']}; choose other samples")
    for operation in options["operations"]:
        excluded = _excluded(frame, reference, operation, options)
        if len(excluded) == len(feature_columns(frame)):
            raise InputError(
                f"step {step} ({operation}) leaves no feature of {len(excluded)} with {int(reference.sum())} wells; "
                "loosen its threshold or give more wells"
            )
        for name in excluded:
            dropped.add("feature", name, f"{step} {operation}", REASONS[operation].format(**options))
        frame = frame.drop(columns=excluded)
    return frame


def _excluded(frame, reference, operation, options):
    """Features that one operation excludes, in table order. A block list excludes a feature's dispersion with it."""
    from pycytominer import feature_select

    features = feature_columns(frame)
    if operation == "blocklist":
        return _blocked(features, options["blocklist"])
    extra = {_REFERENCE: reference}
    if operation == "noise_removal":
        keys = [as_text(frame[f"Metadata_{name}"]) for name in options["noise_removal_by"]]
        extra[_REPLICATES] = ["\x1f".join(key) for key in zip(*keys, strict=True)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            kept = feature_select(
                frame.assign(**extra),
                features=features,
                samples=_REFERENCE,
                operation=[operation],
                na_cutoff=options["na_cutoff"],
                corr_threshold=options["corr_threshold"],
                corr_method=options["corr_method"],
                freq_cut=options["freq_cut"],
                unique_cut=options["unique_cut"],
                min_variance=options["min_variance"],
                outlier_cutoff=options["outlier_cutoff"],
                noise_removal_perturb_groups=_REPLICATES,
                noise_removal_stdev_cutoff=options["noise_removal_stdev_cutoff"],
            )
    except ValueError as error:
        if "variance threshold" in str(error):  # scikit-learn's word for "no feature varies"
            return features
        raise
    excluded = set(features) - set(kept.columns)
    if operation == "correlation_threshold":
        excluded = _last_of_identical(frame.loc[reference, features], excluded)
    return [name for name in features if name in excluded]


def _blocked(features, patterns):
    """Features that patterns name, or pycytominer's own list where there are none, and their dispersions."""
    from pycytominer import feature_select

    names = list(dict.fromkeys(map(measured, features)))
    if patterns is None:
        kept = feature_select(pd.DataFrame(0.0, index=[0], columns=names), features=names, operation=["blocklist"])
        blocked = set(names) - set(kept.columns)
    else:
        blocked = {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
    return [name for name in features if measured(name) in blocked]


def _last_of_identical(values, excluded):
    """Among features identical to the bit, exchange the one that was kept for the last in table order.

    Their correlation sums tie, and which one an unstable sort puts first depends on the processor.
    """
    groups = {}
    for name in values.columns:
        groups.setdefault(values[name].to_numpy().tobytes(), []).append(name)
    excluded = set(excluded)
    for names in groups.values():
        kept = [name for name in names if name not in excluded]
        if len(names) > 1 and len(kept) == 1:
            excluded = (excluded | set(names)) - {names[-1]}
    return excluded
