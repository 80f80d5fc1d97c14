"""Smoothing and rescaling follow CellProfiler's definitions."""

import warnings

import numpy as np
import pytest
from skimage.filters.rank import median as skimage_median

from phenoloom.core.errors import InputError
from phenoloom.illumination import smoothing
from phenoloom.illumination.smoothing import disc_median, filter_width, raise_to_one, smooth_gaussian, smooth_median


def test_filter_widths():
    assert filter_width((270, 270), "manual", 20) == 20
    assert filter_width((640, 640), "object_size", 100) / 2.35 == pytest.approx(100 / 3.5)
    assert filter_width((270, 400), "automatic", 99) == 10 and filter_width((2160, 2160), "automatic") == 30
    with pytest.raises(InputError, match="filter_by"):
        filter_width((1, 1), "guess")


@pytest.mark.parametrize("radius", [1, 2, 4])
@pytest.mark.parametrize("highest", [1100, 60000])
def test_the_median_is_over_the_pixels_of_the_disc_inside_the_image(radius, highest):
    image = np.random.default_rng(1).integers(1000, highest, (13, 17)).astype(np.uint16)
    found = disc_median(image, radius)
    y, x = np.mgrid[:13, :17]
    for row, column in np.ndindex(image.shape):
        inside = np.sort(image[(y - row) ** 2 + (x - column) ** 2 <= radius**2])
        assert found[row, column] == inside[inside.size // 2]


@pytest.mark.parametrize("shape", [(150, 101), (48, 97), (20, 200)])
@pytest.mark.parametrize("radius", [3, 30])
def test_blocks_leave_no_trace_in_the_median(shape, radius, monkeypatch):
    monkeypatch.setattr(smoothing, "BLOCK_PIXELS", 1500)
    monkeypatch.setattr(smoothing, "LARGE_DISC", 10_000)
    rng = np.random.default_rng(2)
    image = (np.linspace(0, 50000, shape[1]) + rng.integers(0, 15535, shape)).astype(np.uint16)
    image[0, 0], image[-1, -1] = 0, 65535
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about the number of levels
        expected = skimage_median(image, (x * x + y * y <= radius * radius).astype(np.uint8))
    assert np.array_equal(disc_median(image, radius), expected)


def test_large_discs_give_the_same_median(monkeypatch):
    image = np.random.default_rng(4).integers(0, 65535, (50, 60)).astype(np.uint16)
    bisected = disc_median(image, 8)
    monkeypatch.setattr(smoothing, "LARGE_DISC", 0)
    assert np.array_equal(disc_median(image, 8), bisected)


def test_the_median_ignores_bright_specks_and_keeps_units():
    image = np.full((60, 60), 0.25)
    image[30, 30] = 1.0
    assert smooth_median(image, 20) == pytest.approx(np.full((60, 60), 0.25), rel=1e-4)
    assert smooth_median(image * 8000, 20) == pytest.approx(np.full((60, 60), 2000), rel=1e-3)


def test_the_gaussian_has_no_dark_edges():
    assert smooth_gaussian(np.full((40, 50), 0.3), 20) == pytest.approx(np.full((40, 50), 0.3))


def test_rescaling_begins_at_the_second_percentile_of_the_positive_pixels():
    function = np.arange(101.0).reshape(1, -1)  # 100 positive pixels: rank 2 holds 3
    rescaled = raise_to_one(function)
    assert rescaled[0, :4].tolist() == [1, 1, 1, 1] and rescaled[0, 100] == pytest.approx(100 / 3)
    assert not raise_to_one(np.zeros((3, 3))).any()
