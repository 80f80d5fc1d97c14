"""The report: one HTML page that holds everything it shows and opens without a network."""

import base64
import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from phenoloom.report import style
from phenoloom.report.gallery import read_gallery

#: Longest side in pixels of pictures (not charts) inside the page; the full ones lie in the folder of figures.
PICTURE_SIDE = 2200
JPEG_QUALITY = 86
#: A chart goes in as SVG up to this size, as PNG beyond.
SVG_BYTES = 120_000


@dataclass
class Picture:
    """One figure of the page: its place, words, size in CSS pixels and, when embedded, its data URI."""

    anchor: str
    title: str
    caption: str
    source: str
    group: str
    page: int
    width: int
    height: int
    kind: str
    path: Path = None
    uri: str = ""


@dataclass
class Section:
    """One section of the page: its pictures, and notes on what is missing."""

    anchor: str
    title: str
    pictures: list = field(default_factory=list)
    notes: list = field(default_factory=list)


def slug(*parts):
    """An identifier for an anchor: letters, digits and hyphens; other characters by their code point."""
    text = "-".join(str(part) for part in parts)
    return "s-" + "".join(mark if re.match(r"[A-Za-z0-9-]", mark) else f"_{ord(mark):x}" for mark in text)


def section(anchor, title, folders, where):
    """A section with the figures of several galleries. where: folder -> its path as readers see it."""
    found = Section(anchor, title)
    for folder in folders:
        entries, notes = read_gallery(folder)
        found.notes.extend(notes)
        for entry in entries:
            found.pictures.append(
                Picture(
                    anchor=slug(anchor, where(folder), entry.name),
                    title=entry.title,
                    caption=entry.caption,
                    source=f"{where(folder)}/{entry.name}",
                    group=slug(anchor, where(folder), entry.group),
                    page=entry.page,
                    width=round(entry.width * style.PIXELS_PER_INCH),
                    height=round(entry.height * style.PIXELS_PER_INCH),
                    kind=entry.kind,
                    path=Path(folder) / entry.name,
                )
            )
    return found


def embed(pictures, budget):
    """Fill the data URIs until `budget` bytes are spent: first pages of all groups first, then second ones, and so on.

    Returns the number left out. A picture that no longer fits is skipped, smaller ones after it may still fit.
    """
    left_out = 0
    for picture in sorted(pictures, key=lambda picture: picture.page):
        uri = data_uri(picture.path, picture.kind)
        if len(uri) <= budget:
            picture.uri = uri
            budget -= len(uri)
        else:
            left_out += 1
    return left_out


def data_uri(stem, kind):
    """Data URI of a figure: charts as SVG (PNG when that is large), pictures as JPEG."""
    if kind == "image":
        return _uri("image/jpeg", _jpeg(f"{stem}.png"))
    vector, raster = Path(f"{stem}.svg"), Path(f"{stem}.png")
    if vector.stat().st_size <= SVG_BYTES:
        return _uri("image/svg+xml", vector.read_bytes())
    return _uri("image/png", _small_png(raster))


def _uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _jpeg(path):
    from PIL import Image

    with Image.open(path) as image:
        image = image.convert("RGB")
        image.thumbnail((PICTURE_SIDE, 4 * PICTURE_SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True, subsampling=0)
    return buffer.getvalue()


def _small_png(path):
    """The PNG with a palette of 256 colours, a third of the size, which keeps rare colours too: those of a legend."""
    from PIL import Image

    with Image.open(path) as image:
        buffer = io.BytesIO()
        image.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            buffer, "PNG", optimize=True
        )
    return min(buffer.getvalue(), Path(path).read_bytes(), key=len)


def as_yaml(config):
    """The config as YAML text, in its own order."""
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=100)


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def number(value, digits=3):
    """A number as text: 12,345 for whole ones, three significant digits otherwise, '–' for none or NaN."""
    if value is None or value != value:
        return "–"
    if isinstance(value, str):
        return value
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "\N{MINUS SIGN}")
    value = float(value)
    if abs(value) < 1e-4 or abs(value) >= 1e6:
        return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}", 1 if value < 0 else 0)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(value):
    """A share as text with one decimal at most: 97 %, 99.6 %; '–' for NaN. Never rounds up to 100."""
    if value is None or value != value:
        return "–"
    text = f"{value * 100:.1f}".removesuffix(".0")
    if text == "100" and value < 1:
        text = "> 99.9"
    if text == "0" and value > 0:
        text = "< 0.1"
    return f"{text} %"


def bar(value, low, high, null):
    """Places (0..100) of a score, its interval and its null on a small bar, or None where it is on another scale."""
    if value is None or not 0 <= value <= 1:
        return None

    def place(number):
        return round(100 * min(1.0, max(0.0, number)), 2) if number == number else None

    return {"value": place(value), "low": place(low), "high": place(high), "null": place(null)}


def render(templates, context, filters=None):
    """The page as text from report.html.j2 in the folder `templates`. Everything but Markup is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(str(templates)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent, **(filters or {}))
    return environment.get_template("report.html.j2").render(context)
