"""Tables of single cells whose compounds change how the cells of a well differ, and the well's mean not at all.

Every well holds equally many cells, so that a sum over them reads nothing from their number.
"""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.wells import FORMATS, well_name
from phenoloom.simulate.seeds import generator

#: Kinds of effects, each with a MoA of either sign: a rare subpopulation, two features that go together, a long tail.
KINDS = ("mixture", "correlation", "skewness")
#: Features that each kind changes; those after them are noise.
WIDTH = 4
#: Share of the rare subpopulation, and how much of a feature's deviation is between the two.
RARE, APART = 0.2, 0.8
#: Correlation at full strength, shape of the gamma distribution of the tail (its skewness is 2 / sqrt(shape)).
CORRELATION, SHAPE = 0.9, 0.5
#: Strength of the weakest compound of a MoA; the others lie between it and 1.
WEAKEST = 0.6
#: Deviation of what a well, and of what a plate, adds to a feature; its deviation is 1.
WELL, PLATE = 0.1, 0.5
CONTROL, INERT = "DMSO", "inert"


def compounds(options):
    """DataFrame of the treatments: Perturbation, MoA, Kind, Sign, Strength; of controls and inert ones Kind is ''.

    options: `compounds` of each MoA; as many are inert.
    """
    strengths = np.linspace(1, WEAKEST, options["compounds"])
    letters = [chr(65 + number) for number in range(options["compounds"])]
    rows = [(CONTROL, "", "", 0, 0.0)]
    rows += [(f"{INERT} {letter}", "", "", 0, 0.0) for letter in letters]
    for kind in KINDS:
        for sign, word in ((1, "up"), (-1, "down")):
            moa = f"{kind} {word}"
            rows += [
                (f"{moa} {letter}", moa, kind, sign, strength)
                for letter, strength in zip(letters, strengths, strict=True)
            ]
    return pd.DataFrame(rows, columns=["Perturbation", "MoA", "Kind", "Sign", "Strength"])


def layout(options, plate):
    """DataFrame of a plate's wells, at positions drawn by the seed: Plate, Well and the columns of `compounds`.

    options: of `compounds`, `replicates` of each treatment on a plate, `seed`. Raises InputError when there is no room.
    """
    treatments = compounds(options)
    treatments = treatments.loc[np.repeat(treatments.index, options["replicates"])].reset_index(drop=True)
    size = next((size for size in FORMATS if size >= len(treatments)), None)
    if size is None:
        raise InputError(
            f"simulated cells: no plate has {len(treatments):,} wells; ask for fewer compounds or replicates"
        )
    columns = FORMATS[size][1]
    places = np.sort(generator(options, "places", plate).permutation(size)[: len(treatments)])
    wells = [well_name(place // columns, place % columns) for place in places]
    order = generator(options, "order", plate).permutation(len(treatments))
    return treatments.loc[order].reset_index(drop=True).assign(Plate=plate, Well=wells)


def megabytes(options):
    """Size of the values of all cells as float32, in MB."""
    rows = options["plates"] * len(compounds(options)) * options["replicates"] * options["cells"]
    return rows * (WIDTH * len(KINDS) + options["noise"]) * 4 / 1e6


def cells(options):
    """Yield a DataFrame of the cells of each plate: Metadata_* and `Cells_<kind>_<number>`, `Cells_noise_<number>`.

    options: `plates` (number), `compounds`, `replicates`, `cells` of a well, `noise` (number of features without
    any effect), `seed`.
    """
    features = [f"Cells_{kind}_{number + 1}" for kind in KINDS for number in range(WIDTH)]
    features += [f"Cells_noise_{number + 1}" for number in range(options["noise"])]
    for plate in (f"P{number + 1}" for number in range(options["plates"])):
        drawn = generator(options, "plate", plate)
        shift = drawn.normal(0, PLATE, len(features))
        scale = np.exp(drawn.normal(0, PLATE / 2, len(features)))
        parts = []
        for well in layout(options, plate).itertuples():
            rng = generator(options, "well", plate, well.Well)
            values = _cells_of_well(well, options["cells"], len(features), rng)
            values += rng.normal(0, WELL, len(features))
            frame = pd.DataFrame(values * scale + shift, columns=features)
            frame.insert(0, "Metadata_ObjectNumber", np.arange(1, len(frame) + 1))
            for key in ("MoA", "Perturbation", "Well", "Plate"):
                frame.insert(0, f"Metadata_{key}", getattr(well, key))
            parts.append(frame)
        yield pd.concat(parts, ignore_index=True)


def _cells_of_well(well, n_cells, n_features, rng):
    """Values (cells, features), each feature of mean 0 and deviation 1, changed as the compound does."""
    values = rng.normal(size=(n_cells, n_features))
    for number, kind in enumerate(KINDS):
        own = values[:, number * WIDTH : (number + 1) * WIDTH]
        own[:] = CHANGES[kind](own, well.Sign if well.Kind == kind else 0, well.Strength, rng)
    return values


def _mixture(values, sign, strength, rng):
    """Two subpopulations, as many cells in each; at either sign one of them is rare and the farther away."""
    share = 0.5 + sign * strength * (RARE - 0.5)
    member = (rng.random((len(values), 1)) < share) - share
    return APART * member / np.sqrt(share * (1 - share)) + np.sqrt(1 - APART**2) * values


def _correlation(values, sign, strength, rng):
    """Neighbouring features in pairs go together, or against each other."""
    rho = sign * strength * CORRELATION
    values[:, 1::2] = rho * values[:, ::2] + np.sqrt(1 - rho**2) * values[:, 1::2]
    return values


def _skewness(values, sign, strength, rng):
    """A long tail to one side."""
    tail = sign * (rng.gamma(SHAPE, size=values.shape) - SHAPE) / np.sqrt(SHAPE)
    share = strength * abs(sign)
    return np.sqrt(share) * tail + np.sqrt(1 - share) * values


#: (values, sign, strength, rng) -> values of the features of a kind.
CHANGES = {"mixture": _mixture, "correlation": _correlation, "skewness": _skewness}
