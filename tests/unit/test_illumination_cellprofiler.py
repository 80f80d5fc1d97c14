"""Planted vignetting: our function is no further from the truth than CellProfiler's own on the same images."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import cellprofiler_modules
from phenoloom.illumination.estimation import from_mean

pytestmark = pytest.mark.cellprofiler

SHAPE = (256, 320)


def vignette():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 1 - 0.4 * ((y / SHAPE[0] - 0.45) ** 2 + (x / SHAPE[1] - 0.55) ** 2) / 0.5


def fields(n=48):
    """Fields of round cells on a background, lit unevenly, with photon noise: (n, height, width) uint16."""
    rng = np.random.default_rng(5)
    stack = []
    for _ in range(n):
        cells = np.zeros(SHAPE)
        cells[rng.integers(0, SHAPE[0], 200), rng.integers(0, SHAPE[1], 200)] = rng.gamma(4, 1 / 4, 200)
        light = (
            300 + 3000 * gaussian_filter(cells, 7) / gaussian_filter(np.eye(1, 81, 40).T @ np.eye(1, 81, 40), 7).max()
        )
        stack.append(rng.poisson(light * vignette()) + 100)
    return np.stack(stack).astype(np.uint16)


def median_error(function, truth):
    """Median relative distance from the truth after the best scale and offset."""
    scale, offset = np.polyfit(function.ravel(), truth.ravel(), 1)
    return np.median(np.abs(scale * function + offset - truth) / truth)


@pytest.mark.parametrize("factor", [1, 0.25])
def test_planted_vignetting_is_recovered_as_well_as_by_cellprofiler(tmp_path, factor):
    stack = fields()
    settings = cellprofiler_modules.calculation(filter_size=round(80 * factor))
    theirs = cellprofiler_modules.ask("illumination", stack, tmp_path, {"factor": factor, "settings": settings})
    ours = from_mean(stack.mean(axis=0) / 65535, "median", 1 / factor, "manual", round(80 * factor))
    assert np.abs(ours / theirs - 1).max() < 1 / (theirs.min() * stack.mean(axis=0).min())  # one level of 16 bits
    flat = median_error(np.ones(SHAPE) + 1e-9 * np.random.default_rng(0).random(SHAPE), vignette())
    assert median_error(theirs, vignette()) < 0.5 * flat
    # the same method: equal but for single pixels that fall on the other side of a 16-bit level
    assert median_error(ours, vignette()) <= median_error(theirs, vignette()) * 1.001
