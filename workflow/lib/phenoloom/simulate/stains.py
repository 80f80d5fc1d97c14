"""The five stains of Cell Painting and the phase of unstained cells, drawn on the maps of a site's cells."""

import numpy as np
from scipy.ndimage import gaussian_filter

from phenoloom.simulate.anatomy import smooth_noise
from phenoloom.simulate.options import FLUORESCENCE


def stain(random, cells, maps, changes):
    """Light of every stain before optics: {name: (H, W) float32}, about 1 in a bright organelle, and `thickness`.

    changes: factors by name of property (options.PROPERTIES).
    """
    shape = maps.cell.shape
    if not len(cells):
        return {name: np.zeros(shape, np.float32) for name in (*FLUORESCENCE, "thickness")}
    fine, medium, coarse = (smooth_noise(random, shape, scale) for scale in (1.2, 2.2, 7.0))
    body = _body(maps)
    nucleoli = _spots(shape, *_nucleoli(random, cells))
    level = {name: maps.of(cells.expression[:, index]) for index, name in enumerate(FLUORESCENCE)}
    lights = {
        "DNA": _dna(cells, maps, nucleoli, medium, fine) * level["DNA"],
        "ER": _er(cells, maps, body, medium, coarse) * level["ER"] * changes["er_intensity"],
        "RNA": _rna(cells, maps, body, nucleoli, fine, coarse, changes) * level["RNA"],
        "AGP": _agp(random, cells, maps, body, fine, coarse) * level["AGP"],
        "Mito": _mito(random, cells, maps, body, changes["mito_length"]) * level["Mito"],
    }
    rounded = maps.of(np.where(cells.mitotic, 1.7, 1.0), outside=1.0)
    for name in ("ER", "RNA", "AGP", "Mito"):
        lights[name] *= rounded
    lights["thickness"] = _thickness(cells, maps, body, nucleoli, fine, lights["Mito"])
    return lights


def _body(maps):
    """Height of the cytoplasm, 0 to 1: thin at the outline, thick around the nucleus."""
    away = np.maximum(-maps.depth, 0)
    return (1 - np.exp(-maps.edge / 4.5)) * (0.30 + 0.70 * np.exp(-((away / 15.0) ** 2))) * (maps.cell > 0)


def _dna(cells, maps, nucleoli, medium, fine):
    # Content over area: a nucleus twice as large with the same DNA is half as bright; growth planted as polyploidy
    # keeps most of the brightness.
    density = (cells.content / (cells.nucleus / 11.5) ** 2) ** 0.6
    density = np.where(cells.mitotic, 2.4, density)
    chromatin = np.clip(1 + 0.22 * medium + 0.10 * fine, 0.25, None)
    dome = 0.75 + 0.25 * np.clip(maps.depth / 5, 0, 1)
    return maps.of(density) * maps.nuclear * chromatin * dome * (1 - 0.45 * np.clip(nucleoli, 0, 1))


def _er(cells, maps, body, medium, coarse):
    tubules = np.clip(1.15 - 0.95 * np.abs(medium), 0.05, None) ** 1.3
    away = np.maximum(-maps.depth, 0)
    around = 0.45 + 0.75 * np.exp(-away / 14.0)
    envelope = 0.16 * np.exp(-((maps.depth / 1.6) ** 2))
    outside = 1 - 0.72 * maps.nuclear * maps.of(~cells.mitotic)
    return body * outside * around * (0.42 + 0.68 * tubules) * (1 + 0.2 * coarse) + envelope * (maps.cell > 0)


def _rna(cells, maps, body, nucleoli, fine, coarse, changes):
    grain = np.clip(1 + 0.20 * fine + 0.12 * coarse, 0.2, None)
    cytoplasm = 0.85 * changes["rna_cytoplasm"] * body * (1 - maps.nuclear)
    nucleoplasm = 0.26 * changes["rna_nuclear"] * maps.of(cells.transport) * maps.nuclear
    return (cytoplasm + nucleoplasm) * grain + 1.1 * changes["rna_nucleoli"] * nucleoli * maps.nuclear


def _agp(random, cells, maps, body, fine, coarse):
    rows, columns = (np.arange(size, dtype=np.float32) for size in maps.cell.shape)
    across = columns[None, :] * -maps.of(np.sin(cells.angle)) + rows[:, None] * maps.of(np.cos(cells.angle))
    waves = np.cos(across * np.float32(2 * np.pi / 5.2) + 1.6 * coarse)
    bundles = np.clip(smooth_noise(random, maps.cell.shape, 9) + 0.35, 0, 1.6)
    inside = (maps.cell > 0).astype(np.float32)
    fibres = np.clip(waves, 0, 1) ** 2 * bundles * inside * (1 - 0.6 * maps.nuclear) * (1 - np.exp(-maps.edge / 3))
    ruffles = np.clip(0.75 + 0.45 * coarse, 0.15, None)
    membrane = np.exp(-((maps.edge / 1.5) ** 2)) * inside * (0.35 + 0.35 * (maps.rim <= maps.edge + 0.01) * ruffles)
    golgi = _golgi(random, cells, maps)
    return (0.24 * body * (1 + 0.2 * fine) + 0.20 * fibres + 0.75 * membrane + golgi).astype(np.float32)


