"""Normalisation of features against reference units, with pycytominer's scalers and one of ours."""

import warnings

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns, metadata_columns
from phenoloom.profiles.queries import select

#: Metadata that makes two wells belong to one group of `by`.
GROUPS = {"plate": ["Metadata_Plate"], "batch": ["Metadata_Batch"], "dataset": []}

_REFERENCE = "Metadata_Is_Reference"


def normalize_wells(frame, options, ledger, dropped, step="normalize"):
    """Normalise the features of wells, each group of `by` on its own, by `pycytominer.normalize` or a scaler of ours.

    frame: one row per well. options: method, samples, by, minimum_samples, mad_epsilon, spherize_method,
    spherize_center, spherize_epsilon. A group with fewer reference wells than `minimum_samples` is lost: its wells go
    to the ledger and to `dropped`. Raises InputError when that is so for all groups or when spherize cannot be fitted.
    """
    reference = select(frame, options["samples"], step)
    columns = GROUPS[options["by"]]
    parts, lost = [], 0
    for name, rows in _groups(frame, columns):
        enough = int(reference[rows].sum()) >= options["minimum_samples"]
        if not enough:
            lost += 1
            _lose(frame.iloc[rows], name, int(reference[rows].sum()), options, ledger, dropped, step)
            continue
        tell = _tell_span if options["method"] == "spherize" else _tell_constant
        tell(frame.iloc[rows], reference[rows], name, options, ledger, step)
        parts.append(_normalize_group(frame.iloc[rows], reference[rows], name, options, step))
    if not parts:
        raise InputError(
            f"step {step} finds no well with {options['samples']} on any {options['by']} "
            f"(at least {options['minimum_samples']} per {options['by']} are needed); "
            "mark the controls in the plate map or normalise with samples: all"
        )
    return pd.concat(parts).sort_index()


def scaler(options):
    """A new, unfitted scaler that treats each feature by itself: any method but spherize."""
    from pycytominer.operations import RobustMAD
    from sklearn.preprocessing import RobustScaler, StandardScaler

    if options["method"] == "standardize":
        return StandardScaler()
    if options["method"] == "robustize":
        return RobustScaler()
    if options["method"] == "mad_robustize":
        return RobustMAD(epsilon=options["mad_epsilon"])
    if options["method"] == "mean_absolute_deviation":
        return MeanAbsoluteDeviation()
    raise ValueError(f"{options['method']} does not treat each feature by itself")


class MeanAbsoluteDeviation:
    """(x - median) / mean absolute deviation from the median, features in columns, missing values skipped.

    Without any deviation a feature is centred and not scaled, as by scikit-learn's scalers.
    """

    def fit(self, values):
        """values: DataFrame (n, d). Returns self."""
        self.median = values.median()
        deviation = (values - self.median).abs().mean()
        self.deviation = deviation.where(deviation > 0, 1.0)
        return self

    def transform(self, values):
        """Scaled values, DataFrame (m, d)."""
        return (values - self.median) / self.deviation


def scale_block(values, reference, groups, options):
    """Normalise a block of features of many cells, each group on its own.

    values: (features, n) float64. reference: bool (n,). groups: list of integer arrays of positions (a partition of
    the rows that matter; other rows are returned as they are). Returns a new (features, n) array.
    """
    scaled = values.copy()
    for rows in groups:
        block = pd.DataFrame(values[:, rows].T)
        with warnings.catch_warnings():  # a feature without any value warns, and is counted elsewhere
            warnings.simplefilter("ignore", RuntimeWarning)
            fitted = scaler(options).fit(block[reference[rows]])
            scaled[:, rows] = np.asarray(fitted.transform(block)).T
    return scaled


def _groups(frame, columns):
    """(name, positions) of the groups of rows, sorted by name."""
    if not columns:
        return [("all wells", np.arange(len(frame)))]
    groups = frame.groupby(columns, sort=True, dropna=False).indices
    return [(f"{columns[0].removeprefix('Metadata_').lower()} {name}", rows) for name, rows in groups.items()]


