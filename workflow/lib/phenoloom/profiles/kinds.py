"""Kinds of statistics of a well's cells, and what their columns are called."""

import re

CENTRE, DISPERSION, COVARIANCES = "centre", "dispersion", "covariances"

#: Ends of the names of a feature's dispersion; the average keeps the feature's own name.
ENDINGS = {"std": "__Std", "mad": "__Mad"}

#: A random projection of the covariances of all features, which is of no feature by itself.
PROJECTED = "Covariance_{:04d}"


def measured(name):
    """The feature whose statistic a column is.

    >>> measured("Cells_AreaShape_Area__Std"), measured("Cells_AreaShape_Area")
    ('Cells_AreaShape_Area', 'Cells_AreaShape_Area')
    """
    for ending in ENDINGS.values():
        name = name.removesuffix(ending)
    return name


def kind_of(name):
    """Which kind of statistic a column is.

    >>> [kind_of(name) for name in ("Cells_Area", "Cells_Area__Mad", "Covariance_0001")]
    ['centre', 'dispersion', 'covariances']
    """
    if name.endswith(tuple(ENDINGS.values())):
        return DISPERSION
    return COVARIANCES if re.fullmatch(r"Covariance_\d{4,}", name) else CENTRE