def _golgi(random, cells, maps):
    """Ribbons beside the nucleus: points scattered along a short arc."""
    count = 26
    angle = random.uniform(0, 2 * np.pi, len(cells))[:, None] + random.normal(0, 0.38, (len(cells), count))
    distance = cells.nucleus[:, None] + 3.5 + random.gamma(2.0, 1.1, (len(cells), count))
    y = cells.nucleus_y[:, None] + distance * np.sin(angle)
    x = cells.nucleus_x[:, None] + distance * np.cos(angle)
    return _points(y, x, np.full(y.shape, 2.1), maps, sigma=0.9)


def _mito(random, cells, maps, body, length):
    """Filaments that walk through the cytoplasm; the shorter their steps, the more they are dots of the same mass."""
    filaments, steps = 64, 22
    owner = np.repeat(np.arange(len(cells)), filaments)
    direction = random.uniform(0, 2 * np.pi, len(owner))
    start = np.sqrt(random.uniform(0.08, 0.55, len(owner))) * cells.radius[owner]
    squeeze = np.sqrt(cells.aspect[owner])
    along, across = start * np.cos(direction) * squeeze, start * np.sin(direction) / squeeze
    cosine, sine = np.cos(cells.angle[owner]), np.sin(cells.angle[owner])
    heading = np.arctan2(across, along) + cells.angle[owner] + random.normal(0, 1.3, len(owner))
    heading = heading[:, None] + np.cumsum(random.normal(0, 0.22, (len(owner), steps)), axis=1)
    short = np.minimum(length * cells.fusion, 1.6)[owner]
    stride = 0.85 * short[:, None] * random.uniform(0.5, 1.4, (len(owner), 1))
    y = (cells.y[owner] + along * sine + across * cosine)[:, None] + np.cumsum(stride * np.sin(heading), axis=1)
    x = (cells.x[owner] + along * cosine - across * sine)[:, None] + np.cumsum(stride * np.cos(heading), axis=1)
    weight = np.repeat(random.gamma(4.0, 0.25, len(owner))[:, None], steps, axis=1) * 0.62
    # Round dots are wider than filaments are.
    network = _points(y, x, weight, maps, owner=owner, sigma=0.7 + 0.7 * (1 - length))
    return network * (0.55 + 0.6 * body) + 0.12 * body * (1 - 0.8 * maps.nuclear)


def _points(y, x, weight, maps, sigma, owner=None):
    """Sum weights at points (any shape) into pixels (H, W) and blur; only in the cytoplasm, of the owner if given."""
    height, width = maps.cell.shape
    rows, columns = np.rint(y).astype(np.int64), np.rint(x).astype(np.int64)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = np.where(inside, rows * width + columns, 0)
    inside &= (maps.cell.ravel()[flat] > 0) & (maps.nucleus.ravel()[flat] == 0)
    if owner is not None:
        inside &= maps.cell.ravel()[flat] == owner[:, None] + 1
    total = np.bincount(flat[inside], weights=weight[inside], minlength=height * width)
    return gaussian_filter(total.reshape(height, width).astype(np.float32), sigma, mode="constant")


def _nucleoli(random, cells):
    """Centres, radii and owners of one to four nucleoli per nucleus; none in mitosis."""
    number = np.where(cells.mitotic, 0, random.integers(1, 5, len(cells)))
    owner = np.repeat(np.arange(len(cells)), number)
    distance = 0.62 * cells.nucleus[owner] * np.sqrt(random.uniform(0, 1, len(owner)))
    angle = random.uniform(0, 2 * np.pi, len(owner))
    radius = random.uniform(0.11, 0.20, len(owner)) * cells.nucleus[owner]
    return (
        cells.nucleus_y[owner] + distance * np.sin(angle),
        cells.nucleus_x[owner] + distance * np.cos(angle),
        radius,
    )


def _spots(shape, y, x, radius):
    """Round spots with soft edges, each added in its own small window; float32 (H, W)."""
    canvas = np.zeros(shape, np.float32)
    for row, column, sigma in zip(y, x, radius, strict=True):
        reach = int(3 * sigma) + 1
        top, left = int(row) - reach, int(column) - reach
        rows = np.arange(max(0, top), min(shape[0], top + 2 * reach + 2))
        columns = np.arange(max(0, left), min(shape[1], left + 2 * reach + 2))
        if len(rows) and len(columns):
            squared = ((rows - row) ** 2)[:, None] + ((columns - column) ** 2)[None, :]
            canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += np.exp(-((squared / (2 * sigma**2)) ** 1.5))
    return canvas


def _thickness(cells, maps, body, nucleoli, fine, mito):
    """Optical path through the cells, about 0 to 2: body, nucleus, nucleoli and granules of the cytoplasm."""
    nucleus = 0.45 * np.clip(maps.depth / 4, 0, 1)
    granules = (0.035 * fine + 0.08 * np.clip(mito, 0, 2)) * np.clip(body * 2, 0, 1)
    lens = maps.of(np.where(cells.mitotic, 2.2, 1.0))
    return (body * lens + nucleus + granules + 0.18 * nucleoli).astype(np.float32)
