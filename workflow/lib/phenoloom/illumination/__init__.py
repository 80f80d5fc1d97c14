"""Illumination functions: how brightly each pixel of a plate's channel is lit, as CellProfiler estimates it."""

from phenoloom.illumination.estimation import estimate, without_excluded
from phenoloom.illumination.picture import preview

__all__ = ["estimate", "preview", "without_excluded"]
