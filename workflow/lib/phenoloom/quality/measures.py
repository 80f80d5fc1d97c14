"""Quality measures of images: one image, or all images of a plate in a pool of threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.images import ImageError, read_image, unit_scale
from phenoloom.quality.focus import focus_scores, power_log_log_slope
from phenoloom.quality.intensity import intensity_measures

PREFIX = "Quality_"

#: Names of the measures in the order of the columns, without the prefix.
MEASURES = (
    "PowerLogLogSlope",
    "FocusScore",
    "LocalFocusScore",
    "MeanIntensity",
    "StdIntensity",
    "MADIntensity",
    "MinIntensity",
    "MaxIntensity",
    "Percentile01",
    "Percentile05",
    "Percentile25",
    "Percentile50",
    "Percentile75",
    "Percentile95",
    "Percentile99",
    "PercentMaximal",
    "PercentSaturated",
    "Background",
    "BackgroundNoise",
    "ForegroundShare",
)

#: Flags that the pixels themselves raise.
UNREADABLE, NOT_FINITE, CONSTANT = "unreadable", "not_finite", "constant"


def measure_image(image):
    """All MEASURES of a 2-D image (own dtype), intensities in CellProfiler's unit scale: name -> float.

    Raises ImageError when a pixel is NaN or infinite.
    """
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ImageError("the image holds NaN or infinite pixels; export it again")
    unit = unit_scale(image.dtype)
    overall, local = focus_scores(image, unit)
    found = {
        "PowerLogLogSlope": power_log_log_slope(image),
        "FocusScore": overall,
        "LocalFocusScore": local,
        **intensity_measures(image, unit),
    }
    return {name: found[name] for name in MEASURES}


def measure_plate(index, ledger, threads=1):
    """One row per image of `index` (DataFrame of index rows): Metadata_*, Quality_* (float32) and Metadata_Flags.

    Images that cannot be read or hold NaN get NaN measures, the flag `unreadable` or `not_finite` and a ledger row;
    images of a single value get the flag `constant`. One image per thread is in memory at a time.
    Raises InputError when the index is empty.
    """
    rows = list(index.itertuples(index=False))
    if not rows:
        raise InputError("the index of this plate holds no image; check the study's plates table and image names")
    with ThreadPoolExecutor(max(1, threads)) as pool:
        results = list(pool.map(_measure, rows))
    measures = np.full((len(rows), len(MEASURES)), np.nan, np.float32)
    flags = []
    for number, (row, (found, flag, reason)) in enumerate(zip(rows, results, strict=True)):
        if found is not None:
            measures[number] = [found[name] for name in MEASURES]
        if flag in (UNREADABLE, NOT_FINITE):
            ledger.add(reason, well=row.well, site=row.site, channel=row.channel)
        flags.append(flag)
    frame = pd.DataFrame(
        {
            "Metadata_Batch": [row.batch for row in rows],
            "Metadata_Plate": [row.plate for row in rows],
            "Metadata_Well": [row.well for row in rows],
            "Metadata_Site": np.array([row.site for row in rows], np.int32),
            "Metadata_Channel": [row.channel for row in rows],
        }
    )
    for name, column in zip(MEASURES, measures.T, strict=True):
        frame[PREFIX + name] = column
    frame["Metadata_Flags"] = flags
    return frame


def _measure(row):
    """(measures or None, flag or "", reason) of one index row."""
    try:
        image = read_image(row)
    except ImageError as error:
        return None, UNREADABLE, str(error)
    try:
        found = measure_image(image)
    except ImageError:
        return None, NOT_FINITE, f"{row.path} holds NaN or infinite pixels; export it again"
    return found, CONSTANT if found["MinIntensity"] == found["MaxIntensity"] else "", ""
