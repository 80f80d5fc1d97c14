"""Preview of an illumination function: a PNG with a colour bar, drawn with Pillow.

matplotlib would take longer to import than a small plate takes to compute.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from phenoloom.core.files import atomic

#: Nine colours of viridis (CC0), dark to bright; those between are interpolated.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (72, 40, 120),
        (62, 74, 137),
        (49, 104, 142),
        (38, 130, 142),
        (31, 158, 137),
        (53, 183, 121),
        (109, 205, 89),
        (253, 231, 37),
    ]
)

MARGIN, BAR, FONT = 16, 18, 14


def preview(function, path, title="", width=360):
    """Draw `function` (height, width) in viridis with a colour bar and write it to `path` as PNG, atomically."""
    low, high = float(np.min(function)), float(np.max(function))
    height = max(1, round(width * function.shape[0] / function.shape[1]))
    values = Image.fromarray(np.asarray(function, np.float32)).resize((width, height), Image.Resampling.BOX)
    picture = Image.fromarray(colours(np.asarray(values), low, high))
    bar = Image.fromarray(colours(np.linspace(1, 0, height)[:, None] * np.ones((1, BAR)), 0, 1))
    top = MARGIN + (FONT + 8 if title else 0)
    canvas = Image.new("RGB", (width + BAR + 3 * MARGIN + 64, height + top + MARGIN), "white")
    canvas.paste(picture, (MARGIN, top))
    left = 2 * MARGIN + width
    canvas.paste(bar, (left, top))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(FONT)
    if title:
        draw.text((MARGIN, MARGIN - 4), title, fill="black", font=font)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + (height - 1) * (1 - share)
        draw.line((left + BAR, y, left + BAR + 4, y), fill="black")
        draw.text((left + BAR + 8, y), f"{low + (high - low) * share:.3g}", fill="black", font=font, anchor="lm")
    with atomic(path) as partial:
        canvas.save(partial, format="PNG", compress_level=1)  # a third of the time, a quarter more bytes


def colours(values, low, high):
    """RGB bytes (height, width, 3) of `values` between low and high; all dark when both are equal."""
    share = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values, dtype=float)
    table = np.stack([np.interp(np.linspace(0, 8, 256), range(9), channel) for channel in VIRIDIS.T], axis=1)
    return table.round().astype(np.uint8)[(share * 255).astype(np.uint8)]
