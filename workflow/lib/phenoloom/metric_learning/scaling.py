"""Scaling of features, fitted on training cells, all together or each group (dataset, batch) by itself."""

import warnings

import numpy as np
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from phenoloom.core.errors import InputError


def fit_scale(values, groups, method):
    """(names, centre, spread): per group and feature, what is taken off and what it is then divided by.

    values: (n, d) training cells, NaN is passed over. groups: (n,) text. centre, spread: (g, d) float64. standard: mean
    and standard deviation; robust: median and interquartile range; minmax: minimum and range; none: 0 and 1. A feature
    without spread is centred but not divided.
    """
    names = np.unique(groups.astype(str))
    centre, spread = np.zeros((len(names), values.shape[1])), np.ones((len(names), values.shape[1]))
    if method != "none":
        for place, name in enumerate(names):
            centre[place], spread[place] = _fitted(values[groups == name], method)
    return names, centre, spread


def _fitted(values, method):
    with warnings.catch_warnings():  # a feature without any value warns; `select` drops and counts it
        warnings.simplefilter("ignore", RuntimeWarning)
        if method == "standard":
            scaler = StandardScaler().fit(values)
            return scaler.mean_, scaler.scale_
        if method == "robust":
            scaler = RobustScaler().fit(values)
            return scaler.center_, scaler.scale_
        scaler = MinMaxScaler().fit(values)
        return scaler.data_min_, 1 / scaler.scale_


def scaled(values, groups, by, names, centre, spread):
    """Values (n, d) with each row's group scaled. Raises InputError for a group that no training cell has."""
    known = np.isin(groups, names)
    if not known.all():
        raise InputError(
            f"scale goes by {by}, but no training cell has {by} {groups[~known][0]!r}: there is nothing to scale it "
            "by; set by to null or hold out something else"
        )
    place = np.searchsorted(names, groups.astype(str))
    return (values - centre[place]) / spread[place]
