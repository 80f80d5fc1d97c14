"""Classical image features of single cells: all groups, for a stack of events, in chunks of bounded memory."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.crops.chunks import chunks, inside_frames
from phenoloom.crops.correlation import correlation_features, distance_features
from phenoloom.crops.granularity import granularity_features
from phenoloom.crops.intensity import intensity_features
from phenoloom.crops.masks import (
    BINS,
    CONTRASTS,
    KEEPS,
    METHODS,
    above_threshold,
    event_thresholds,
    histograms,
    otsu,
    signal_of,
)
from phenoloom.crops.shape import distribution_features, shape_features
from phenoloom.crops.texture import gradient_features, texture_features

GROUPS = ("intensity", "shape", "moments", "texture", "gradient", "granularity", "correlation")


@dataclass(frozen=True)
class FeatureOptions:
    """What is measured, and inside which mask. Raises InputError when a value is none of the allowed ones.

    groups: some of GROUPS. threshold: how each channel's own mask is made (masks.METHODS); value: the fraction or the
    constant, a number or {channel: number}; keep: all | largest part. mask_channel: the channel whose mask all channels
    are measured in, as a sorter does it; None for each channel in its own. Area and the other AreaShape features are
    always of the channel's own mask. contrast: {channel: bright | dark | both}, bright where nothing is said.
    aspect: height of a pixel in widths, 1 for a camera; it stretches rows in moments of the signal, mass displacement
    and distances between channels, which are in pixel widths then. distances, levels: of texture. scales: of
    granularity.
    """

    groups: tuple = GROUPS
    threshold: str = "otsu"
    value: object = 0.5
    keep: str = "all"
    mask_channel: str | None = None
    contrast: dict = field(default_factory=dict)
    aspect: float = 1.0
    distances: tuple = (1, 3)
    levels: int = 16
    scales: int = 8

    def __post_init__(self):
        known = {"threshold": METHODS, "keep": KEEPS}
        for name, allowed in known.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for name, value in self.contrast.items():
            if value not in CONTRASTS:
                raise InputError(f"the contrast of {name!r} is one of {', '.join(CONTRASTS)}, not {value!r}")
        unknown = set(self.groups) - set(GROUPS)
        if unknown or not self.groups:
            raise InputError(f"groups are some of {', '.join(GROUPS)}, not {sorted(unknown)}")
        if not 2 <= self.levels <= 64 or self.scales < 1 or not self.distances or min(self.distances) < 1:
            raise InputError("levels is from 2 to 64, scales at least 1, and distances are at least 1 pixel")
        if not 0 < self.aspect < np.inf:
            raise InputError(f"aspect is the height of a pixel in widths, above 0, not {self.aspect}")

    @classmethod
    def of(cls, options):
        """FeatureOptions from a mapping of a study, or as they are; unknown keys are named."""
        if isinstance(options, cls):
            return options
        options = dict(options or {})
        unknown = set(options) - {item.name for item in fields(cls)}
        if unknown:
            raise InputError(f"classical features have no option {', '.join(sorted(unknown))}")
        for name in ("groups", "distances"):
            if name in options:
                options[name] = tuple(options[name])
        return cls(**options)


def feature_names(channels, options=None):
    """Names of the columns that `features` gives for these channels and options, in order: Cells_{Group}_{Name}_..."""
    blank = np.zeros((1, len(channels), 4, 4), np.float32)
    return list(_measure(blank, channels, FeatureOptions.of(options), None, None))


def features(stack, channels, options=None, frames=None, thresholds=None):
    """(N, F) float32 features of a stack (N, C, H, W) with the background subtracted; columns as `feature_names`.

    channels: C distinct names. frames: (N, 4) int, top, left, height and width of each event's image on the canvas;
    pixels outside belong to no mask. None where the canvas has no padding. thresholds: (C,) of the sample, for the
    threshold sample_otsu; made from `stack` when None. What cannot be measured is NaN: each function says when. A
    channel with a NaN or infinite pixel has no features, and the features of its pairs neither.
    Raises InputError for channels or options that do not fit the stack.
    """
    options = FeatureOptions.of(options)
    _check(stack, channels, options, frames)
    if options.threshold == "sample_otsu" and thresholds is None:
        thresholds = sample_thresholds(stack, channels, options, frames)
    if not len(stack):
        return np.empty((0, len(feature_names(channels, options))), np.float32)
    return np.concatenate([found for _, found in _in_chunks(stack, channels, options, frames, thresholds, threads=1)])


def iterate_features(stack, channels, options=None, frames=None, thresholds=None, threads=1):
    """Yield (slice of events, features of them) in order, from a stack that may be memory-mapped.

    As `features`; at most 2 x `threads` chunks are in memory at a time, whatever the number of events.
    """
    options = FeatureOptions.of(options)
    _check(stack, channels, options, frames)
    if options.threshold == "sample_otsu" and thresholds is None:
        thresholds = sample_thresholds(stack, channels, options, frames)
    yield from _in_chunks(stack, channels, options, frames, thresholds, threads)


def _in_chunks(stack, channels, options, frames, thresholds, threads):
    def measure(part):
        inside = None if frames is None else inside_frames(frames[part], stack.shape[2:])
        found = _measure(np.array(stack[part], np.float32), channels, options, inside, thresholds)
        return part, np.stack(list(found.values()), axis=1).astype(np.float32)

    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        for part in chunks(stack):
            waiting.append(pool.submit(measure, part))
            if len(waiting) == 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def sample_thresholds(stack, channels, options=None, frames=None):
    """(C,) float32 thresholds by Otsu's method from all pixels of a sample, read in chunks twice.

    NaN pixels are left out. Infinite, so that all masks are empty, for a channel that is constant.
    """
    options = FeatureOptions.of(options)
    found = np.full(len(channels), np.inf, np.float32)
    for number, channel in enumerate(channels):

        def pixels(number=number, channel=channel):
            for part in chunks(stack):
                image = np.asarray(stack[part, number], np.float32)
                keep = np.isfinite(image)
                if frames is not None:
                    keep &= inside_frames(frames[part], stack.shape[2:])
                if keep.any():
                    yield signal_of(image[keep], options.contrast.get(channel, "bright"))[None, None]

        low, high = np.inf, -np.inf
        for values in pixels():
            low, high = min(low, values.min()), max(high, values.max())
        if high > low:
            ends = np.array([low]), np.array([high])
            counts = sum((histograms(values, *ends) for values in pixels()), np.zeros((1, BINS), np.int64))
            found[number] = otsu(counts, *ends)[0]
    return found


def _check(stack, channels, options, frames):
    if stack.ndim != 4 or stack.shape[1] != len(channels):
        raise InputError(
            f"the stack has shape {tuple(stack.shape)} for {len(channels)} channels; it must be (events, channels, "
            "height, width) with one plane per channel that the study names"
        )
    if len(set(channels)) != len(channels) or not all(channels):
        raise InputError(f"channel names must be distinct and not empty: {list(channels)}")
    named = [name for name in (options.mask_channel, *options.contrast) if name is not None]
    if isinstance(options.value, dict):
        named += list(options.value)
        missing = [name for name in channels if name not in options.value]
        if missing and options.threshold in ("fraction", "constant"):
            raise InputError(f"the mask's value misses channel {missing[0]!r}")
    strange = [name for name in named if name not in channels]
    if strange:
        raise InputError(f"channel {strange[0]!r} of the feature options is none of {', '.join(channels)}")
    if frames is not None and np.shape(frames) != (len(stack), 4):
        raise InputError(f"frames have shape {np.shape(frames)} for {len(stack)} events; make the stack's table again")


def _measure(images, channels, options, inside, thresholds):
    """Name -> (n,) for one chunk (n, C, H, W) float32, which is changed."""
    broken = ~np.isfinite(images).all(axis=(2, 3))
    images[broken] = 0
    signals, masks = images.copy() if options.contrast else images, np.empty(images.shape, bool)
    for c, channel in enumerate(channels):
        if channel in options.contrast:
            signals[:, c] = signal_of(images[:, c], options.contrast[channel])
        if options.threshold == "sample_otsu":
            cut = np.full(len(images), np.inf if thresholds is None else thresholds[c], np.float32)
        else:
            value = options.value[channel] if isinstance(options.value, dict) else options.value
            cut = event_thresholds(signals[:, c], options.threshold, value, inside)
        masks[:, c] = above_threshold(signals[:, c], cut, options.keep, inside)
    shapes = masks
    if options.mask_channel is not None:
        reference = channels.index(options.mask_channel)
        masks = np.broadcast_to(masks[:, [reference]], masks.shape)
        broken = broken | broken[:, [reference]]
    signals = np.where(masks & (signals > 0), signals, 0)

    found, centroids = {}, np.full((*images.shape[:2], 2), np.nan)
    for c, channel in enumerate(channels):
        measures, centroids[:, c] = _channel_features(images[:, c], masks[:, c], signals[:, c], shapes[:, c], options)
        for name, values in measures.items():
            found[f"Cells_{name}_{channel}"] = np.where(broken[:, c], np.nan, values)
    if "correlation" in options.groups:
        window = _window(masks.any(axis=1))[0]
        boxes = (part[window] for part in (images, masks, signals))
        pairs = correlation_features(*boxes) | distance_features(centroids)
        for (name, a, b), values in pairs.items():
            full = f"Cells_{name}_{channels[a]}_{channels[b]}"
            found[full] = np.where(broken[:, a] | broken[:, b], np.nan, values)
    return found


def _channel_features(image, mask, signal, shape, options):
    """(name -> (n,), centroid (n, 2)) of one channel: images, mask, signal and own mask (n, H, W)."""
    window, rows, columns = _window(mask | shape)
    image, mask, signal, shape = (np.ascontiguousarray(part[window]) for part in (image, mask, signal, shape))
    spread, centroid = distribution_features(signal, mask, rows * options.aspect, columns)
    found = {}
    if "intensity" in options.groups:
        found |= intensity_features(image, mask)
        found["Intensity_MassDisplacement"] = spread.pop("Intensity_MassDisplacement")
    if "shape" in options.groups:
        found |= shape_features(shape, rows, columns)
    if "moments" in options.groups:
        found["Location_CenterMassIntensity_Y"], found["Location_CenterMassIntensity_X"] = centroid.T
        found |= {name: values for name, values in spread.items() if name.startswith("RadialMoment")}
    if "texture" in options.groups:
        found |= texture_features(image, mask, options.distances, options.levels)
    if "gradient" in options.groups:
        found |= gradient_features(image, mask)
    if "granularity" in options.groups:
        found |= granularity_features(signal, options.scales)
    return found, centroid


def _window(mask):
    """(index of the smallest box around all masks (n, H, W) and one pixel more, its rows, its columns).

    Measures inside masks are the same in this box, which is far smaller than the canvas.
    """
    bounds = []
    for axis in (1, 2):
        present = np.flatnonzero(mask.any(axis=(0, 3 - axis)))
        low, high = (present[0], present[-1] + 1) if len(present) else (0, 1)
        bounds.append((max(0, low - 1), min(mask.shape[axis], high + 1)))
    (top, bottom), (left, right) = bounds
    return np.s_[..., top:bottom, left:right], np.arange(top, bottom), np.arange(left, right)
