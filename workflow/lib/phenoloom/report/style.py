"""One look for all figures: colours safe for colour-blind readers, readable sizes, the same bytes each time."""

import contextlib
import re

import matplotlib

matplotlib.use("Agg")

from matplotlib import rc_context
from matplotlib.figure import Figure

#: Width of a full figure in inches; shown at 96 pixels per inch in the report.
WIDTH = 10.4
PIXELS_PER_INCH = 96
PNG_DPI = 144

INK = "#1d2733"
MUTED = "#66717e"
FAINT = "#e4e8ec"
MISSING = "#eceff1"
ACCENT = "#0072b2"
WARNING = "#d55e00"

#: Okabe and Ito's palette without its yellow, which vanishes on white.
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#5b4b8a")
MARKERS = ("o", "^", "s")

#: Colours of the roles that wells play.
ROLES = {"negative control": "#5c6773", "positive control": "#d55e00", "treated": "#a9cfe6"}

#: Sequential map of all heatmaps, and the one of illumination functions.
SEQUENTIAL = "viridis"
SHADING = "cividis"

_RC = {
    "figure.facecolor": "white",
    "figure.dpi": PIXELS_PER_INCH,
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "phenoloom",
    "svg.fonttype": "path",
    "image.interpolation": "none",
    "path.simplify": False,
}


@contextlib.contextmanager
def look():
    """Context in which figures are drawn and saved."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        with rc_context(_RC):
            yield


def new_figure(width=WIDTH, height=4.0):
    """A figure of the given size in inches; not registered anywhere, so nothing is left open."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure, stem):
    """Write `stem`.svg and `stem`.png. No dates and no program names go in: the same figure gives the same bytes."""
    with look():
        figure.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None})
        figure.savefig(f"{stem}.png", dpi=PNG_DPI, metadata={"Software": None})


def natural(text):
    """Sort key that puts plate 2 before plate 10."""
    parts = re.split(r"([0-9]+)", str(text))
    return tuple((0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts if part)


def shorten(text, length=28):
    """Text of at most `length` characters on one line, its middle replaced by an ellipsis."""
    text = re.sub(r"\s+", " ", "".join(mark if mark.isprintable() else " " for mark in str(text))).strip()
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"


def categories(values, limit=21):
    """Colour and marker for the most frequent values: [(value, colour, marker)], the rest is for grey.

    Ties in frequency go by natural order, and the chosen ones are listed in natural order, so that the same values
    always look the same. Empty text and NaN are no category.
    """
    counts = {}
    for value in values:
        if value == value and value is not None and str(value):
            counts[str(value)] = counts.get(str(value), 0) + 1
    frequent = sorted(counts, key=lambda value: (-counts[value], natural(value)))[:limit]
    return [
        (value, CATEGORIES[index % len(CATEGORIES)], MARKERS[index // len(CATEGORIES) % len(MARKERS)])
        for index, value in enumerate(sorted(frequent, key=natural))
    ]


def plain_number(value, _=None):
    """Tick label of a logarithmic axis: 0.01, 1, 100 (matplotlib's own need its mathematical markup)."""
    return f"{value:g}"


def share(value, digits=0):
    """'5 %', '99.7 %'."""
    return f"{100 * value:.{digits}f} %"
