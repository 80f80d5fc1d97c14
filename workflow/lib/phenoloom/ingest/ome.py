"""Multi-page TIFF: which page is which channel, plane and time, from OME-XML or from a list in the config."""

from pathlib import Path
from typing import NamedTuple

import tifffile
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from phenoloom.core.images import ImageError, read_header


class Page(NamedTuple):
    """A page of a file (0-based): names of its channel, plane (from 1) and time (from 1), None where unsaid."""

    page: int
    aliases: tuple
    z: int | None
    time: int | None


def pages_of(path, names=None):
    """Pages of a multi-page TIFF. `names`: channel of each page in turn, for files without OME-XML.

    Raises ImageError when the file cannot be read, has other pages than named, or holds several fields of view.
    """
    count, description = _read(path)
    if names:
        if count != len(names):
            raise ImageError(f"{path} has {count} pages where images.pages names {len(names)}")
        return [Page(page, (name,), None, None) for page, name in enumerate(names)]
    if "<OME" not in description:
        return [Page(page, (f"page{page + 1}", str(page + 1)), None, None) for page in range(count)]
    return _ome_pages(path, description, count)


def _read(path):
    """(number of pages, text of the first page's description) of a TIFF."""
    count = read_header(path)[3]
    try:
        with tifffile.TiffFile(path) as tiff:
            return count, str(tiff.pages[0].description or "")
    except Exception as error:  # damaged tags surface as any kind of error
        raise ImageError(f"{path} has a damaged description ({type(error).__name__}); copy it again") from error


def _ome_pages(path, description, count):
    """Order of pages by OME-XML: DimensionOrder and sizes, overruled by TiffData where it says more.

    Source: the OME model, https://docs.openmicroscopy.org/ome-model/6.3.1/ome-tiff/specification.html
    """
    try:
        root = fromstring(description.encode("utf-8"), forbid_dtd=True)
    except (ParseError, DefusedXmlException) as error:
        raise ImageError(f"{path} has OME-XML that cannot be read safely ({type(error).__name__})") from error
    fields = [element for element in root.iter() if _name(element) == "Pixels"]
    if len(fields) != 1:
        raise ImageError(f"{path} holds {len(fields)} fields of view; save one OME-TIFF per site")
    pixels = fields[0]
    try:
        sizes = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in "CZT"}
        blocks = [
            {key: int(value) for key, value in element.attrib.items()}
            for element in pixels
            if _name(element) == "TiffData" and _in_this_file(element, path)
        ]
    except ValueError as error:
        raise ImageError(f"{path} has OME-XML with sizes that are no numbers") from error
    order = pixels.get("DimensionOrder", "XYCZT")[2:]
    if sorted(order) != ["C", "T", "Z"] or min(sizes.values()) < 1:
        raise ImageError(f"{path} has OME-XML with dimension order {order!r} and sizes {sizes}, which cannot be")
    channels = [element for element in pixels if _name(element) == "Channel"]
    names = [(channel.get("Name"), channel.get("ID")) for channel in channels]
    strides = _strides(order, sizes)
    total = sizes["C"] * sizes["Z"] * sizes["T"]
    pages = {}
    for block in blocks or [{}]:
        first = sum(block.get(f"First{axis}", 0) * strides[axis] for axis in "CZT")
        start = block.get("IFD", 0)
        length = block.get("PlaneCount", 1 if "IFD" in block else total - first)
        for step in range(min(length, count)):
            if first + step < total and start + step < count:
                pages[first + step] = start + step
    found = []
    for position, page in sorted(pages.items()):
        at = {axis: position // strides[axis] % sizes[axis] for axis in "CZT"}
        own = names[at["C"]] if at["C"] < len(names) else ()
        aliases = tuple(name for name in own if name) + (f"C{at['C'] + 1}", str(at["C"] + 1))
        several = {axis: at[axis] + 1 if sizes[axis] > 1 else None for axis in "ZT"}
        found.append(Page(page, aliases, several["Z"], several["T"]))
    return found


def _in_this_file(block, path):
    """Whether a TiffData block speaks of this file: in sets of files every one describes all of them."""
    files = [child.get("FileName") for child in block if _name(child) == "UUID" and child.get("FileName")]
    return not files or Path(path).name in files


def _strides(order, sizes):
    strides, step = {}, 1
    for axis in order:
        strides[axis] = step
        step *= sizes[axis]
    return strides


def _name(element):
    return str(element.tag).rsplit("}", 1)[-1]
