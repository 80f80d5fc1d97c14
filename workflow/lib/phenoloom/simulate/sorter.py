"""A run of an image-enabled cell sorter with known truth: an FCS file, one TIFF of eight pages per event, classes.

Nothing of it is a real instrument's: the layout of the files is, so that all that reads them can be tried.
"""

from array import array
from pathlib import Path

import flowio
import numpy as np
import pandas as pd
import tifffile

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic_folder
from phenoloom.simulate.seeds import generator

#: Pages of each TIFF, in order; Blank has no light.
PAGES = ("LightLoss", "FSC", "SSC", "Blank", "DNA", "Bodies", "Membrane", "Autofluorescence")
#: Detectors in the order of the FCS file; two have no page.
DETECTORS = ("SSC", "Violet_A", "FSC", "LightLoss", "DNA", "Bodies", "Membrane", "Red_A", "Autofluorescence")
CLASSES = ("one_nucleus", "two_nuclei", "many_spots", "elongated")
WIDTH, HEIGHTS = 104, (41, 137)
#: Highest value of a pixel; below it are background and noise, one value for all pages.
SATURATION, BACKGROUND, NOISE = 1.0, 0.02, 0.004
#: Pixels above background + this times the noise belong to a feature of the instrument.
MASK = 5
#: Brightest value of a typical cell's page, pulse area per summed pixel value, noise of areas.
PEAK = {"LightLoss": 0.25, "FSC": 0.3, "SSC": 0.28, "DNA": 0.3, "Bodies": 0.25, "Membrane": 0.22}
AREA, AREA_NOISE, DIM = 1.6e5, 2000.0, 0.03
#: spill[i][j]: share of detector i's light that detector j sees too.
SPILL = {("DNA", "Bodies"): 0.06, ("Bodies", "Membrane"): 0.04}
#: Ways in which events are bad: nothing in view, too bright, half out of view, a page too few, no whole file, no file.
DEFECTS = ("empty", "saturated", "cut_off", "wrong_pages", "unreadable", "missing")
#: Number and time of the first event, and ticks between events.
FIRST_EVENT, FIRST_TIME, TICKS = 695_624, (794 << 32) + 387_981_619, 50_000


def write_run(
    folder, sample, n_events, seed=1, batch="1", classes=CLASSES, defects=None, batch_effect=0.2, first=FIRST_EVENT
):
    """Write a run into `folder`, which appears complete or not, and return its truth, one row per event.

    Files: {sample}.fcs (FCS 3.1), images/{sample}_{event:08d}.tiff (float32, 104 wide, 41 to 137 high), and
    {sample}_classes.csv, the truth: Sample, Batch, Event, Class, Phase, DNA (content, 1 is G1), Nuclei, Spots,
    Elongation, Defect, Image. defects: {one of DEFECTS: how many events}. batch_effect: spread of the logarithm of
    the detectors' gains between batches. The same arguments give the same bytes. Raises InputError for wrong ones.
    """
    defects = dict.fromkeys(DEFECTS, 0) | (defects or {})
    _check(sample, n_events, classes, defects)
    options = {"seed": seed}
    truth = _draw(options, sample, batch, n_events, classes, defects)
    gains = _gains(options, batch, batch_effect)
    with atomic_folder(folder) as partial:
        (partial / "images").mkdir()
        rows = []
        for event in truth.itertuples():
            random = generator(options, "cell", sample, event.Event)
            light = render(random, event)
            stack = expose(random, light, gains, event.Defect)
            _write_stack(partial / event.Image, stack, event.Defect)
            rows.append(_measure(random, light, stack, gains))
        _write_fcs(partial / f"{sample}.fcs", sample, batch, rows, generator(options, "time", sample), first)
        truth.to_csv(partial / f"{sample}_classes.csv", index=False)
    return truth


