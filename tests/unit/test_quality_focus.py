"""Focus measures fall when an image is blurred, and stay defined on images without structure."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from phenoloom.quality.focus import _rings, focus_scores, power_log_log_slope


def textured(shape=(128, 160), seed=0):
    """Image of blobs of all sizes, about 1000 +- 100."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return 1000 + sum(100 * sigma * gaussian_filter(noise, sigma) for sigma in (0.5, 1, 2, 4, 8))


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_the_slope_is_that_of_a_power_law(exponent):
    shape = (256, 256)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij"))
    frequency[0, 0] = 1
    phase = np.fft.fft2(np.random.default_rng(1).normal(size=shape))
    image = np.fft.ifft2(phase / np.abs(phase) * frequency**-exponent).real
    # power ~ f^(-2 exponent) in each coefficient, and a ring at f holds ~ f of them; CellProfiler's rings are off by
    # one step on the side of negative frequencies, which steepens the slope a little
    assert power_log_log_slope(image) == pytest.approx(1 - 2 * exponent, abs=0.3)


def test_blur_lowers_the_slope_and_the_local_score():
    sharp = textured()
    slopes = [power_log_log_slope(gaussian_filter(sharp, sigma)) for sigma in (0.001, 1.5, 3, 6)]
    assert np.all(np.diff(slopes) < 0)
    assert focus_scores(gaussian_filter(sharp, 6))[0] < focus_scores(sharp)[0]


def test_the_scale_of_intensities_does_not_change_the_slope():
    image = textured()
    assert power_log_log_slope(image * 1e-12) == pytest.approx(power_log_log_slope(image), abs=1e-5)


@pytest.mark.parametrize("shape", [(33, 40), (40, 33), (64, 64), (65, 128)])
def test_rings_of_the_half_spectrum_hold_the_power_of_the_full_one(shape):
    image = np.random.default_rng(2).normal(size=shape)
    height, width = shape
    u, v = np.mgrid[:height, :width]
    ring = np.floor(np.hypot(np.minimum(u, height - 1 - u), np.minimum(v, width - 1 - v))).astype(int) + 1
    power = np.abs(np.fft.fft2(image)) ** 2
    rows, columns, labels, last = _rings(shape)
    assert last == min(shape) // 8 - 1
    for label in range(2, last + 1):
        mine = power[rows[labels == label], columns[labels == label]].sum()
        assert mine == pytest.approx(power[ring == label].sum())


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.full((64, 64), 7.0), np.ones((3, 5)), np.ones((1, 1))])
def test_images_without_structure_score_zero(image):
    assert power_log_log_slope(image) == 0
    assert focus_scores(image) == (0, 0)


def test_small_images_have_no_slope():
    assert power_log_log_slope(np.random.default_rng(0).normal(size=(20, 20))) == 0
