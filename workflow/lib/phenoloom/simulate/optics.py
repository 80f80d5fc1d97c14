"""From light to pixels: vignetting, point spread, haze, camera noise, and the defects of a careless day."""

import numpy as np

from phenoloom.simulate.options import BRIGHTFIELD, complete
from phenoloom.simulate.seeds import generator

#: Grey levels that the camera adds to every pixel, lit or not.
OFFSET = 300.0
#: Grey levels of diffuse light (medium, plastic) before vignetting.
BACKGROUND = {"DNA": 220.0, "ER": 320.0, "RNA": 420.0, "AGP": 300.0, "Mito": 260.0}
#: Grey levels per unit of stain at gain 1.
EXPOSURE = {"DNA": 9000.0, "ER": 6500.0, "RNA": 6000.0, "AGP": 6000.0, "Mito": 6500.0}
#: Grey levels of empty brightfield.
LAMP = 22000.0
#: Standard deviation of the point spread function in pixels.
BLUR = {"DNA": 1.0, "ER": 0.95, "RNA": 1.1, "AGP": 1.0, "Mito": 0.9}
#: Grey levels per photoelectron, and read noise in grey levels.
PER_ELECTRON, READ_NOISE = 4.0, 14.0
#: Share of the light of a cell that comes from above and below the plane of focus.
HAZE = 0.18


def vignetting(options, batch, channel, shape):
    """Planted illumination function of a channel in a batch: float32 (height, width), brightest pixel 1.

    An elliptic fall-off with its own centre per batch and channel: 1 - v f, with f = q + 0.3 q^2 scaled to 0..1, q the
    squared distance from the centre in units of half the diagonal, and v within 15 % of the option (40 % of it for
    brightfield). The pixel values are (light x function) + camera offset.
    """
    options = complete(options)
    random = generator(options, "vignetting", batch, channel)
    height, width = shape
    strength = options["vignetting"] * random.uniform(0.85, 1.15)
    if channel in BRIGHTFIELD:
        # The condenser is set once for all planes of a batch, and lights more evenly.
        random = generator(options, "vignetting", batch, "brightfield")
        strength = 0.4 * options["vignetting"]
    centre_y, centre_x = random.uniform(-0.3, 0.3, size=2)
    stretch, angle = random.uniform(0.85, 1.2), random.uniform(0, np.pi)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(centre_y)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] - np.float32(centre_x)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    squared = ((u * stretch) ** 2 + (v / stretch) ** 2) / 2
    loss = squared + 0.3 * squared**2
    loss = (loss - loss.min()) / (loss.max() - loss.min())
    return (1 - min(strength, 0.95) * loss).astype(np.float32)


def gain(options, batch, plate, channel):
    """Factor on the stain's brightness: a batch is stained and exposed its own way, its plates nearly alike."""
    spread = options["batch_effect"]
    by_batch = generator(options, "gain", batch, channel).normal(0, spread)
    by_plate = generator(options, "gain", batch, plate, channel).normal(0, spread / 4)
    return float(np.exp(np.clip(by_batch + by_plate, -1.5, 1.5)))


def blur_of(options, batch, channel):
    """Standard deviation of the point spread function in pixels; a batch is focused its own way."""
    wider = generator(options, "blur", batch).normal(0, options["batch_effect"] / 2)
    return BLUR[channel] * float(np.exp(np.clip(wider, -0.5, 0.5)))


def defocus(light, sigma):
    """Blur a stain (H, W) by the point spread function and add the haze of what is out of focus."""
    from scipy.ndimage import gaussian_filter, zoom

    sharp = gaussian_filter(light, sigma, mode="nearest")
    height, width = light.shape
    coarse = gaussian_filter(
        light[: height // 8 * 8, : width // 8 * 8].reshape(height // 8, 8, width // 8, 8).mean((1, 3)), 2.5
    )
    haze = zoom(coarse, (height / coarse.shape[0], width / coarse.shape[1]), order=1, grid_mode=True, mode="nearest")
    return (1 - HAZE) * sharp + HAZE * haze


def expose(light, random, noise=1.0):
    """Camera: light in grey levels (H, W) to uint16 with shot noise, read noise and offset; clips at 65535."""
    deviation = np.sqrt(np.maximum(light, 0) * PER_ELECTRON + READ_NOISE**2, dtype=np.float32)
    pixels = light + OFFSET
    if noise:
        pixels = pixels + np.float32(noise) * deviation * random.standard_normal(light.shape, dtype=np.float32)
    return np.clip(np.rint(pixels), 0, 65535).astype(np.uint16)
