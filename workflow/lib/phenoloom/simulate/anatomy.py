"""Cells of one site: where they lie, how large and how bent they are, and maps of them pixel by pixel."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from phenoloom.simulate.options import FLUORESCENCE

#: Radius of the nucleus of a cell in G1, and of a spread cell that nothing hems in, in pixels.
NUCLEUS, CELL = 11.5, 33.0
#: Cells whose centre lies this far outside the image still reach into it.
MARGIN = 45
#: Share of cells in mitosis.
MITOTIC = 0.03
#: How far the noise bends the outline of a cell, in pixels.
WARP = 3.5


@dataclass
class Cells:
    """Properties of the n cells of a site, arrays of length n unless said otherwise.

    y, x: centre of the cell in pixels; nucleus_y, nucleus_x: centre of the nucleus. radius, nucleus: radii of the discs
    of equal area, pixels. aspect, nucleus_aspect: long by short axis. angle: of the long axis, radians.
    content: DNA content, 1 in G1 and 2 in G2. mitotic: bool. lobes, nucleus_lobes: (n, 4) complex, harmonics 2..5 of
    the outline. expression: (n, 5), brightness of each stain by cell. transport, fusion: factors by cell on the RNA in
    the nucleus and on the length of mitochondria, so that single cells of different treatments overlap.
    """

    y: np.ndarray
    x: np.ndarray
    nucleus_y: np.ndarray
    nucleus_x: np.ndarray
    radius: np.ndarray
    nucleus: np.ndarray
    aspect: np.ndarray
    nucleus_aspect: np.ndarray
    angle: np.ndarray
    content: np.ndarray
    mitotic: np.ndarray
    lobes: np.ndarray
    nucleus_lobes: np.ndarray
    expression: np.ndarray
    transport: np.ndarray
    fusion: np.ndarray

    def __len__(self):
        return len(self.y)


@dataclass
class Maps:
    """What each pixel of a site belongs to; arrays (H, W), distances in pixels, float32.

    cell: number of the cell from 1, 0 outside. edge: distance inward from the cell's outline (0 outside).
    rim: the same from the nearest free outline only, so that borders between cells can be told from it.
    nucleus: number of the nucleus from 1, 0 outside. depth: distance inward from the outline of the cell's own nucleus,
    negative outside of it. nuclear: 0 to 1, soft mask of nuclei.
    """

    cell: np.ndarray
    edge: np.ndarray
    rim: np.ndarray
    nucleus: np.ndarray
    depth: np.ndarray
    nuclear: np.ndarray

    def of(self, values, outside=0.0):
        """Spread a value per cell (length n) over the pixels of the cells."""
        return np.concatenate([[outside], values]).astype(np.float32)[self.cell]


def smooth_noise(random, shape, scale):
    """Gaussian noise (H, W) of correlation length `scale` pixels, mean 0, standard deviation 1, float32."""
    step = max(1, int(scale // 3))
    coarse = (shape[0] // step + 2, shape[1] // step + 2)
    field = gaussian_filter(random.standard_normal(coarse, dtype=np.float32), scale / step, mode="wrap")
    if step > 1:
        field = zoom(field, step, order=1, grid_mode=True, mode="nearest")[: shape[0], : shape[1]]
    else:
        field = field[: shape[0], : shape[1]]
    return (field - field.mean()) / (field.std() + 1e-6)


def grow_cells(random, shape, number, changes):
    """Draw the cells of a site: `number` of them on average inside an image of `shape`, changed as planted.

    changes: factors by name of property (options.PROPERTIES). Nuclei never overlap; crowded cells stay out.
    """
    height, width = shape
    area = (height + 2 * MARGIN) * (width + 2 * MARGIN)
    expected = number * changes["cell_count"] * area / (height * width)
    # Counts vary less than Poisson's, as cells are seeded evenly and exclude each other.
    count = max(0, int(round(random.normal(expected, 0.5 * np.sqrt(max(expected, 1.0))))))
    cycle = random.uniform(size=count)
    content = 1 + np.clip((cycle - 0.5) / 0.3, 0, 1)
    mitotic = random.uniform(size=count) < MITOTIC
    content[mitotic] = 2.0
    size = np.exp(random.normal(0, 0.11, size=count))
    nucleus = NUCLEUS * size * content**0.27 * np.sqrt(changes["nuclear_area"])
    nucleus_aspect = (1 + np.abs(random.normal(0.14, 0.12, size=count))) * changes["elongation"] ** 0.55
    aspect = (1 + np.abs(random.normal(0.25, 0.2, size=count))) * changes["elongation"]
    radius = CELL * size * np.exp(random.normal(0, 0.12, size=count)) * content**0.15 * np.sqrt(changes["cell_area"])
    nucleus[mitotic] *= 0.62
    nucleus_aspect[mitotic] = 2.3
    aspect[mitotic], radius[mitotic] = 1.05, 0.66 * radius[mitotic]
    y, x, kept = _scatter(random, shape, nucleus * np.sqrt(nucleus_aspect))
    # Neighbours lie along each other, the more so the longer they are.
    flow = random.uniform(0, np.pi) + 0.8 * smooth_noise(random, (height + 2 * MARGIN, width + 2 * MARGIN), 70)
    angle = flow[(y + MARGIN).astype(int), (x + MARGIN).astype(int)] + random.normal(0, 0.35, size=len(y))
    lobes = _harmonics(random, count, (0.09, 0.10, 0.065, 0.04))[kept]
    nucleus_lobes = _harmonics(random, count, (0.02, 0.03, 0.015, 0.01))[kept]
    shift = random.normal(0, 0.10, size=(2, count))[:, kept] * radius[kept]
    transport, fusion = np.exp(random.normal(0, [[0.2], [0.35]], size=(2, count)))[:, kept]
    common = random.normal(0, 0.12, size=(count, 1))
    expression = np.exp(common + random.normal(0, 0.15, size=(count, len(FLUORESCENCE))))[kept]
    rounded = mitotic[kept]
    lobes[rounded] *= 0.2
    nucleus_lobes[rounded] *= 3
    return Cells(
        y=y + shift[0],
        x=x + shift[1],
        nucleus_y=y,
        nucleus_x=x,
        radius=radius[kept],
        nucleus=nucleus[kept],
        aspect=aspect[kept],
        nucleus_aspect=nucleus_aspect[kept],
        angle=angle,
        content=content[kept],
        mitotic=rounded,
        lobes=lobes,
        nucleus_lobes=nucleus_lobes,
        expression=expression,
        transport=transport,
        fusion=fusion,
    )


def _scatter(random, shape, reach):
    """Throw nuclei of radius `reach` one after the other; (y, x, index of those that found room).

    Places are more likely where a smooth field is high, so that cells clump and leave gaps.
    """
    height, width = shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN
    attraction = smooth_noise(random, (height, width), 45)
    placed = np.empty((len(reach), 2))
    kept = []
    for index, own in enumerate(reach):
        tries = np.column_stack([random.uniform(0, height, 30), random.uniform(0, width, 30)])
        liking = attraction[tries[:, 0].astype(int), tries[:, 1].astype(int)]
        tries = tries[np.log(random.uniform(size=30)) < 0.5 * (liking - 1.5)]
        others = placed[: len(kept)]
        distance = np.hypot(tries[:, None, 0] - others[None, :, 0], tries[:, None, 1] - others[None, :, 1])
        free = (distance > 1.12 * (own + reach[kept])[None, :] + 1.5).all(axis=1) if kept else np.ones(len(tries), bool)
        if free.any():
            placed[len(kept)] = tries[np.argmax(free)]
            kept.append(index)
    return placed[: len(kept), 0] - MARGIN, placed[: len(kept), 1] - MARGIN, np.array(kept, dtype=int)


def _harmonics(random, count, sizes):
    sizes = np.asarray(sizes)
    return (random.normal(0, 1, (count, len(sizes))) + 1j * random.normal(0, 1, (count, len(sizes)))) * sizes


def map_cells(random, cells, shape):
    """Maps of the cells: each claims its surroundings, bent by noise; a pixel goes to the cell nearest to it.

    Nearness is measured in units of the cell's own outline (a multiplicatively weighted Voronoi diagram cut off at 1).
    """
    height, width = shape
    bend_y, bend_x = (
        WARP * (0.75 * smooth_noise(random, shape, 9) + 0.35 * smooth_noise(random, shape, 3)) for _ in range(2)
    )
    first = np.full(shape, np.float32(9), dtype=np.float32)
    second = first.copy()
    cell = np.zeros(shape, dtype=np.int16)
    nucleus = np.zeros(shape, dtype=np.int16)
    reach = cells.radius * np.sqrt(cells.aspect)
    for index in range(len(cells)):
        window = _window(cells.y[index], cells.x[index], 1.65 * reach[index] + 10, shape)
        if window is None:
            continue
        own = _outline_distance(cells, index, window, bend_y[window], bend_x[window])
        nearest, next_nearest = first[window], second[window]
        closer = own < nearest
        np.minimum(next_nearest, np.where(closer, nearest, own), out=next_nearest)
        np.minimum(nearest, own, out=nearest)
        cell[window][closer] = index + 1
    cell[first >= 1] = 0
    depth = np.full(shape, np.float32(-60), dtype=np.float32)
    for index in range(len(cells)):
        window = _window(cells.nucleus_y[index], cells.nucleus_x[index], 1.65 * reach[index] + 20, shape)
        if window is None:
            continue
        inward = (1 - _nucleus_distance(cells, index, window, bend_y[window], bend_x[window])) * cells.nucleus[index]
        inside = inward > 0
        nucleus[window][inside] = index + 1
        # The nucleus belongs to its cell, wherever the outline of the cell has wandered to.
        cell[window][inside] = index + 1
        mine = cell[window] == index + 1
        depth[window][mine] = inward[mine]
    size = np.concatenate([[0.0], cells.radius]).astype(np.float32)[cell]
    rim = np.maximum(1 - first, 0) * size
    edge = np.minimum(rim, np.maximum(second - first, 0) * size / 2)
    edge[nucleus > 0] = np.maximum(edge[nucleus > 0], 2 + depth[nucleus > 0])
    rim[nucleus > 0] = np.maximum(rim[nucleus > 0], 2 + depth[nucleus > 0])
    nuclear = np.clip(depth + 0.5, 0, 1)
    return Maps(cell=cell, edge=edge, rim=rim, nucleus=nucleus, depth=depth, nuclear=nuclear)


def _window(y, x, reach, shape):
    """Slices of the part of the image within `reach` of a point, None when there is none."""
    top, bottom = max(0, int(y - reach)), min(shape[0], int(y + reach) + 2)
    left, right = max(0, int(x - reach)), min(shape[1], int(x + reach) + 2)
    return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


def _grid(window, y, x):
    rows = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None] - np.float32(y)
    columns = np.arange(window[1].start, window[1].stop, dtype=np.float32)[None, :] - np.float32(x)
    return rows, columns


def _along(rows, columns, angle, aspect):
    """Coordinates along and across an axis as complex numbers, squeezed so that an ellipse becomes a disc."""
    cosine, sine, squeeze = np.float32(np.cos(angle)), np.float32(np.sin(angle)), np.float32(np.sqrt(aspect))
    place = np.empty(np.broadcast_shapes(rows.shape, columns.shape), dtype=np.complex64)
    place.real = (cosine * columns + sine * rows) / squeeze
    place.imag = (cosine * rows - sine * columns) * squeeze
    return place


def _lobed(place, lobes):
    """Radius of an outline with the given harmonics (2..5), in units of the mean one, towards each place."""
    direction = place / (np.abs(place) + np.float32(1e-3))
    total = np.zeros(place.shape, dtype=np.complex64)
    for lobe in lobes[::-1]:
        total = (total + np.complex64(lobe)) * direction
    return np.maximum(1 + (total * direction).real, np.float32(0.45))


def _outline_distance(cells, index, window, bend_y, bend_x):
    rows, columns = _grid(window, cells.y[index], cells.x[index])
    place = _along(rows + bend_y, columns + bend_x, cells.angle[index], cells.aspect[index])
    return np.abs(place) / (np.float32(cells.radius[index]) * _lobed(place, cells.lobes[index]))


def _nucleus_distance(cells, index, window, bend_y, bend_x):
    rows, columns = _grid(window, cells.nucleus_y[index], cells.nucleus_x[index])
    place = _along(
        rows + np.float32(0.14) * bend_y,
        columns + np.float32(0.14) * bend_x,
        cells.angle[index],
        cells.nucleus_aspect[index],
    )
    return np.abs(place) / (np.float32(cells.nucleus[index]) * _lobed(place, cells.nucleus_lobes[index]))
