"""Runs CellProfiler's own modules on arrays, in CellProfiler's environment (Python 3.9): an oracle nobody here wrote.

python cellprofiler_modules.py illumination STACK.npy SETTINGS.json OUT.npy
python cellprofiler_modules.py quality STACK.npy OUT.json

STACK.npy holds images (n, height, width) in their own type. SETTINGS.json: {"factor": 0.25, "settings": [values of
CorrectIlluminationCalculate in the order of a pipeline file]}; a factor of 1 leaves both Resize modules out.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np


def ask(what, stack, folder, spec=None):
    """Run this file in CellProfiler's environment from a test: the function (array) or the measurements (dict).

    stack: (n, height, width) array. folder: scratch folder. spec: settings of `illumination`. Skips the test where the
    launcher is not on the PATH.
    """
    launcher = shutil.which("phenoloom-cellprofiler")
    if launcher is None:
        import pytest

        pytest.skip("the cellprofiler environment is not set up (make env)")
    folder = Path(folder)
    files = [
        folder / "stack.npy",
        *([folder / "spec.json"] if spec else []),
        folder / ("out.npy" if spec else "out.json"),
    ]
    np.save(files[0], stack, allow_pickle=False)
    if spec:
        files[1].write_text(json.dumps(spec), encoding="utf-8")
    subprocess.run([launcher, str(Path(__file__).resolve()), what, *map(str, files)], check=True, capture_output=True)
    if spec:
        return np.load(files[-1], allow_pickle=False)
    return json.loads(files[-1].read_text(encoding="utf-8"))


def calculation(smoothing="Median Filter", size_by="Manually", object_size=10, filter_size=20, rescale="Yes"):
    """Settings of CorrectIlluminationCalculate as in JUMP's pipeline, in the order of a pipeline file."""
    return (
        ["Input", "Function", "Regular", "No", "1", "60", rescale, "All: Across cycles", smoothing, size_by]
        + [str(object_size), str(filter_size), "No", "Average", "No", "Dilated"]
        + ["Yes", "auto", "5", "2", "2", "40", "0.001"]
    )


def image_sets(stack, measurements, pipeline, modules):
    """Run `modules` on one image set for each image, as a pipeline does, and yield the workspaces."""
    from cellprofiler_core.image import Image, ImageSetList
    from cellprofiler_core.object import ObjectSet
    from cellprofiler_core.workspace import Workspace

    sets = ImageSetList()
    numbers = list(range(1, len(stack) + 1))
    for module in modules:
        module.prepare_group(Workspace(pipeline, module, None, None, measurements, sets), {}, numbers)
    for number, pixels in zip(numbers, stack):  # noqa: B905 (Python 3.9)
        if number > 1:
            measurements.next_image_set(number)
        image_set = sets.get_image_set(number - 1)
        image_set.add("Input", Image(pixels, scale=float(np.iinfo(pixels.dtype).max)))
        for module in modules:
            module.run(Workspace(pipeline, module, image_set, ObjectSet(), measurements, sets))
        yield image_set


def illumination(stack, spec):
    """Resize, CorrectIlluminationCalculate, Resize back; the function after the last image."""
    from cellprofiler.modules.correctilluminationcalculate import CorrectIlluminationCalculate
    from cellprofiler.modules.resize import Resize
    from cellprofiler_core.measurement import Measurements
    from cellprofiler_core.pipeline import Pipeline

    def resize(source, target, factor):
        module = Resize()
        module.x_name.value, module.y_name.value = source, target
        module.resizing_factor_x.value = module.resizing_factor_y.value = factor
        module.interpolation.value = "Bilinear"
        return module

    factor = spec["factor"]
    calculate = CorrectIlluminationCalculate()
    calculate.set_settings_from_values(list(spec["settings"]), 2, CorrectIlluminationCalculate.__module__)
    calculate.image_name.value = "Input" if factor == 1 else "Small"
    calculate.illumination_image_name.value = "Function"
    calculate.show_window = False
    before = [] if factor == 1 else [resize("Input", "Small", factor)]
    for number, module in enumerate([*before, calculate], start=1):
        module.set_module_num(number)
    pipeline, measurements = Pipeline(), Measurements()
    *_, image_set = image_sets(stack, measurements, pipeline, [*before, calculate])
    if factor != 1:
        from cellprofiler_core.workspace import Workspace

        after = resize("Function", "Large", 1 / factor)
        after.set_module_num(3)
        after.run(Workspace(pipeline, after, image_set, None, measurements, None))
    return image_set.get_image("Function" if factor == 1 else "Large").pixel_data


def quality(stack):
    """Measurements of MeasureImageQuality with its default settings: name -> list of values."""
    from cellprofiler.modules.measureimagequality import MeasureImageQuality
    from cellprofiler_core.measurement import Measurements
    from cellprofiler_core.pipeline import Pipeline

    module = MeasureImageQuality()
    module.set_module_num(1)
    module.show_window = False
    module.images_choice.value = "Select..."
    module.image_groups[0].image_names.value = "Input"
    module.image_groups[0].include_image_scalings.value = False
    module.image_groups[0].check_blur.value = True
    module.image_groups[0].check_saturation.value = True
    module.image_groups[0].check_intensity.value = True
    module.image_groups[0].calculate_threshold.value = False
    measurements = Measurements()
    for _ in image_sets(stack, measurements, Pipeline(), [module]):
        pass
    names = [name for name in measurements.get_feature_names("Image") if name.startswith("ImageQuality_")]
    numbers = range(1, len(stack) + 1)
    return {name: [float(np.ravel(measurements["Image", name, n])[0]) for n in numbers] for name in names}


def main(what, stack, *rest):
    from cellprofiler_core.preferences import set_headless

    set_headless()
    images = np.load(stack, allow_pickle=False)
    if what == "illumination":
        with open(rest[0]) as file:
            function = illumination(images, json.load(file))
        np.save(rest[1], np.asarray(function, np.float64), allow_pickle=False)
    else:
        with open(rest[0], "w") as file:
            json.dump(quality(images), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
