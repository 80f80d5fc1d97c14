"""One site of the study: from a row of the design to the pixels of its channels and to files."""

import logging

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter, laplace

from phenoloom.core.files import atomic_folder
from phenoloom.core.wells import FORMATS, position
from phenoloom.simulate import optics
from phenoloom.simulate.anatomy import grow_cells, map_cells, smooth_noise
from phenoloom.simulate.design import defects_of, planted
from phenoloom.simulate.options import BRIGHTFIELD, FLUORESCENCE, complete
from phenoloom.simulate.seeds import generator
from phenoloom.simulate.stains import stain

#: Planes of brightfield below, in and above focus, in units in which 1 turns thickness into strong contrast.
DEFOCUS = dict(zip(BRIGHTFIELD, (-1.0, 0.12, 1.0), strict=True))
#: Blur of an out-of-focus site in pixels, and exposure of a saturated one.
OUT_OF_FOCUS, OVEREXPOSED = 6.5, 14.0

log = logging.getLogger("phenoloom")


def file_name(well, site, channel):
    """Name of an image: B03_s1_DNA.tif."""
    return f"{well}_s{site}_{channel}.tif"


def render(row, site, options):
    """Pixels of one site: {channel: (height, width) uint16}, the same whenever and wherever it is made.

    row: a row of the design (mapping). site: number from 1. options: see options.DEFAULTS.
    """
    options = complete(options)
    shape = (options["height"], options["width"])
    batch, plate, well = row["batch"], row["plate"], row["well"]
    random = generator(options, "site", plate, well, site)
    changes = planted(row["effect"], row["strength"])
    crowd, brightness = _surroundings(options, plate, well)
    cells = grow_cells(random, shape, options["cells"] * crowd * shape[0] * shape[1] / 512**2, changes)
    maps = map_cells(random, cells, shape)
    lights = stain(random, cells, maps, changes)
    defects = defects_of(row["defects"], site)
    debris = _debris(generator(options, "debris", plate, well, site), shape) if "debris" in defects else 0.0
    images = {}
    for channel in options["channels"]:
        # Each channel has noise of its own, so that leaving one out does not change the others.
        camera = generator(options, "camera", plate, well, site, channel)
        if channel in FLUORESCENCE:
            gain = optics.gain(options, batch, plate, channel) * brightness[channel]
            light = _fluorescence(options, batch, channel, lights[channel] + debris, defects) * gain
            if "saturated" in defects:
                light = light * OVEREXPOSED
        else:
            light = _brightfield(lights["thickness"] + debris, DEFOCUS[channel], defects)
        light = light * optics.vignetting(options, batch, channel, shape)
        images[channel] = optics.expose(light, camera, options["noise"])
    return images


def write_sites(folder, rows, sites, options):
    """Write the images of `sites` ((well, site) pairs) as 16-bit TIFF into `folder`, which appears complete or not.

    rows: DataFrame, the design's rows of one plate.
    """
    options = complete(options)
    by_well = {row["well"]: row for row in rows.to_dict("records")}
    with atomic_folder(folder) as partial:
        for well, site in sites:
            for channel, image in render(by_well[well], site, options).items():
                _write(partial / file_name(well, site, channel), image, options["compression"])
    log.info("%d sites of %d channels written", len(sites), len(options["channels"]))


def _write(path, image, compression):
    packed = (
        {} if compression == "none" else {"compression": "zlib", "compressionargs": {"level": 1}, "predictor": True}
    )
    tifffile.imwrite(path, image, photometric="minisblack", metadata=None, rowsperstrip=len(image), **packed)


def _surroundings(options, plate, well):
    """What place and pipetting do to a well: factor on the number of cells, {channel: factor on brightness}.

    Staining drifts across the columns of a plate, cells are fewer at its edge; every well is a little different.
    """
    rows, columns = FORMATS[options["wells"]]
    row, column = position(well)
    at_edge = row in (0, rows - 1) or column in (0, columns - 1)
    across = 2 * column / max(columns - 1, 1) - 1
    strength, spread = options["position_effect"], options["well_effect"]
    random = generator(options, "well", plate, well)
    crowd = (1 - strength * at_edge) * np.exp(random.normal(0, 1.5 * spread))
    staining = random.normal(0, spread)
    slope = generator(options, "slope", plate).choice([-1, 1], size=len(FLUORESCENCE))
    brightness = {
        channel: float((1 + strength * across * slope[index]) * np.exp(staining + random.normal(0, spread / 2)))
        for index, channel in enumerate(FLUORESCENCE)
    }
    return float(crowd), brightness


def _fluorescence(options, batch, channel, light, defects):
    sigma = optics.blur_of(options, batch, channel)
    if "out_of_focus" in defects:
        sigma = np.hypot(sigma, OUT_OF_FOCUS)
    return optics.EXPOSURE[channel] * optics.defocus(light, sigma) + optics.BACKGROUND[channel]


def _brightfield(thickness, defocus, defects):
    """Light behind the cells: phase becomes contrast with defocus (transport of intensity), little is absorbed."""
    if "out_of_focus" in defects:
        defocus = 4 * defocus + 3
    blurred = gaussian_filter(thickness, 1.0 + 1.3 * abs(defocus))
    contrast = 1 + 1.2 * defocus * laplace(blurred) * (1 + abs(defocus)) - 0.02 * blurred
    return optics.LAMP * np.clip(contrast, 0.1, 2.2).astype(np.float32)


def _debris(random, shape):
    """Lumps and a fibre that shine in every channel; (height, width) float32."""
    canvas = np.zeros(shape, np.float32)
    height, width = shape
    for _ in range(4):
        y, x = random.uniform(0, height), random.uniform(0, width)
        heading = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, 0.15, 60))
        length = random.choice([0.25, 1.6])
        rows = np.clip(np.rint(y + np.cumsum(length * np.sin(heading))), 0, height - 1).astype(int)
        columns = np.clip(np.rint(x + np.cumsum(length * np.cos(heading))), 0, width - 1).astype(int)
        np.add.at(canvas, (rows, columns), random.uniform(4, 9))
    return gaussian_filter(canvas, 2.2) * np.clip(1 + 0.4 * smooth_noise(random, shape, 2.0), 0, None)