def render(random, event):
    """Light of one event without background and noise: {page: (height, width) float64}, all of it within the canvas.

    event: Class, DNA, Nuclei, Spots, Elongation and Defect. A cell that will be cut off stands in the middle here.
    """
    radius = random.uniform(13, 17)
    long, short = radius * np.sqrt(event.Elongation), radius / np.sqrt(event.Elongation)
    angle = random.uniform(0, np.pi)
    reach = abs(long * np.cos(angle)) + abs(short * np.sin(angle))
    height = int(np.clip(2 * reach + random.uniform(10, 20) + random.exponential(9), *HEIGHTS))
    y, x = np.mgrid[:height, :WIDTH]
    centre_y, centre_x = height / 2 + random.normal(0, 1), WIDTH / 2 + random.normal(0, 2)
    along = (y - centre_y) * np.cos(angle) + (x - centre_x) * np.sin(angle)
    across = (x - centre_x) * np.cos(angle) - (y - centre_y) * np.sin(angle)
    inside = np.sqrt((along / long) ** 2 + (across / short) ** 2)
    body = np.clip(1 - inside**2, 0, 1) ** 0.5
    rim = np.exp(-(((inside - 0.92) / 0.12) ** 2))
    nuclei = [(0.0, 0.0)] if event.Nuclei == 1 else [(-0.38 * long, 0.0), (0.38 * long, 0.0)]
    dna = np.zeros(y.shape)
    for far, wide in nuclei:
        size = 0.36 * short * random.uniform(0.95, 1.05)
        dna += np.exp(-((((along - far) ** 2 + (across - wide) ** 2) / (2 * size**2)) ** 2))
    spots = np.zeros(y.shape)
    for _ in range(event.Spots):
        far, turn = 0.75 * np.sqrt(random.uniform(0, 1)), random.uniform(0, 2 * np.pi)
        spot_y, spot_x = far * long * np.cos(turn), far * short * np.sin(turn)
        spots += random.uniform(0.7, 1.3) * np.exp(-((along - spot_y) ** 2 + (across - spot_x) ** 2) / (2 * 1.3**2))
    grain = 1 + 0.15 * random.standard_normal(y.shape)
    light = {
        "LightLoss": body * np.exp(random.normal(0, 0.15)),
        "FSC": body**2 * np.exp(random.normal(0, 0.2)),
        "SSC": (0.5 * body + 0.5 * rim) * np.clip(grain, 0, None) * np.exp(random.normal(0, 0.3)),
        "Blank": np.zeros(y.shape),
        "DNA": 30 * event.DNA * dna / dna.sum(),
        "Bodies": 0.15 * body + spots * np.exp(random.normal(0, 0.25)),
        "Membrane": rim * np.exp(random.normal(0, 0.25)),
        "Autofluorescence": body * np.exp(random.normal(0, 0.35)),
    }
    dark = 0.0 if event.Defect == "empty" else 1.0
    return {page: dark * PEAK.get(page, DIM) * values for page, values in light.items()}


