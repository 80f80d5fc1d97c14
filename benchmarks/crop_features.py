"""Classical features of single cells: all at once against a loop of scikit-image, one core, CPU time, in one run.

python benchmarks/crop_features.py [--cells 10000] [--channels 8] [--size 104 64] [--loop 40] [--repeats 3]
    [--unstained 2]

Cells are round spots with grain on noise; the last channels are noise alone, as unstained channels are, and cost most,
because their masks are large. Both sides measure the same features with the same options: Otsu's mask, intensity,
shape, moments, gradient, 13 texture features at 2 distances and 4 angles, 8 openings, and per two channels Pearson's r,
overlap and Manders' shares. The loop crops each mask to its bounding box. It is measured on the first cells only,
`--loop` of them, `--repeats` times, interleaved with ours. Values that both sides give are compared. Peak memory is of
one process that reads the stack from a memory-mapped file.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: one core for both

import argparse  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from itertools import combinations  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402
from scipy.ndimage import laplace  # noqa: E402
from skimage.feature import graycomatrix, graycoprops  # noqa: E402
from skimage.filters import threshold_otsu  # noqa: E402
from skimage.measure import regionprops  # noqa: E402
from skimage.morphology import opening  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "lib"))

from phenoloom.crops import feature_names, iterate_features  # noqa: E402

DISTANCES, LEVELS, SCALES = (1, 3), 16, 8
OPTIONS = {"distances": DISTANCES, "levels": LEVELS, "scales": SCALES}
PROPERTIES = ("ASM", "contrast", "correlation", "entropy", "homogeneity", "variance")
ROW, COLUMN = np.indices((LEVELS, LEVELS))
PLUS, MINUS = (ROW + COLUMN).ravel(), np.abs(ROW - COLUMN).ravel()


def simulate(path, cells, channels, size, unstained=2):
    """Write a stack (cells, channels, *size) float32 of spots 14 to 19 pixels across."""
    stack = np.lib.format.open_memmap(path, "w+", np.float32, (cells, channels, *size))
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    for start in range(0, cells, 100):
        part = stack[start : start + 100]
        shape = (len(part), channels, 1, 1)
        row, column = (rng.uniform(0.43 * length, 0.57 * length, (len(part), 1, 1, 1)) for length in size)
        height, width = rng.uniform(6, 8, (2, *shape))
        spot = 1000 * np.exp(-(((y - row) / height) ** 2 + ((x - column) / width) ** 2) / 2)
        spot[:, channels - unstained :] = 0
        part[:] = spot * rng.uniform(0.7, 1.3, spot.shape) + rng.normal(0, 20, spot.shape)
    stack.flush()


def other_texture(counts):
    """Haralick's features of one matrix that scikit-image does not have."""
    shares = counts / counts.sum()
    plus, minus = np.bincount(PLUS, shares.ravel()), np.bincount(MINUS, shares.ravel())
    margin, k = shares.sum(axis=0), np.arange(len(plus))
    joint, single = stats.entropy(shares.ravel()), stats.entropy(margin)
    difference = minus @ (k[:LEVELS] - minus @ k[:LEVELS]) ** 2
    found = [plus @ k, plus @ (k - plus @ k) ** 2, stats.entropy(plus), difference, stats.entropy(minus)]
    return [*found, (joint - 2 * single) / single, np.sqrt(1 - np.exp(-2 * max(2 * single - joint, 0)))]


