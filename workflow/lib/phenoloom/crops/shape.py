"""Shape of the mask, and how the signal is spread inside it."""

import numpy as np

from phenoloom.crops.moments import central_moments, hu_moments, principal_variances, raw_moments

#: Length that a border pixel adds by its neighbours on the border: (10 per diagonal, 2 per direct one, 1 itself).
#: Source: Benkrid and Crookes 2000, "Design and FPGA implementation of a perimeter estimator".
STEPS = np.zeros(50)
STEPS[[5, 7, 15, 17, 25, 27]] = 1
STEPS[[21, 33]] = np.sqrt(2)
STEPS[[13, 23]] = (1 + np.sqrt(2)) / 2


def shape_features(mask, rows, columns):
    """name -> (n,) of masks (n, H, W) bool, in pixels; all but Area NaN where the mask is empty.

    Lengths of axes and Eccentricity (0 round, 1 a line) are of the ellipse with the mask's second moments, as
    scikit-image's regionprops and CellProfiler have them. FormFactor is 4 pi Area / Perimeter^2. Of a single pixel both
    Eccentricity and FormFactor are NaN.
    """
    central, _ = central_moments(raw_moments(mask, rows, columns))
    area = central[:, 0, 0]
    major, minor = principal_variances(central).T
    length = perimeters(mask)
    box = np.prod([_extent(mask.any(axis=axis)) for axis in (1, 2)], axis=0)
    empty = area == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "AreaShape_Perimeter": length,
            "AreaShape_FormFactor": np.where(length > 0, 4 * np.pi * area / np.square(length), np.nan),
            "AreaShape_MajorAxisLength": 4 * np.sqrt(major),
            "AreaShape_MinorAxisLength": 4 * np.sqrt(minor),
            "AreaShape_Eccentricity": np.sqrt(1 - minor / major),
            "AreaShape_EquivalentDiameter": np.sqrt(4 * area / np.pi),
            "AreaShape_BoundingBoxArea": box,
            "AreaShape_Extent": area / box,
            "AreaShape_EulerNumber": euler_numbers(mask),
            **{f"AreaShape_HuMoment_{k}": value for k, value in enumerate(hu_moments(central).T)},
        }
    return {"AreaShape_Area": area, **{name: np.where(empty, np.nan, value) for name, value in found.items()}}


def perimeters(mask):
    """(n,) perimeter of masks (n, H, W), as scikit-image's `perimeter` with 4 neighbours; canvas borders count."""
    padded = np.pad(mask, ((0, 0), (2, 2), (2, 2)))
    inner = padded[:, 1:-1, 1:-1]
    inside = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    border = (inner & ~inside).astype(np.uint8)
    beside = border[:, :, :-2] + border[:, :, 2:]
    code = 10 * (beside[:, :-2] + beside[:, 2:]) + 2 * beside[:, 1:-1] + border[:, 1:-1, 1:-1]
    code += 2 * (border[:, :-2, 1:-1] + border[:, 2:, 1:-1])
    found = np.flatnonzero(border[:, 1:-1, 1:-1])
    return np.bincount(found // mask[0].size, weights=STEPS[code.ravel()[found]], minlength=len(mask))


def euler_numbers(mask):
    """(n,) parts less holes of masks (n, H, W), 8 neighbours, counted from windows of 2 x 2 pixels.

    Source: Gray 1971, doi:10.1109/T-C.1971.223289.
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    a, b, c, d = padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:]
    pixels = a.view(np.uint8) + b.view(np.uint8) + c.view(np.uint8) + d.view(np.uint8)
    single, three = ((pixels == k).sum(axis=(1, 2)) for k in (1, 3))
    diagonal = ((pixels == 2) & (a == d)).sum(axis=(1, 2))
    return (single - three - 2 * diagonal) / 4


def _extent(present):
    """(n,) distance from the first to the last True of rows (n, k), inclusive; 0 where there is none."""
    width = present.shape[1] - present.argmax(axis=1) - present[:, ::-1].argmax(axis=1)
    return np.where(present.any(axis=1), width, 0)


def distribution_features(weights, mask, rows, columns):
    """(name -> (n,), centroid (n, 2)) of the signal `weights` (n, H, W), which are at least 0 and 0 outside the mask.

    RadialMoment_RadialMoment is the mean square distance of the signal from its centroid, in squared pixels;
    RadialMoment_Eccentricity 1 - (variance along the minor axis) / (along the major axis), 0 for a round signal. Both
    are those of image-enabled cell sorting (Schraivogel et al. 2022, doi:10.1126/science.abj3013).
    Intensity_MassDisplacement is the distance of the signal's centroid from the mask's. Hu moments are those of the
    signal divided by its mean inside the mask, so that brightness does not change them. NaN where there is no signal;
    the eccentricity also where the signal is a single point.
    """
    raw = raw_moments(weights, rows, columns)
    area = np.count_nonzero(mask, axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = raw * (area / raw[:, 0, 0])[:, None, None]
    central, centroid = central_moments(relative)
    middle = np.stack(
        [mask.sum(axis=2) @ np.asarray(rows, float), mask.sum(axis=1) @ np.asarray(columns, float)], axis=1
    )
    major, minor = principal_variances(central).T
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "Intensity_MassDisplacement": np.hypot(*(centroid - middle / area[:, None]).T),
            "RadialMoment_RadialMoment": major + minor,
            "RadialMoment_Eccentricity": np.where(major > 1e-9, 1 - minor / major, np.nan),
            **{f"RadialMoment_HuMoment_{k}": value for k, value in enumerate(hu_moments(central).T)},
        }
    return found, centroid
