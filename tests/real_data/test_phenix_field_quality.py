"""Quality measures of real fields against CellProfiler's MeasureImageQuality."""

import numpy as np
import pytest
import tifffile

import cellprofiler_modules
from phenoloom.quality import measure_image

pytestmark = pytest.mark.cellprofiler

#: Ours -> CellProfiler's name of the same measure.
SAME = {
    "PowerLogLogSlope": "PowerLogLogSlope_Input",
    "FocusScore": "FocusScore_Input",
    "LocalFocusScore": "LocalFocusScore_Input_20",
    "MeanIntensity": "MeanIntensity_Input",
    "StdIntensity": "StdIntensity_Input",
    "MADIntensity": "MADIntensity_Input",
    "Percentile50": "MedianIntensity_Input",
    "MinIntensity": "MinIntensity_Input",
    "MaxIntensity": "MaxIntensity_Input",
    "PercentMaximal": "PercentMaximal_Input",
}


@pytest.mark.parametrize("crop", [(1080, 1080), (403, 640), (37, 50)])
def test_measures_are_those_of_cellprofiler(shared_data, tmp_path, crop):
    paths = sorted(shared_data("phenix_field").glob("*.tiff"))
    stack = np.stack([tifffile.imread(path)[: crop[0], : crop[1]] for path in paths])
    assert len(stack) == 6
    theirs = cellprofiler_modules.ask("quality", stack, tmp_path)
    for number, image in enumerate(stack):
        ours = measure_image(image)
        for name, their_name in SAME.items():
            expected = theirs[f"ImageQuality_{their_name}"][number]
            assert ours[name] == pytest.approx(expected, rel=1e-5), (name, number)
