"""Intensity measures agree with numpy on the full image, and find a planted background and foreground."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from phenoloom.quality.intensity import PERCENTILES, intensity_measures, levels

IMAGES = st.one_of(
    arrays(np.uint8, (5, 7)),
    arrays(np.uint16, (5, 7)),
    arrays(np.int16, (5, 7)),
    arrays(np.uint32, (5, 7)),
    arrays(np.float32, (5, 7), elements=st.floats(-1000, 1000, width=32)),
)


@settings(max_examples=60, deadline=None)
@given(IMAGES)
def test_measures_are_those_of_numpy(image):
    found = intensity_measures(image)
    exact = image.astype(float)
    assert found["MeanIntensity"] == pytest.approx(exact.mean(), rel=1e-9, abs=1e-9)
    assert found["StdIntensity"] == pytest.approx(exact.std(), rel=1e-6, abs=1e-6)
    assert found["MinIntensity"] == exact.min() and found["MaxIntensity"] == exact.max()
    assert found["MADIntensity"] == pytest.approx(np.median(np.abs(exact - np.median(exact))), rel=1e-9, abs=1e-9)
    for percent in PERCENTILES:
        assert found[f"Percentile{percent:02d}"] == pytest.approx(np.percentile(exact, percent), rel=1e-9, abs=1e-9)
    assert found["PercentMaximal"] == pytest.approx(100 * (image == image.max()).mean())
    assert 0 <= found["ForegroundShare"] <= 1 and exact.min() <= found["Background"] <= exact.max()


def test_levels_count_every_pixel():
    image = np.array([[-3, 5], [5, 200]], np.int16)
    values, counts = levels(image)
    assert values.tolist() == [-3, 5, 200] and counts.tolist() == [1, 2, 1]


def planted(share, background=500, noise=12, shape=(400, 500)):
    rng = np.random.default_rng(3)
    image = rng.normal(background, noise, shape)
    cells = rng.random(shape) < share
    image[cells] += rng.normal(1500, 300, cells.sum())
    return image.clip(0, 65535).astype(np.uint16)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_planted_background_and_foreground_are_found(share):
    found = intensity_measures(planted(share), 65535.0)
    assert found["Background"] * 65535 == pytest.approx(500, abs=3)
    assert found["BackgroundNoise"] * 65535 == pytest.approx(12, abs=2)
    assert found["ForegroundShare"] == pytest.approx(share, abs=0.003)


def test_saturation_is_counted_at_the_end_of_the_type_only():
    image = np.full((10, 10), 4095, np.uint16)
    image[:5] = 100
    assert intensity_measures(image)["PercentMaximal"] == 50 and intensity_measures(image)["PercentSaturated"] == 0
    image[image == 4095] = 65535
    assert intensity_measures(image)["PercentSaturated"] == 50


@pytest.mark.parametrize("value", [0, 9])
def test_constant_images_have_measures_and_no_foreground(value):
    found = intensity_measures(np.full((8, 8), value, np.uint16))
    assert found["Background"] == value and found["ForegroundShare"] == 0 and found["StdIntensity"] == 0