def _normalize_group(frame, reference, name, options, step):
    from pycytominer import normalize

    features = feature_columns(frame)
    metadata = metadata_columns(frame.columns)
    if options["method"] == "spherize":
        _check_spherize(frame.loc[:, features], reference, name, step)
    if options["method"] == "mean_absolute_deviation":  # which pycytominer has not
        fitted = scaler(options).fit(frame.loc[reference, features])
        return pd.concat([frame[metadata], fitted.transform(frame[features])], axis="columns")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            scaled = normalize(
                frame.assign(**{_REFERENCE: reference}),
                features=features,
                meta_features=metadata,
                samples=_REFERENCE,
                method=options["method"],
                mad_robustize_epsilon=options["mad_epsilon"],
                spherize_center=options["spherize_center"],
                spherize_method=options["spherize_method"],
                spherize_epsilon=options["spherize_epsilon"],
            )
    except (ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"step {step} ({options['method']}) cannot be fitted on {name}: {error}") from error
    return scaled


def _check_spherize(features, reference, name, step):
    """Say in one sentence what keeps a whitening from being fitted."""
    incomplete = features.columns[features.isna().any()]
    if len(incomplete):
        raise InputError(
            f"step {step} (spherize) needs complete features but {len(incomplete)} have missing values on {name}, "
            f"{incomplete[0]} among them; put feature_select with drop_na_columns and na_cutoff 0 before it"
        )
    if reference.sum() < 2:
        raise InputError(
            f"step {step} (spherize) needs at least 2 reference wells but {name} has {int(reference.sum())}; "
            "normalise by batch or dataset, or choose more samples"
        )
    constant = features.columns[(features[reference].max() == features[reference].min())]
    if len(constant):
        raise InputError(
            f"step {step} (spherize) needs features that vary but {len(constant)} are constant among the reference "
            f"wells of {name}, {constant[0]} among them; put feature_select with variance_threshold and the same "
            "samples before it"
        )


def _tell_span(frame, reference, name, options, ledger, step):
    """Flag a whitening by fewer reference wells than features, which flattens the directions that they do not span."""
    most, features = int(reference.sum()) - 1, feature_columns(frame)
    if 0 < most < len(features):
        ledger.add(
            f"step {step} (spherize): {most + 1} reference wells of {name} span at most {most} of {len(features)} "
            "dimensions; nothing is left of the others, as in pycytominer",
            severity="flagged",
            unit="feature",
            count=len(features) - most,
            **({"plate": frame["Metadata_Plate"].iloc[0]} if options["by"] == "plate" else {}),
        )


def _tell_constant(frame, reference, name, options, ledger, step):
    """Flag the features without spread among the reference wells, which each method treats in its own way."""
    values = frame.loc[reference, feature_columns(frame)]
    if options["method"] == "mad_robustize":
        spread = (values - values.median()).abs().median()
        word, treated = "median absolute deviation", f"0 or huge (divided by {options['mad_epsilon']:g})"
    elif options["method"] == "robustize":
        spread = values.quantile(0.75) - values.quantile(0.25)
        word, treated = "interquartile range", "centred but not scaled"
    else:  # the range is 0 where the standard deviation or the mean absolute deviation is
        spread = values.max() - values.min()
        word, treated = "range", "centred but not scaled"
    constant = list(spread.index[spread == 0])
    if constant:
        alike = "" if options["method"] == "mean_absolute_deviation" else ", as pycytominer does"
        ledger.add(
            f"{len(constant)} features have a {word} of 0 among the {int(reference.sum())} reference wells of {name}, "
            f"{constant[0]} among them: step {step} leaves them {treated}{alike}",
            severity="flagged",
            unit="feature",
            count=len(constant),
            **({"plate": frame["Metadata_Plate"].iloc[0]} if options["by"] == "plate" else {}),
        )


def _lose(frame, name, found, options, ledger, dropped, step):
    reason = (
        f"{name} has {found} wells with {options['samples']} where step {step} needs at least "
        f"{options['minimum_samples']}; its {len(frame)} wells are left out"
    )
    for plate, wells in frame.groupby("Metadata_Plate", sort=True):
        ledger.add(reason, unit="well", count=len(wells), plate=plate)
        for well in wells["Metadata_Well"]:
            dropped.add("well", well, step, "too few reference wells to normalise against", plate)
