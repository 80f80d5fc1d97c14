"""Image reading inside CellProfiler: plain grey TIFFs through tifffile, everything else through Bio-Formats.

Works on Python 3.9 in the CellProfiler environment. Plain TIFFs give the same numbers either way (tested on files of
three instruments); read so, they need no Java, whose start costs more than many a site.
"""

import logging
import os

import numpy as np
import tifffile

_PLAIN = {".tif", ".tiff"}
#: Bio-Formats has readers of its own for these dialects of TIFF, which may order planes or scale otherwise.
_DIALECTS = ("ome", "imagej", "lsm", "stk", "fluoview", "nih", "micromanager", "mdgel", "scanimage", "andor", "sis")
_SCALES = {"uint8": 255, "uint16": 65535}

_java = {"started": False}


class TiffReader:
    """Reads planes of one plain grey TIFF with the signature of bioformats.ImageReader.read."""

    def __init__(self, path):
        self.path = path

    def read(
        self,
        c=None,
        z=0,
        t=0,
        series=None,
        index=None,
        rescale=True,
        wants_max_intensity=False,
        channel_names=None,
        XYWH=None,
    ):
        """The plane `index` as float32 in [0, 1] when `rescale`, else in its own type; with its scale if wanted."""
        with tifffile.TiffFile(self.path) as tiff:
            page = tiff.pages[0 if index is None else int(index)]
            scale = _SCALES[page.dtype.name]
            image = page.asarray()
        if rescale:
            image = image.astype(np.float32) / float(scale)
        return (image, scale) if wants_max_intensity else image

    def close(self):
        """Nothing is held open."""


def install():
    """Let CellProfiler take TiffReader where it may, and start Java only when Bio-Formats is needed."""
    from bioformats import formatreader
    from cellprofiler_core.utilities.pathname import url2pathname

    by_bioformats = formatreader.get_image_reader

    def get_image_reader(key, path=None, url=None):
        file = path or (url2pathname(url) if url and url.lower().startswith("file:") else None)
        if file is not None and os.path.exists(file):
            check_whole(file)
            if is_plain(file):
                return TiffReader(file)
        start_java()
        return by_bioformats(key, path=path, url=url)

    formatreader.get_image_reader = get_image_reader


def is_plain(path):
    """Whether a file is a TIFF of one grey unsigned plane of 8 or 16 bits per page, of no special dialect."""
    if os.path.splitext(path)[1].lower() not in _PLAIN:
        return False
    try:
        with tifffile.TiffFile(path) as tiff:
            if any(getattr(tiff, f"is_{dialect}", False) for dialect in _DIALECTS):
                return False
            page = tiff.pages[0]
            return (
                len(tiff.pages) == 1
                and page.dtype is not None
                and page.dtype.name in _SCALES
                and page.bitspersample == 8 * page.dtype.itemsize
                and page.samplesperpixel == 1
                and page.photometric == 1
                and page.compression in (1, 8, 32946)
                and not page.tags.get("MaxSampleValue")
                and page.tags.get("Orientation", _Upright).value == 1
            )
    except Exception as error:  # whatever ails it, Bio-Formats has the last word
        logging.info("%s is not a plain TIFF: %s", path, error)
        return False


class _Upright:
    value = 1


def check_whole(path):
    """Raise OSError when a file is empty or a TIFF that ends before its pixels do (Bio-Formats fills up silently)."""
    size = os.path.getsize(path)
    if size == 0:
        raise OSError(f"{path} is empty (0 bytes)")
    if os.path.splitext(path)[1].lower() not in _PLAIN:
        return
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            end = max((offset + count for offset, count in zip(page.dataoffsets, page.databytecounts)), default=0)  # noqa: B905 (Python 3.9)
    except Exception as error:
        raise OSError(f"{path} is not a readable TIFF ({error})") from error
    if end > size:
        raise OSError(f"{path} is truncated: {size} bytes where its pixels end at byte {end}")


def start_java():
    """Start CellProfiler's JVM, once."""
    if not _java["started"]:
        from cellprofiler_core.utilities.java import start_java as start

        start()
        _java["started"] = True
