"""Mean image of many planes: partial sums over fixed chunks of images in a pool of threads, then one reduction."""

from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.core.images import ImageError, read_image, unit_scale

#: Images per partial sum. Fixed, so that the result does not depend on the number of threads.
CHUNK = 16


def majority_format(rows):
    """((height, width), dtype name) that most index rows share; ties go to the larger image.

    rows: index rows (named tuples). Raises InputError when no row records a size.
    """
    formats = Counter((_integer(row.height), _integer(row.width), row.dtype) for row in rows)
    formats = {key: count for key, count in formats.items() if key[0] and key[1] and isinstance(key[2], str)}
    if not formats:
        raise InputError("no image of this plate and channel has a known size; index the study again")
    height, width, dtype = max(formats, key=lambda key: (formats[key], key[0] * key[1], key[2]))
    return (height, width), dtype


def mean_image(rows, shape, ledger, threads=1):
    """(mean of all usable planes as float64 (height, width), how many they are).

    rows: index rows of one plate and channel; planes of another shape than `shape`, unreadable planes and planes
    with NaN or infinity go to the ledger. Intensities are scaled as CellProfiler does: integers to [0, 1] by the range
    of their type, floats stay. Memory does not grow with the number of rows. Sums of integers are exact, sums of
    floats run in the order of the rows: the result never depends on `threads`.
    Raises InputError when no plane can be used.
    """
    total, count = np.zeros(shape), 0
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = deque()
        for start in range(0, len(rows), CHUNK):
            waiting.append(pool.submit(_sum_planes, rows[start : start + CHUNK], shape))
            if len(waiting) > threads:  # each waiting sum is a full image, so only a few may wait
                count += _take(waiting.popleft(), total, ledger)
        while waiting:
            count += _take(waiting.popleft(), total, ledger)
    if not count:
        raise InputError(
            f"none of the {len(rows)} images of channel {rows[0].channel!r} of plate {rows[0].plate!r} can be used "
            f"(first: {rows[0].path}); see the ledger or the log for each, and copy them again"
        )
    return total / count, count


def _take(future, total, ledger):
    """Add one chunk's sums to `total` in place, its failures to the ledger; return its number of images."""
    sums, count, failures = future.result()
    for sum_, scale in sums:
        total += sum_ / scale
    for row, reason in failures:
        ledger.add(reason, well=row.well, site=row.site, channel=row.channel)
    return count


def _sum_planes(rows, shape):
    """Sum of the usable planes among `rows`: ([(sum, divisor to unit scale)], number, [(row, reason)])."""
    sums, count, failures = {}, 0, []
    for row in rows:
        try:
            image = read_image(row)
            _check(image, row, shape)
        except ImageError as error:
            failures.append((row, str(error)))
            continue
        if image.dtype not in sums:
            # 16-bit integers in 32-bit sums: exact for any chunk, and half the memory traffic of 64 bits
            small = image.dtype.kind == "u" and image.dtype.itemsize <= 2
            sums[image.dtype] = np.zeros(shape, np.uint32 if small else np.float64)
        np.add(sums[image.dtype], image, out=sums[image.dtype], casting="unsafe")
        count += 1
    return [(sum_, unit_scale(dtype)) for dtype, sum_ in sums.items()], count, failures


def _check(image, row, shape):
    if image.shape != shape:
        raise ImageError(
            f"{row.path} is {image.shape[1]}x{image.shape[0]} pixels where most of the plate is "
            f"{shape[1]}x{shape[0]}; it does not count in the illumination function"
        )
    if image.dtype.kind == "f" and not np.isfinite(image.sum(dtype=np.float64)):
        raise ImageError(f"{row.path} holds NaN or infinity; export it again")


def _integer(value):
    """The value as an integer; 0 for None and NaN, which stand for unknown."""
    return int(value) if value is not None and value == value else 0
