"""What is wrong with the images of a plate: unreadable, given twice, of another size, of an incomplete site."""

from collections import Counter, defaultdict

import numpy as np

from phenoloom.core.wells import position
from phenoloom.core.words import count
from phenoloom.ingest.listing import Problem


def check_plate(found, facts, channels, sites, expected=(), shape=None):
    """Sort the planes of a plate into those of usable sites and a list of problems; a usable site has every channel.

    found: list of Found. facts: {path: Facts}. channels: names, in order. sites: all (well, site) pairs seen.
    expected: pairs that should be there. shape: (width, height) that is due; by default the most frequent one.
    Rules: an image that is unreadable, or of another size than most of the plate or another type than most of its
    channel, is lost. Of images given twice the first is taken if the files' contents are the same; if not, neither is
    taken. A site that then lacks a channel is lost as a whole.
    Returns (planes that are used, problems).
    """
    problems = []
    given = {(plane.well, plane.site) for plane in found}
    usable = _readable(found, facts, problems)
    usable = _once(usable, facts, problems)
    usable = _uniform(usable, facts, shape, problems)
    there = defaultdict(set)
    for plane in usable:
        there[plane.well, plane.site].add(plane.channel)
    lost = set()
    for well, site in sorted(set(sites) | set(expected)):
        missing = [name for name in channels if name not in there[well, site]]
        if not missing:
            continue
        lost.add((well, site))
        what = f"no usable image of {', '.join(missing)}" if (well, site) in given else "no images"
        channel = missing[0] if len(missing) == 1 else None
        problems.append(
            Problem("incomplete", f"site left out: {what}", unit="site", well=well, site=site, channel=channel)
        )
    problems += _uneven(set(sites) | set(expected))
    kept = [plane for plane in usable if (plane.well, plane.site) not in lost]
    order = {name: number for number, name in enumerate(channels)}
    return sorted(kept, key=lambda plane: (plane.well, plane.site, order[plane.channel])), problems


def doubled(found):
    """The planes of a list of Found that share their well, site and channel with another."""
    places = Counter((plane.well, plane.site, plane.channel) for plane in found)
    return [plane for plane in found if places[plane.well, plane.site, plane.channel] > 1]


def _readable(found, facts, problems):
    usable = []
    for plane in found:
        error = facts[plane.path].errors.get(plane.page)
        if error:
            problems.append(Problem("unreadable", error, well=plane.well, site=plane.site, channel=plane.channel))
        else:
            usable.append(plane)
    return usable


def _once(found, facts, problems):
    """One plane per well, site and channel."""
    groups = defaultdict(list)
    for plane in found:
        groups[plane.well, plane.site, plane.channel].append(plane)
    usable = []
    for (well, site, channel), planes in sorted(groups.items()):
        if len(planes) == 1:
            usable += planes
            continue
        contents = {(facts[plane.path].digest, plane.page) for plane in planes}
        known = all(facts[plane.path].digest for plane in planes)
        files = ", ".join(plane.path for plane in planes[:3])
        if len(contents) == 1 and known:
            usable.append(planes[0])
            reason, severity = f"the same image is there {len(planes)} times, the first is used: {files}", "flagged"
        else:
            use = "none is used" if known else "none is used unless they are the same"
            reason, severity = f"{len(planes)} images claim this place, {use}: {files}", "lost"
        problems.append(
            Problem("duplicate", reason, severity, "image", len(planes) - (severity == "flagged"), well, site, channel)
        )
    return usable


def _uniform(found, facts, shape, problems):
    """Planes of the plate's usual size and their channel's usual type."""
    headers = {plane: facts[plane.path].pages[plane.page] for plane in found}
    shapes = Counter(header[:2] for header in headers.values())
    usual = shape or max(shapes, key=lambda size: (shapes[size], size), default=None)
    types = defaultdict(Counter)
    for plane, (width, height, dtype) in headers.items():
        if (width, height) == usual:
            types[plane.channel][dtype] += 1
    usable = []
    for plane, (width, height, dtype) in headers.items():
        where = {"well": plane.well, "site": plane.site, "channel": plane.channel}
        if (width, height) != usual:
            due = "the geometry declares" if shape else "the plate has"
            problems.append(
                Problem("size", f"{plane.path} is {width}x{height} where {due} {usual[0]}x{usual[1]}", **where)
            )
            continue
        kinds = types[plane.channel]
        kind = max(kinds, key=lambda name: (kinds[name], np.dtype(name).itemsize, name))
        if dtype != kind:
            problems.append(
                Problem("type", f"{plane.path} is {dtype} where most images of the channel are {kind}", **where)
            )
            continue
        usable.append(plane)
    return usable


def _uneven(sites):
    """Wells with fewer sites than most have: nothing is lost that was there, but it may not have been copied."""
    counts = Counter(well for well, _ in sites)
    if not counts:
        return []
    frequent = Counter(counts.values())
    usual = max(frequent, key=lambda number: (frequent[number], number))
    return [
        Problem(
            "uneven", f"it has {count(counts[well], 'site')} where most wells have {usual}", "flagged", "well", 1, well
        )
        for well in sorted(counts, key=position)
        if counts[well] < usual
    ]
