"""Which well of which plate gets what: the design of the simulated study and the truth that is planted in it.

Pure and light, because the workflow asks for it while it builds the DAG.
"""

import random

import pandas as pd

from phenoloom.core.wells import FORMATS, position, well_name
from phenoloom.simulate.options import DETECTABLE, MECHANISMS, POSITIVE_CONTROL, PROPERTIES, complete

#: Invented names, one stem per mechanism; a letter tells the compounds of a mechanism apart.
STEMS = {
    "nuclear size": "nucleomagnin",
    "mitochondrial fragmentation": "mitofragin",
    "cell count": "depletol",
    "elongation": "fusiformin",
    "RNA translocation": "exportostat",
    "ER intensity": "reticulol",
}

#: One name has what breaks careless code: quotes, a semicolon, angle brackets, a letter beyond ASCII.
HOSTILE = {"fusiformin B": 'Compound "7"; <β>'}

NEGATIVE_CONTROL_NAME = "DMSO"
POSITIVE_CONTROL_NAME = "nucleolysin"
UNIT = "µM"

#: Columns of the design, in order.
COLUMNS = [
    "batch",
    "plate",
    "well",
    "perturbation",
    "concentration",
    "unit",
    "control",
    "moa",
    "dose",
    "effect",
    "strength",
    "active",
    "defects",
]


def plates(options):
    """(batch, plate) names in order. The last plate of a batch has a space in its name, as plates of labs do."""
    options = complete(options)
    last = options["plates_per_batch"]
    return [
        (f"batch{batch}", f"B{batch} P{plate}" if plate == last else f"B{batch}P{plate}")
        for batch in range(1, options["batches"] + 1)
        for plate in range(1, last + 1)
    ]


def wells(options):
    """Names of all wells of a plate, sorted (A01, A02, ...)."""
    rows, columns = FORMATS[complete(options)["wells"]]
    return [well_name(row, column) for row in range(rows) for column in range(columns)]


def sites(options):
    """(well, site) of a plate, sorted; sites count from 1."""
    options = complete(options)
    return [(well, site) for well in wells(options) for site in range(1, options["sites"] + 1)]


def design(options):
    """One row per well of the study, sorted by batch, plate and well, with what is planted there.

    Columns: batch, plate, well, perturbation, concentration (float, NaN for the negative control), unit, control
    ("negative", "positive", ""), moa ("" where there is none), dose (rank of the concentration from 1; 0 for the
    negative control), effect (mechanism planted, "" for none), strength (0 to about 1, 0: exactly nothing planted),
    active (strength at least options.DETECTABLE), defects (text such as "1=out_of_focus", site=kind, "" mostly).
    All plates of a batch hold the same treatments, at positions shuffled by plate.
    """
    options = complete(options)
    rows = []
    for number in range(options["batches"]):
        contents = _contents(options, number)
        taken = {}
        for batch, plate in plates(options):
            if batch == f"batch{number + 1}":
                rows.extend(_place(options, batch, plate, contents, taken))
    _plant_defects(options, rows)
    return pd.DataFrame(rows, columns=COLUMNS)


def planted(effect, strength):
    """Factor on every property of the cells (options.PROPERTIES) for an effect at a strength; 1 means untouched."""
    full = POSITIVE_CONTROL if effect == POSITIVE_CONTROL_NAME else MECHANISMS.get(effect, {})
    return {name: float(full.get(name, 1.0)) ** float(strength) for name in PROPERTIES}


def strength_of(concentration, options):
    """Planted strength of an active compound: Hill curve of slope 1, half of the full effect at `half_effect`."""
    return options["effect_scale"] * concentration / (concentration + options["half_effect"])


