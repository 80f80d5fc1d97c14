"""Events that should not be measured: empty, saturated, cut off, not finite, with a wrong number of pages."""

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.crops.background import border_pixels

#: A channel has signal when its extreme pixel is this many noise deviations from the background. Pure noise reaches 5,
#: and 8 where the instrument interpolates between pixels; real cells of three instruments start at 8.5.
EMPTY_DEVIATIONS = 8

#: An event is saturated when more than this share of a channel's pixels is at the ceiling.
SATURATED_SHARE = 0.01

#: An event is cut off when more than this share of the border is part of the object.
CUT_OFF_SHARE = 0.1


def wrong_pages(image, channels):
    """Reason why an array is no event of `channels` planes, or "" when it is one."""
    if image.ndim != 3:
        return f"the image has {image.ndim} dimensions instead of pages, rows and columns"
    if len(image) != channels:
        return f"the image has {len(image)} pages instead of {channels}"
    if image.dtype.kind not in "uif":
        return f"the pixels are {image.dtype}, which is no number"
    if not image.size:
        return "the image has no pixels"
    return ""


def ceilings(images, saturation="type"):
    """(C,) float64 pixel value at which each channel of images (n, C, h, w) is saturated; infinite for never.

    saturation: type, the maximum of an integer type (floats never); none; or the ceiling itself, a number or one per
    channel.
    """
    channels = images.shape[1]
    if not isinstance(saturation, str):
        return np.broadcast_to(np.asarray(saturation, float), (channels,))
    if saturation == "type" and images.dtype.kind in "ui":
        return np.full(channels, np.iinfo(images.dtype).max, float)
    if saturation in ("type", "none"):
        return np.full(channels, np.inf)
    raise InputError(f"saturation is type, none or numbers, not {saturation!r}")


def find_bad(images, background, saturation="type", empty=EMPTY_DEVIATIONS, saturated=SATURATED_SHARE, cut_off=None):
    """Reasons (list of n, "" where an event is good) for images (n, C, h, w) in their own type and units.

    background: (n, C). Not finite: a pixel is NaN or infinite. Empty: no channel has a pixel further than `empty` noise
    deviations (`noise_levels`) from the background; where there is no noise any other pixel is signal. Saturated: in
    some channel more than the share `saturated` of the pixels is at its `ceilings`. Cut off: on one of the
    four sides, more than the share `cut_off` of that side's pixels is further from the background than half the
    channel's extreme, in some channel with signal; None looks for none, since noise along the border of dim channels
    and neighbours do the same. The first reason that holds is given, in this order.
    """
    pixels = images.astype(np.float32)
    finite = np.isfinite(pixels).all(axis=(2, 3))
    pixels[~finite] = 0
    level = np.where(finite, background, 0).astype(np.float32)
    distance = np.abs(pixels - level[:, :, None, None])
    extreme = distance.max(axis=(2, 3))
    signal = extreme > empty * noise_levels(pixels, level)
    with np.errstate(invalid="ignore"):
        full = (images >= ceilings(images, saturation)[:, None, None]).mean(axis=(2, 3)) > saturated
    sides = [distance[:, :, 0], distance[:, :, -1], distance[:, :, :, 0], distance[:, :, :, -1]]
    share = np.max([(side > extreme[:, :, None] / 2).mean(axis=2) for side in sides], axis=0)
    checks = [
        (~finite.all(axis=1), "a pixel is NaN or infinite"),
        (~signal.any(axis=1), "empty: no channel rises above the noise of the background"),
        (full.any(axis=1), "saturated: too many pixels at the largest value"),
    ]
    if cut_off is not None:
        checks.append(((signal & (share > cut_off)).any(axis=1), "cut off: the object touches the border"))
    reasons = np.full(len(images), "", object)
    for found, reason in reversed(checks):
        reasons[found] = reason
    return reasons.tolist()


def noise_levels(pixels, level):
    """(n, C) standard deviation of the noise in images (n, C, h, w) with the background `level` (n, C).

    The smaller of two robust estimates, so that neither neighbours along the border nor detail in the cell make a good
    event look empty: from the border's distances to the background, and from the differences of pixels two columns
    apart (an instrument that interpolates makes next neighbours alike).
    """
    border = np.median(border_pixels(np.abs(pixels - level[:, :, None, None]), 2), axis=-1)
    if pixels.shape[-1] > 2:
        steps = np.abs(pixels[..., 2:] - pixels[..., :-2]).reshape(*pixels.shape[:2], -1)
        border = np.minimum(border, np.median(steps, axis=-1) / np.sqrt(2))
    return 1.4826 * border
