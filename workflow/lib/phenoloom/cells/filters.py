"""Per-cell filters after features: border objects, outliers within the plate, wells with too few cells; all counted."""

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.quality.flags import robust_z

_BOX = ("Minimum_X", "Minimum_Y", "Maximum_X", "Maximum_Y")


def filter_columns(options, columns):
    """Columns of the single-cell table that the filters need. Raises InputError when one does not exist."""
    needed = []
    border = options.get("border")
    if border:
        needed += [f"{border}_AreaShape_BoundingBox{part}" for part in _BOX]
    needed += list(options.get("outliers") or {})
    missing = [name for name in needed if name not in columns]
    if missing:
        raise InputError(
            f"the cell filters need {', '.join(missing)}, which the features lack; measure it in the pipeline "
            "(MeasureObjectSizeShape for borders and areas) or change cells.border and cells.outliers"
        )
    return needed


def keep_cells(cells, options, widths, heights):
    """Which cells of a plate stay: boolean array, and {reason: number of cells} of those that go.

    cells: DataFrame with Metadata_Well and the columns of `filter_columns`. widths, heights: image size in pixels of
    each cell's site. A cell counts once, for the first reason that meets it: border, outliers, few cells in the well.
    Outlier: |robust z| (see quality.flags.robust_z) above the threshold; NaN is none.
    """
    keep = np.ones(len(cells), dtype=bool)
    reasons = {}

    def drop(bad, reason):
        bad = np.asarray(bad, dtype=bool) & keep
        if bad.any():
            reasons[reason] = int(bad.sum())
        np.logical_and(keep, ~bad, out=keep)

    border = options.get("border")
    if border:
        left, top, right, bottom = (cells[f"{border}_AreaShape_BoundingBox{part}"].to_numpy() for part in _BOX)
        touches = (left <= 0) | (top <= 0) | (right >= np.asarray(widths)) | (bottom >= np.asarray(heights))
        drop(touches, f"{border} touches the border of the image")
    for feature, threshold in (options.get("outliers") or {}).items():
        scores = np.abs(robust_z(cells[feature].to_numpy(dtype=float)))
        drop(
            np.nan_to_num(scores) > threshold,
            f"{feature} is an outlier within the plate (robust z above {threshold:g})",
        )
    fewest = options.get("minimum_per_well") or 0
    if fewest:
        counts = cells["Metadata_Well"][keep].value_counts()
        number = cells["Metadata_Well"].map(counts).fillna(0).to_numpy(dtype=float)
        drop(number < fewest, f"its well has fewer than {fewest} cells")
    return keep, reasons