def _contents(options, batch):
    """What the wells of one plate of a batch hold, in no particular place: one dict per well."""
    letters = [chr(65 + batch * options["compounds_per_batch"] + k) for k in range(options["compounds_per_batch"])]
    compounds = [(f"{STEMS[name]} {letter}", name) for name in options["mechanisms"] for letter in letters]
    first = batch * options["inactive_compounds"] + 1
    compounds += [(f"inertol {first + k}", "") for k in range(options["inactive_compounds"])]
    doses = sorted(options["concentrations"])
    treatments = [
        _well(HOSTILE.get(name, name), float(dose), rank, effect, strength_of(dose, options) if effect else 0.0)
        for name, effect in compounds
        for rank, dose in enumerate(doses, start=1)
    ]
    negative = _well(NEGATIVE_CONTROL_NAME, float("nan"), 0, "", 0.0, control="negative")
    strong = float(options["effect_scale"])
    positive = _well(
        POSITIVE_CONTROL_NAME, 10.0, 1, POSITIVE_CONTROL_NAME if strong else "", strong, control="positive"
    )
    controls = [negative] * options["negative_controls"] + [positive] * options["positive_controls"]
    room = options["wells"] - len(controls)
    replicates = room // len(treatments) if treatments else 0
    rest = room - replicates * len(treatments)
    return controls + treatments * replicates + [negative] * rest


def _well(perturbation, concentration, dose, effect, strength, control=""):
    return {
        "perturbation": perturbation,
        "concentration": concentration,
        "unit": "" if control == "negative" else UNIT,
        "control": control,
        "moa": effect if control == "" else "",
        "dose": dose,
        "effect": effect if strength else "",
        "strength": strength,
        "active": strength >= DETECTABLE,
        "defects": "",
    }


def _place(options, batch, plate, contents, taken):
    """Shuffle contents over the wells so that no treatment comes back to a place it had on an earlier plate.

    taken: {(perturbation, concentration): set of wells}, filled here. On tiny plates the best of the tries is taken.
    """
    generator = random.Random(f"layout/{options['seed']}/{plate}")
    best, fewest = None, None
    for _ in range(20):
        names = wells(options)
        generator.shuffle(names)
        pairs = [
            (name, (row["perturbation"], row["concentration"]))
            for name, row in zip(names, contents, strict=True)
            if not row["control"]
        ]
        repeats = sum(name in taken.get(key, ()) for name, key in pairs)
        if fewest is None or repeats < fewest:
            best, fewest = (names, pairs), repeats
        if repeats == 0:
            break
    names, pairs = best
    for name, key in pairs:
        taken.setdefault(key, set()).add(name)
    rows = [{"batch": batch, "plate": plate, "well": name, **row} for name, row in zip(names, contents, strict=True)]
    return sorted(rows, key=lambda row: position(row["well"]))


def _plant_defects(options, rows):
    """Give sites of negative controls a defect: treatments keep all their replicates, plates keep other controls."""
    kinds = [kind for kind in ("out_of_focus", "saturated", "debris") for _ in range(options[f"{kind}_sites"])]
    candidates = [(row, site) for row in rows if row["control"] == "negative" for site in range(options["sites"])]
    random.Random(f"defects/{options['seed']}").shuffle(candidates)
    used = {}
    # Spread over the plates: the plate with the fewest defects comes next.
    for kind in kinds:
        if not candidates:
            break
        candidates.sort(key=lambda pair: used.get(pair[0]["plate"], 0))
        row, site = candidates.pop(0)
        used[row["plate"]] = used.get(row["plate"], 0) + 1
        row["defects"] = "; ".join(filter(None, [row["defects"], f"{site + 1}={kind}"]))


def defects_of(text, site):
    """Kinds of defect planted at a site, from the design's text."""
    pairs = (item.split("=", 1) for item in text.split("; ") if item)
    return [kind for number, kind in pairs if int(number) == int(site)]


def truth(options):
    """The design as a table: Metadata_* as in layout.parquet, Truth_* for what is planted.

    Truth_Dose, Truth_Effect, Truth_Strength, Truth_Active, Truth_Defects as in :func:`design`, and one factor on each
    property of the cells (Truth_NuclearArea, Truth_MitoLength, ...; 1 where the property is untouched).
    """
    rows = design(options)
    names = {"batch": "Batch", "plate": "Plate", "well": "Well", "perturbation": "Perturbation"}
    names |= {"concentration": "Concentration", "unit": "Unit", "control": "Control", "moa": "MoA"}
    table = rows.rename(columns={name: f"Metadata_{word}" for name, word in names.items()})
    table = table.rename(columns={name: f"Truth_{name.title()}" for name in COLUMNS if name not in names})
    factors = pd.DataFrame(
        [planted(effect, strength) for effect, strength in zip(rows["effect"], rows["strength"], strict=True)]
    )
    return table.join(factors.rename(columns=lambda name: "Truth_" + name.title().replace("_", "")))
