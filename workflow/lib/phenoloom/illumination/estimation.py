"""One illumination function of a plate and channel, from the index of its images."""

import logging

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.illumination.averaging import majority_format, mean_image
from phenoloom.illumination.resampling import resize, smaller_shape
from phenoloom.illumination.smoothing import filter_width, raise_to_one, smooth_gaussian, smooth_median

log = logging.getLogger("phenoloom")


def without_excluded(index, sites):
    """Rows of `index` but for sites that quality control left out (Metadata_Excluded in its sites table).

    An overexposed site outweighs all others in a mean. Raises InputError when nothing is left of the plate.
    """
    excluded = sites[sites["Metadata_Excluded"].astype(bool)]
    keys = set(
        zip(excluded["Metadata_Plate"], excluded["Metadata_Well"], excluded["Metadata_Site"].astype(int), strict=True)
    )
    rows = zip(index["plate"], index["well"], index["site"].astype(int), strict=True)
    kept = index[[row not in keys for row in rows]]
    if len(index) and kept.empty:
        raise InputError(
            f"quality control left out all {len(excluded)} sites of plate {index['plate'].iloc[0]!r}; see its ledger "
            "or set the dataset's quality: exclude to none"
        )
    log.info("%d of %d images are of sites that quality control kept", len(kept), len(index))
    return kept


def estimate(index, ledger, method="median", downsample=4, filter_by="manual", filter_size=20, rescale=True, threads=1):
    """Illumination function (height, width) float32 of one plate and channel; images are to be divided by it.

    index: DataFrame of index rows of one plate and channel. The steps are those of JUMP's CellProfiler pipeline:
    Resize by 1 / `downsample`, CorrectIlluminationCalculate (Regular, All: Across cycles, median or Gaussian filter
    of `filter_by` and `filter_size`, in pixels of the smaller image), Resize back. method "none" gives ones.
    The size that most images have wins; other images, and those that cannot be read, go to the ledger.
    Raises InputError when there is no usable image.
    """
    rows = list(index.itertuples(index=False))
    if not rows:
        raise InputError("the index holds no image of this plate and channel; check the study's channel names")
    shape, _ = majority_format(rows)
    if method == "none":
        return np.ones(shape, np.float32)
    mean, count = mean_image(rows, shape, ledger, threads)
    log.info("mean of %d of %d images of %dx%d pixels", count, len(rows), shape[1], shape[0])
    function = from_mean(mean, method, downsample, filter_by, filter_size, rescale)
    if not (function > 0).any():
        ledger.add(
            f"all {count} images of channel {rows[0].channel!r} of plate {rows[0].plate!r} are black; "
            "its illumination function is flat",
            severity="flagged",
            unit="plate",
        )
        return np.ones(shape, np.float32)
    # without rescaling a function may touch 0, and images are divided by it
    return np.maximum(function, function[function > 0].min()).astype(np.float32)


def from_mean(mean, method="median", downsample=4, filter_by="manual", filter_size=20, rescale=True):
    """Illumination function (float64, shape of `mean`) from the mean image in CellProfiler's unit scale."""
    small = resize(mean, smaller_shape(mean.shape, downsample))
    width = filter_width(small.shape, filter_by, filter_size)
    if method == "median":
        smooth = smooth_median(small, width)
    elif method == "gaussian":
        smooth = smooth_gaussian(small, width)
    else:
        raise InputError(f"the illumination method is median, gaussian or none, not {method!r}")
    return resize(raise_to_one(smooth) if rescale else smooth, mean.shape)
