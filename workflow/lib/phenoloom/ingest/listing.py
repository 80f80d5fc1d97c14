"""All image planes of one plate, in the study's own channel names, whatever the instrument called them."""

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from phenoloom.core.errors import InputError
from phenoloom.core.images import ImageError
from phenoloom.ingest import filenames, instruments, load_data, ome
from phenoloom.ingest.filenames import Plane, channel_key, number, place_of
from phenoloom.ingest.folders import stat, walk


class Found(NamedTuple):
    """A plane under its channel's name in the study; size and mtime_ns of its file, 0 when the file is not there."""

    well: str
    site: int
    channel: str
    path: str
    page: int
    size: int
    mtime_ns: int


class Problem(NamedTuple):
    """Something that cannot be used (`lost`) or is odd (`flagged`); unit and count say how much of what.

    kind: unreadable, name, duplicate, size, type, incomplete, uneven or undeclared.
    """

    kind: str
    reason: str
    severity: str = "lost"
    unit: str = "image"
    count: int = 1
    well: str | None = None
    site: int | None = None
    channel: str | None = None


@dataclass
class Listing:
    """Planes of a plate that the study asks for, problems met, all (well, site) pairs seen in any channel, and numbers
    of files that were left aside by kind.
    """

    found: list
    problems: list
    sites: set
    aside: Counter = field(default_factory=Counter)


def list_plate(place, plate, channels, options):
    """List the planes of one plate.

    place: folder of the plate (or its load_data table). channels: {name: {"source": text or None}}. options: the
    dataset's block `images`. Reads names and instruments' files only, and descriptions of multi-page files.
    Raises InputError when nothing fits or when planes or time points must be chosen first.
    """
    problems, aside = [], Counter()
    planes, sizes = _READERS[options["format"]](place, plate, options, problems, aside)
    named = _name_channels(planes, channels, aside)
    named = _choose(named, "time", options.get("timepoint"), plate, "images.timepoint")
    named = _choose(named, "z", options.get("plane"), plate, "images.plane")
    if not named:
        raise InputError(_nothing(place, plate, channels, options, planes, aside, problems))
    sites = {(plane.well, plane.site) for plane in planes}
    sites |= {(problem.well, problem.site) for problem in problems if problem.site is not None}
    found = []
    for channel, _, plane in named:
        file = sizes.get(plane.path) or stat(plane.path)
        found.append(Found(plane.well, plane.site, channel, plane.path, plane.page, file.size, file.mtime_ns))
    return Listing(sorted(found), problems, sites, aside)


def _nothing(place, plate, channels, options, planes, aside, problems):
    if problems and not planes:
        return problems[0].reason
    sources = ", ".join(str((block or {}).get("source") or name) for name, block in channels.items())
    if planes:
        there = sorted({plane.aliases[0] for plane in planes})
        return f"{place} (plate {plate}) has images of {', '.join(there[:8])} but of none of the channels {sources}"
    seen = f"; {sum(aside.values())} files have other names" if aside else ""
    return f"{place} (plate {plate}) has no image that fits images.format '{options['format']}'{seen}"


def _by_names(regex, place, plate, options, problems, aside, aliases_of, files=None):
    """Planes of the files whose names fit `regex`; with slashes in the pattern, of the paths below the folder."""
    planes, sizes = [], {}
    deep = "/" in (options.get("pattern") or "") or "/" in (options.get("regex") or "")
    wrong = Counter()
    for file in walk(place) if files is None else files:
        name = file.name if deep else file.name.rsplit("/", 1)[-1]
        if "_thumb" in name.casefold():
            aside["thumbnails"] += 1
            continue
        match = regex.fullmatch(name)
        if not match:
            aside["other names"] += 1
            continue
        fields = match.groupdict()
        if fields.get("plate") and fields["plate"] != plate:
            aside["other plates"] += 1
            continue
        try:
            well, site = place_of(fields, options.get("site_base", 1))
        except ValueError as error:
            wrong[str(error)] += 1
            continue
        z, time = _folder_numbers(file.name)
        planes.append(
            Plane(
                well,
                site,
                aliases_of(fields),
                number(fields.get("z")) if fields.get("z") else z,
                number(fields.get("time")) if fields.get("time") else time,
                file.path,
            )
        )
        sizes[file.path] = file
    for reason, count in wrong.items():
        problems.append(Problem("name", f"{place}: {reason} ({count} file(s))", count=count))
    return planes, sizes


def _folder_numbers(name):
    """(plane, time) from the folders ZStep_n and TimePoint_n that MetaXpress makes; None where there is none."""
    z = time = None
    for part in name.split("/")[:-1]:
        kind, _, digits = part.casefold().partition("_")
        if digits.isdigit():
            z = int(digits) if kind == "zstep" else z
            time = int(digits) if kind == "timepoint" else time
    return z, time


def _pattern(place, plate, options, problems, aside):
    if bool(options.get("pattern")) == bool(options.get("regex")):
        raise InputError("images.format 'pattern' needs either images.pattern or images.regex")
    regex = (
        filenames.compile_pattern(options["pattern"])
        if options.get("pattern")
        else filenames.compile_regex(options["regex"])
    )

    def aliases_of(fields):
        return (fields.get("channel") or "",)

    return _by_names(regex, place, plate, options, problems, aside, aliases_of)


