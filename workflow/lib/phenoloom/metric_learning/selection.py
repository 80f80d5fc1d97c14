"""Which features of training cells carry information: complete, varying, not copies of others."""

from fnmatch import fnmatchcase

import numpy as np

#: A spread below this share of the largest value is rounding of single precision.
ROUNDING = 1e-6


def dropped_features(values, names, exclude, missing_share, correlation):
    """Reasons (d,) why features are left out, '' for those that stay.

    values: (n, d) training cells. exclude: shell patterns of names. missing_share: a feature may lack at most this
    share of the cells (infinite counts as missing). correlation: among features whose |Pearson r| is above it the
    first in the table stays; None: no such rule. Features without spread go in any case.
    """
    finite = np.isfinite(values)
    reasons = np.full(len(names), "", dtype=object)
    reasons[[any(fnmatchcase(name, pattern) for pattern in exclude) for name in names]] = "excluded by name"
    missing = 1 - finite.mean(axis=0)
    _because(reasons, missing > missing_share, f"missing in more than {missing_share:.0%} of the training cells")
    _because(reasons, missing == 1, "no value in any training cell")
    low = np.where(finite, values, np.inf).min(axis=0)
    high = np.where(finite, values, -np.inf).max(axis=0)
    _because(reasons, ~(high - low > ROUNDING * np.maximum(abs(low), abs(high))), "constant in the training cells")
    kept = np.flatnonzero(reasons == "")
    if correlation is not None and len(kept):
        copies = _copies(values[:, kept], finite[:, kept], correlation)
        reasons[kept[copies]] = f"correlation above {correlation:g} with a feature that stays"
    return reasons


def _because(reasons, where, reason):
    reasons[where & (reasons == "")] = reason


def _copies(values, finite, threshold):
    """Mask (d,) of features that correlate with an earlier one that stays; missing values count as the mean."""
    mean = np.where(finite, values, 0).sum(axis=0) / finite.sum(axis=0)
    centred = np.where(finite, values - mean, 0)
    centred /= np.linalg.norm(centred, axis=0)
    alike = np.abs(centred.T @ centred) > threshold
    copies = np.zeros(values.shape[1], dtype=bool)
    for place in range(values.shape[1]):
        copies[place] = alike[place, :place][~copies[:place]].any()
    return copies
