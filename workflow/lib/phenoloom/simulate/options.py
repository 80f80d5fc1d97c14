"""Options of the simulator: their defaults, and the checks that need more than one of them."""

from phenoloom.core.errors import InputError
from phenoloom.core.wells import FORMATS

FLUORESCENCE = ("DNA", "ER", "RNA", "AGP", "Mito")
BRIGHTFIELD = ("BF1", "BF2", "BF3")
CHANNELS = FLUORESCENCE + BRIGHTFIELD

#: What the compounds do, by the name of their MoA: factors on properties of the cells at full strength (neutral: 1).
#: A compound of strength s applies factor ** s, so that every planted change is monotone in the dose.
#: Where cells are lost the others spread, as they do in a dish: profiles without counts can see that.
MECHANISMS = {
    "nuclear size": {"nuclear_area": 1.7},
    "mitochondrial fragmentation": {"mito_length": 0.12},
    "cell count": {"cell_count": 0.3, "cell_area": 1.6},
    "elongation": {"elongation": 2.0},
    "RNA translocation": {"rna_nuclear": 2.4, "rna_cytoplasm": 0.75},
    "ER intensity": {"er_intensity": 1.9},
}

#: The positive control does several things at once, none of which is an MoA of the study.
POSITIVE_CONTROL = {"rna_nucleoli": 0.1, "rna_cytoplasm": 0.5, "nuclear_area": 0.75, "cell_count": 0.75}

#: Every property that a compound can change.
PROPERTIES = (
    "nuclear_area",
    "mito_length",
    "cell_count",
    "cell_area",
    "elongation",
    "rna_nuclear",
    "rna_cytoplasm",
    "rna_nucleoli",
    "er_intensity",
)

#: A well is active in the truth table when its planted strength is at least this; weaker ones may or may not be found.
DETECTABLE = 0.25

#: The same values as the defaults of the schema (a test compares them).
DEFAULTS = {
    "seed": 1,
    "batches": 2,
    "plates_per_batch": 3,
    "wells": 24,
    "sites": 1,
    "width": 512,
    "height": 512,
    "channels": list(CHANNELS),
    "compression": "zlib",
    "cells": 60,
    "mechanisms": list(MECHANISMS),
    "compounds_per_batch": 1,
    "inactive_compounds": 2,
    "concentrations": [3, 30],
    "half_effect": 3,
    "negative_controls": 6,
    "positive_controls": 2,
    "effect_scale": 1,
    "vignetting": 0.35,
    "batch_effect": 0.2,
    "position_effect": 0.1,
    "well_effect": 0.04,
    "noise": 1,
    "out_of_focus_sites": 1,
    "saturated_sites": 1,
    "debris_sites": 0,
}


def complete(options):
    """Options with defaults filled in. Raises InputError for an unknown name or a plate that is too small."""
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise InputError(f"simulate has no option {unknown[0]!r}; the options are {', '.join(DEFAULTS)}")
    full = {**DEFAULTS, **options}
    for name in full["mechanisms"]:
        if name not in MECHANISMS:
            raise InputError(f"simulate: mechanisms has no {name!r}; choose from {', '.join(MECHANISMS)}")
    for name in full["channels"]:
        if name not in CHANNELS:
            raise InputError(f"simulate: channels has no {name!r}; choose from {', '.join(CHANNELS)}")
    if full["wells"] not in FORMATS:
        raise InputError(f"simulate: wells is {full['wells']}; a plate has one of {', '.join(map(str, FORMATS))} wells")
    needed = full["negative_controls"] + full["positive_controls"] + treatments_per_plate(full)
    if needed > full["wells"]:
        raise InputError(
            f"simulate: a plate of {full['wells']} wells cannot hold {needed} controls and treatments; "
            "raise wells or lower concentrations, mechanisms, inactive_compounds or the controls"
        )
    return full


def treatments_per_plate(options):
    """Number of different treatments (compound x concentration) on a plate, controls not counted."""
    compounds = len(options["mechanisms"]) * options["compounds_per_batch"] + options["inactive_compounds"]
    return compounds * len(options["concentrations"])