def _imagexpress(place, plate, options, problems, aside):
    files = walk(place)
    description = next((file.path for file in files if file.name.casefold().endswith(".htd")), None)
    names = instruments.wavelength_names(description) if description else {}

    def aliases_of(fields):
        channel = str(int(fields.get("channel") or 1))
        return tuple(filter(None, (f"w{channel}", channel, names.get(channel))))

    return _by_names(filenames.IMAGEXPRESS, place, plate, options, problems, aside, aliases_of, files)


def _phenix(place, plate, options, problems, aside):
    index = _beside(place, ("Index.idx.xml", "Index.xml"))
    if index:
        return instruments.phenix_planes(index), {}

    def aliases_of(fields):
        return (f"ch{fields['channel']}", fields["channel"])

    return _by_names(filenames.PHENIX, place, plate, options, problems, aside, aliases_of)


def _cellvoyager(place, plate, options, problems, aside):
    index = _beside(place, ("MeasurementData.mlf",))
    if index:
        planes, errors = instruments.cellvoyager_planes(index)
        problems += [
            Problem("unreadable", f"{index}: not taken ({text})", well=well, site=site) for well, site, text in errors
        ]
        return planes, {}

    def aliases_of(fields):
        channel, action = int(fields["channel"]), int(fields["action"])
        return (f"C{channel}", str(channel), f"A{action}C{channel}")

    return _by_names(filenames.CELLVOYAGER, place, plate, options, problems, aside, aliases_of)


def _load_data(place, plate, options, problems, aside):
    return load_data.read_load_data(place, plate, options.get("root"), options.get("site_base", 1)), {}


def _ome(place, plate, options, problems, aside):
    if not options.get("pattern"):
        raise InputError("images.format 'ome' needs images.pattern for the well and site of each file")
    regex = filenames.compile_pattern(options["pattern"])
    files, sizes = _by_names(regex, place, plate, options, problems, aside, lambda fields: ())
    planes = []
    for plane in files:
        try:
            pages = ome.pages_of(plane.path, options.get("pages"))
        except ImageError as error:
            problems.append(Problem("unreadable", str(error), well=plane.well, site=plane.site))
            continue
        planes += [
            plane._replace(aliases=page.aliases, z=page.z or plane.z, time=page.time or plane.time, page=page.page)
            for page in pages
        ]
    return planes, sizes


_READERS = {
    "pattern": _pattern,
    "imagexpress": _imagexpress,
    "phenix": _phenix,
    "cellvoyager": _cellvoyager,
    "load_data": _load_data,
    "ome": _ome,
}


def _beside(place, names):
    """Path of an instrument's file in the folder or in its folder Images, None where there is none."""
    for folder in (place, os.path.join(place, "Images")):
        for name in names:
            if os.path.isfile(os.path.join(folder, name)):
                return os.path.join(folder, name)
    return None


def _name_channels(planes, channels, aside):
    """[(channel, plane number that the channel asks for or None, plane)] of the planes the study asks for.

    A channel's source may end in `@N`: plane N of what stands before it, so that planes can be channels of their own.
    """
    wanted = defaultdict(list)
    for name, block in channels.items():
        source, at, plane = ((block or {}).get("source") or name).rpartition("@")
        if not at or not plane.isdigit():
            source, plane = source + at + plane, ""
        wanted[channel_key(source)].append((name, number(plane)))
    named = []
    alone = len(channels) == 1
    for plane in planes:
        for alias in plane.aliases:
            hits = wanted.get(channel_key(alias))
            # A study of one channel needs no name for it in the file names.
            if not hits and alone and alias == "":
                hits = [(next(iter(channels)), None)]
            if hits:
                named += [(name, z, plane) for name, z in hits if z is None or z == plane.z]
                break
        else:
            aside["other channels"] += 1
    return named


def _choose(named, axis, chosen, plate, key):
    """Keep one plane or time point of each channel; raises InputError when several are there and none is chosen."""
    there = defaultdict(set)
    for channel, own, plane in named:
        if axis != "z" or own is None:
            there[channel].add(getattr(plane, axis))
    several = {channel for channel, values in there.items() if len(values) > 1}
    if chosen is None:
        if several:
            channel = min(several)
            values = ", ".join("none" if value is None else str(value) for value in sorted(there[channel], key=_last))
            more = "; 'projection' takes images outside of the ZStep folders" if None in there[channel] else ""
            raise InputError(
                f"plate {plate} has several {'planes' if axis == 'z' else 'time points'} of channel {channel} "
                f"({values}): choose one by {key}{more}"
                + (", or make planes channels of their own (source: '...@2')" if axis == "z" else "")
            )
        return named
    value = None if chosen == "projection" else int(chosen)
    kept = [
        (channel, own, plane)
        for channel, own, plane in named
        if (axis == "z" and own is not None) or channel not in several or getattr(plane, axis) == value
    ]
    lost = several - {channel for channel, _, _ in kept}
    if lost:
        values = ", ".join("none" if value is None else str(value) for value in sorted(there[min(lost)], key=_last))
        raise InputError(f"plate {plate}: {key} is {chosen}, but channel {min(lost)} has {values}")
    return kept


def _last(value):
    return (value is None, value or 0)
