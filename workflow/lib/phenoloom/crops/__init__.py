"""Crops of single cells: background, common canvas, and classical image features of many cells at once."""

from phenoloom.crops.background import background_levels
from phenoloom.crops.bad_events import find_bad, wrong_pages
from phenoloom.crops.canvas import canvas_size, object_centres, place
from phenoloom.crops.classical import FeatureOptions, feature_names, features, iterate_features, sample_thresholds
from phenoloom.crops.instrument import against_instrument
from phenoloom.crops.rescale import channel_scale, rescale
from phenoloom.crops.stack import FRAME, write_stack

__all__ = [
    "FRAME",
    "FeatureOptions",
    "against_instrument",
    "background_levels",
    "canvas_size",
    "channel_scale",
    "feature_names",
    "features",
    "find_bad",
    "iterate_features",
    "object_centres",
    "place",
    "rescale",
    "sample_thresholds",
    "wrong_pages",
    "write_stack",
]