def loop(cell):
    """Features of one cell (C, H, W) by scikit-image, channel by channel: name -> value of the first channel."""
    masks, found = [], {}
    for channel, image in enumerate(cell):
        mask = image > threshold_otsu(image)
        masks.append(mask)
        region = regionprops(mask.view(np.uint8), image)[0]
        box, pixels, inside = region.image_intensity, region.image_intensity[region.image], region.image
        measures = [region.perimeter, region.axis_major_length, region.axis_minor_length, region.eccentricity]
        measures += [region.area_bbox, region.extent, region.euler_number, *region.moments_hu]
        measures += [*region.moments_weighted_hu, *region.centroid, *region.centroid_weighted]
        measures += np.linalg.eigvalsh(region.moments_weighted_central[:2, :2]).tolist()
        measures += [pixels.sum(), pixels.mean(), pixels.std(), stats.skew(pixels), stats.kurtosis(pixels)]
        measures += np.percentile(pixels, [0, 5, 25, 50, 75, 95, 100]).tolist()
        measures.append(stats.median_abs_deviation(pixels))
        low, high = pixels.min(), pixels.max()
        grey = np.where(inside, np.clip((box - low) * LEVELS / (high - low), 0, LEVELS - 1).astype(np.uint8) + 1, 0)
        angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
        counts = graycomatrix(grey.astype(np.uint8), DISTANCES, angles, LEVELS + 1, symmetric=True)[1:, 1:]
        texture = {name: graycoprops(counts, name) for name in PROPERTIES}
        measures += [
            other_texture(matrix) for matrix in np.moveaxis(counts, (0, 1), (2, 3)).reshape(-1, LEVELS, LEVELS)
        ]
        length = np.hypot(*np.gradient(image))[mask]
        measures += [length.mean(), length.std(), np.square(length).sum() / np.square(pixels).sum()]
        measures.append(laplace(image)[mask].var())
        padded = np.pad(np.where(inside, np.maximum(box, 0), 0), SCALES)
        sums = [padded.sum(), *(opening(padded, np.ones((2 * k + 1,) * 2)).sum() for k in range(1, SCALES + 1))]
        if channel == 0:
            found = {
                "AreaShape_Area": region.area,
                "AreaShape_Perimeter": region.perimeter,
                "Intensity_MeanIntensity": pixels.mean(),
                "Texture_Contrast_1": texture["contrast"][0, [0, 2]].mean(),
                "Granularity_3": 100 * (sums[2] - sums[3]) / sums[0],
                "Gradient_MeanMagnitude": length.mean(),
            }
    for a, b in combinations(range(len(cell)), 2):
        union = masks[a] | masks[b]
        r = stats.pearsonr(cell[a][union], cell[b][union])[0]
        one, two = cell[a] * masks[a], cell[b] * masks[b]
        _ = (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum()), one[masks[b]].sum(), two[masks[a]].sum()
        if (a, b) == (0, 1):
            found["Correlation_Correlation"] = r
    return found


def ours(stack, channels):
    """(CPU seconds, features of the last chunk) of all events."""
    start = time.process_time()
    for part, found in iterate_features(stack, channels, OPTIONS):
        last = part, found
    return time.process_time() - start, last


def compare(stack, channels, cells):
    """Largest relative difference of the values that both sides give, over the first `cells`."""
    names = {name: column for column, name in enumerate(feature_names(channels, OPTIONS))}
    found = next(iterate_features(stack[:cells], channels, OPTIONS))[1]
    worst = 0.0
    for cell, row in zip(stack[:cells], found, strict=False):
        for name, value in loop(np.array(cell)).items():
            pair = "_0_1" if name.startswith("Correlation") else "_0"
            if name != "Texture_Contrast_1":  # diagonal steps differ by rounding: shown by the tests
                worst = max(worst, abs(row[names[f"Cells_{name}{pair}"]] / value - 1))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(104, 64), help="height and width in pixels")
    parser.add_argument("--loop", type=int, default=40, help="cells that the loop measures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--unstained", type=int, default=2, help="channels that are noise alone")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    channels = [str(number) for number in range(options.channels)]
    if options.memory_of:
        ours(np.load(options.memory_of, mmap_mode="r"), channels)
        print(Path("/proc/self/status").read_text())
        return
    print(
        f"{options.cells} cells of {options.channels} channels, {options.size[0]}x{options.size[1]} pixels, one core, ",
        end="",
    )
    print(f"{options.unstained} channels of noise alone")
    print(f"{len(feature_names(channels, OPTIONS))} features per cell")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.npy"
        simulate(path, options.cells, options.channels, tuple(options.size), options.unstained)
        stack = np.load(path, mmap_mode="r")
        ours(stack[:100], channels)
        loop(np.array(stack[0]))
        fast, slow = [], []
        for _ in range(options.repeats):
            fast.append(options.cells / ours(stack, channels)[0])
            start = time.process_time()
            for cell in stack[: options.loop]:
                loop(np.array(cell))
            slow.append(options.loop / (time.process_time() - start))
        print("all at once   " + ", ".join(f"{rate:7.1f}" for rate in fast) + " cells/s")
        print("loop          " + ", ".join(f"{rate:7.2f}" for rate in slow) + f" cells/s, on {options.loop} cells only")
        ratios = sorted(a / b for a, b in zip(fast, slow, strict=True))
        print(f"ratio         {np.median(ratios):.1f} (from {ratios[0]:.1f} to {ratios[-1]:.1f})")
        print(f"largest relative difference of shared values, 10 cells: {compare(stack, channels, 10):.1g}")
        quarter = Path(folder) / "quarter.npy"
        np.save(quarter, stack[: max(1, options.cells // 4)])
        for name in (quarter, path):
            command = [sys.executable, __file__, "--memory-of", str(name), "--channels", str(options.channels)]
            status = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            print(f"stack of {name.stat().st_size / 2**20:5.0f} MB: peak {int(peak.split()[1]) / 1024:.0f} MB")


if __name__ == "__main__":
    main()
