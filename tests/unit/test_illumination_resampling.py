"""Resizing agrees with scikit-image, which CellProfiler's Resize module calls."""

import numpy as np
import pytest
from skimage.transform import resize as skimage_resize

from phenoloom.illumination.resampling import resize, smaller_shape


@pytest.mark.parametrize(
    ("old", "new"),
    [((40, 60), (10, 15)), ((10, 15), (40, 60)), ((37, 51), (9, 13)), ((9, 13), (37, 51)), ((5, 4), (1, 1))],
)
def test_resize_is_that_of_scikit_image(old, new):
    image = np.random.default_rng(0).random(old)
    assert resize(image, new) == pytest.approx(skimage_resize(image, new, order=1, mode="symmetric"), abs=1e-9)


def test_a_constant_stays_a_constant():
    assert resize(np.full((30, 50), 7.0), (11, 64)) == pytest.approx(np.full((11, 64), 7.0))


def test_shapes_are_rounded_as_cellprofiler_does():
    assert smaller_shape((1080, 1080), 4) == (270, 270)
    assert smaller_shape((1078, 1082), 4) == (270, 270)  # 269.5 and 270.5, half to even
    assert smaller_shape((3, 3), 64) == (1, 1)