def expose(random, light, gains, defect=""):
    """Pixels of one event, float32 (pages, height, width): gain, background, noise, and what makes the event bad."""
    planes = []
    for page, values in light.items():
        if defect == "cut_off":
            values = np.roll(values, -values.shape[1] // 2, axis=1)
            values[:, values.shape[1] // 4 :] = 0
        bright = 12.0 if defect == "saturated" else 1.0
        plane = bright * gains[page] * values + BACKGROUND + NOISE * random.standard_normal(values.shape)
        planes.append(np.minimum(plane, SATURATION))
    return np.stack(planes).astype(np.float32)


def _check(sample, n_events, classes, defects):
    if not sample or Path(sample).name != sample or sample.startswith("."):
        raise InputError(f"a simulated sample cannot be named {sample!r}; take letters, digits and underscores")
    unknown = [name for name in classes if name not in CLASSES] + [name for name in defects if name not in DEFECTS]
    if unknown:
        known = ", ".join(CLASSES + DEFECTS)
        raise InputError(f"the simulated sorter knows no {unknown[0]!r}; there are {known}")
    if not classes or n_events < 1 or sum(defects.values()) > n_events:
        raise InputError(
            f"a simulated run of {n_events} events cannot have {sum(defects.values())} bad ones; make more"
        )


def _draw(options, sample, batch, n_events, classes, defects):
    """Truth of all events."""
    random = generator(options, "events", sample)
    kind = np.array(classes)[random.permutation(np.arange(n_events) % len(classes))]
    phase = random.choice(["G1", "S", "G2"], n_events, p=[0.5, 0.2, 0.3])
    content = np.select([phase == "G1", phase == "G2"], [1.0, 2.0], random.uniform(1.1, 1.9, n_events))
    bad = np.repeat(list(defects), list(defects.values()))
    defect = np.full(n_events, "", dtype=object)
    defect[random.choice(n_events, len(bad), replace=False)] = bad
    nuclei = np.where(kind == "two_nuclei", 2, 1)
    return pd.DataFrame(
        {
            "Sample": sample,
            "Batch": batch,
            "Event": np.arange(n_events),
            "Class": kind,
            "Phase": phase,
            "DNA": content * nuclei * np.exp(random.normal(0, 0.03, n_events)),
            "Nuclei": nuclei,
            "Spots": np.where(kind == "many_spots", random.integers(7, 14, n_events), random.integers(0, 2, n_events)),
            "Elongation": np.where(
                kind == "elongated", random.uniform(2.2, 2.8, n_events), random.uniform(1, 1.2, n_events)
            ),
            "Defect": defect,
            "Image": [f"images/{sample}_{event:08d}.tiff" for event in range(n_events)],
        }
    )


def _gains(options, batch, batch_effect):
    random = generator(options, "gain", batch)
    return {page: float(np.exp(random.normal(0, batch_effect))) for page in PAGES}


def _write_stack(path, stack, defect):
    """One page per channel, named in its PageName as the instrument does it."""
    if defect == "missing":
        return
    with tifffile.TiffWriter(path) as tiff:
        for page, plane in list(zip(PAGES, stack, strict=True))[: -1 if defect == "wrong_pages" else None]:
            name = [(285, "s", 0, page, True)]
            tiff.write(plane, photometric="minisblack", metadata=None, software=False, extratags=name)
    if defect == "unreadable":
        path.write_bytes(path.read_bytes()[:700])


def _measure(random, light, stack, gains):
    """What the instrument says of one event: {parameter: value}. Pulses see all light, features the image."""
    sums = {page: gains[page] * values.sum() for page, values in light.items()}
    heights = {page: gains[page] * values.sum(axis=1).max() for page, values in light.items()}
    sums |= {"Violet_A": 0.3 * sums["Autofluorescence"], "Red_A": 0.25 * sums["SSC"]}
    heights |= {"Violet_A": 0.3 * heights["Autofluorescence"], "Red_A": 0.25 * heights["SSC"]}
    for (source, target), share in SPILL.items():
        sums[target] += share * sums[source]
        heights[target] += share * heights[source]
    row = {}
    for detector in DETECTORS:
        row[f"{detector}-A"] = AREA * sums[detector] + random.normal(0, AREA_NOISE)
        row[f"{detector}-H"] = AREA / 40 * heights[detector] + random.normal(0, AREA_NOISE / 40)
    planes = dict(zip(PAGES, np.clip(stack - BACKGROUND, 0, None).astype(np.float64), strict=True))
    for page, plane in planes.items():
        row |= {f"{name} ({page})": value for name, value in _features(plane).items()}
    for one, other in (("DNA", "Bodies"), ("DNA", "Membrane"), ("Bodies", "Membrane"), ("FSC", "SSC")):
        row[f"Correlation ({one} x {other})"] = np.corrcoef(planes[one].ravel(), planes[other].ravel())[0, 1]
    return row


def _features(plane):
    """Size, maximum, eccentricity and radial moment of one plane, 0 where nothing is above noise.

    Source: Schraivogel et al. 2022, doi:10.1126/science.abj3013.
    """
    mask = plane > MASK * NOISE
    weight = np.where(mask, plane, 0.0)
    total = weight.sum()
    if total == 0:
        return dict.fromkeys(("Size", "MaxIntensity", "Eccentricity", "Radial Moment"), 0.0)
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
    y, x = y - (weight * y).sum() / total, x - (weight * x).sum() / total
    yy, xx, xy = (weight * y * y).sum() / total, (weight * x * x).sum() / total, (weight * x * y).sum() / total
    least, most = np.linalg.eigvalsh([[yy, xy], [xy, xx]])
    return {
        "Size": mask.sum(),
        "MaxIntensity": plane.max() * 65535,
        "Eccentricity": np.clip(least / most, 0, 1) if most > 0 else 0.0,
        "Radial Moment": yy + xx,
    }


def _write_fcs(path, sample, batch, rows, random, first):
    """FCS 3.1 of floats, in which numbers, times and flags are the bits of unsigned integers."""
    values = pd.DataFrame(rows).astype(np.float32)
    gaps = random.integers(TICKS // 10, 2 * TICKS, len(values))
    number, time = np.arange(first, first + len(values)), FIRST_TIME + np.cumsum(gaps)
    patterns = {
        "EventNumber0": number & 0xFFFFFFFF,
        "EventNumber1": number >> 32,
        "Time0": time & 0xFFFFFFFF,
        "Time1": time >> 32,
        "DeltaTime0": gaps,
        "WaveformPresent": np.ones(len(values)),
    }
    words = pd.DataFrame({name: value.astype(np.uint32).view(np.float32) for name, value in patterns.items()})
    table = np.concatenate([words.to_numpy(), values.to_numpy()], axis=1, dtype=np.float32)
    names = [*words.columns, *values.columns]
    ranges = ["9223372036854775807"] * 5 + ["4294967295"] + ["134217727"] * len(values.columns)
    detectors = [f"{detector}-A" for detector in DETECTORS]
    spill = np.eye(len(detectors))
    for (source, target), share in SPILL.items():
        spill[DETECTORS.index(source), DETECTORS.index(target)] = share
    keywords = {
        "cyt": "phenoloom simulated sorter",
        "smno": sample,
        "batch": batch,
        "timestep": "0.01",
        "spillover": ",".join([str(len(detectors)), *detectors, *(f"{value:g}" for value in spill.ravel())]),
        **{f"p{column}r": value for column, value in enumerate(ranges, start=1)},
    }
    flat = array("f")
    flat.frombytes(np.ascontiguousarray(table).tobytes())
    with open(path, "wb") as file:
        flowio.create_fcs(file, flat, names, metadata_dict=keywords)
