"""Everything wrong with a study's inputs in one list, before anything runs: reads names and headers, no pixels."""

import glob
import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.files import write_text
from phenoloom.core.tables import write_arrow
from phenoloom.core.wells import position
from phenoloom.ingest import geometry
from phenoloom.ingest.checks import check_plate
from phenoloom.ingest.facts import read_facts
from phenoloom.ingest.layouts import plate_maps, read_platemap
from phenoloom.ingest.listing import list_plate

#: Of problems of one kind in one plate that many are listed one by one.
SHOWN = 5

#: CPU seconds per image (header and digest, quality) and per image for the illumination function, on one core of 2024.
IMAGE_SECONDS, ILLUMINATION_SECONDS = 0.25, 0.15
#: Cells per megapixel, bytes of a float32 feature, and features per cell and channel, for an estimate of the tables.
CELLS_PER_MEGAPIXEL, BYTES, FEATURES_PER_CHANNEL = 150, 4, 350


class Finding(NamedTuple):
    """severity: error (the run would fail or mislead) or warning (it goes on without). where: dataset and plate."""

    severity: str
    where: str
    text: str


class Estimate(NamedTuple):
    """What a run will take: sites, images, jobs, CPU hours, and gigabytes read and written."""

    sites: int
    images: int
    jobs: int
    cpu_hours: float
    read_gb: float
    written_gb: float


def preflight(config, threads=4):
    """(findings, estimate) of a study's completed config. Findings are sorted: errors first, then by dataset."""
    findings, estimates = [], []
    for dataset, block in config["datasets"].items():
        findings += _tables(dataset, block)
        shape, sites, size = None, {}, 0
        if block.get("plates"):
            shape, sites, size = _images(dataset, block, config, threads, findings)
        elif block.get("simulate"):
            shape, sites = _simulated(block)
        findings += _pipeline(dataset, block)
        estimates.append(_estimate(block, sites, shape, size))
    findings = sorted(findings, key=lambda one: one.severity != "error")
    total = Estimate(*(sum(values) for values in zip(*estimates, strict=True)))
    return findings, total


def report(study, findings, estimate):
    """The list as text, one finding a line, and the estimate."""
    counts = Counter(one.severity for one in findings)
    lines = [f"{one.severity:<8}{one.where}: {one.text}" for one in findings]
    if not findings:
        lines = ["Nothing is wrong with the inputs."]
    lines.append("")
    lines.append(f"{study}: {counts['error']} error(s), {counts['warning']} warning(s).")
    lines.append(
        f"Estimate: {estimate.sites} sites, {estimate.images} images ({estimate.read_gb:.1f} GB), "
        f"{estimate.jobs} jobs, {estimate.cpu_hours:.1f} CPU hours, {estimate.written_gb:.1f} GB of results."
    )
    return "\n".join(lines) + "\n"


def table(findings):
    """The findings as a DataFrame."""
    return pd.DataFrame(findings, columns=list(Finding._fields)).astype(str)


def _images(dataset, block, config, threads, findings):
    """Check plates, maps and images; return ((width, height), {plate: (sites, images)}, bytes of images)."""
    try:
        rows = geometry.plate_rows(block["plates"], dataset)
    except InputError as error:
        findings.append(Finding("error", dataset, str(error)))
        return None, {}, 0
    layout = _layout(dataset, block, rows, findings)
    findings += _controls(dataset, layout, config.get("profiles") or {})
    declared = geometry.sites(block["geometry"]) if block.get("geometry") else ()
    counts, headers, size = {}, defaultdict(list), 0
    with ThreadPoolExecutor(min(4, max(1, threads))) as pool:
        checked = list(pool.map(lambda row: _plate(dataset, block, row, threads, declared, config), rows))
    for row, (found, sites, header, more) in zip(rows, checked, strict=True):
        plate = row["plate"]
        findings += more
        if sites is None:
            if declared:
                counts[plate] = (len(declared), len(declared) * len(block["channels"]))
            continue
        counts[plate] = (len(sites), len(found))
        size += sum({plane.path: plane.size for plane in found}.values())
        if header:
            headers[header].append(plate)
        if plate in layout:
            findings += _wells(f"{dataset}/{plate}", {well for well, _ in sites}, layout[plate])
    if len(headers) > 1:
        most = max(headers, key=lambda header: len(headers[header]))
        for header, plates in headers.items():
            if header != most:
                text = (
                    f"images are {_header_words(header)} where those of most plates are {_header_words(most)}; "
                    "compare plates only if that is meant"
                )
                findings += [Finding("warning", f"{dataset}/{plate}", text) for plate in plates]
    shape = max(headers, key=lambda header: len(headers[header]))[:2] if headers else None
    if shape is None and declared:
        shape = (block["geometry"].get("width", 1080), block["geometry"].get("height", 1080))
    return shape, counts, size


def _header_words(header):
    width, height, kinds = header
    return f"{width}x{height} {'/'.join(kinds)}"


def _plate(dataset, block, row, threads, declared, config):
    """(planes, sites or None when there is nothing, (width, height, types), findings) of one plate."""
    where = f"{dataset}/{row['plate']}"
    if not os.path.exists(row["images"]):
        if block.get("download"):
            text = f"{row['images']} is not there yet; it will be fetched before the images are indexed"
            return [], None, None, [Finding("warning", where, text)]
        text = f"{row['images']} does not exist; check the column 'images' of {block['plates']}"
        return [], None, None, [Finding("error", where, text)]
    try:
        listing = list_plate(row["images"], row["plate"], block["channels"], block["images"])
    except InputError as error:
        return [], None, None, [Finding("error", where, str(error))]
    facts = read_facts(listing.found, {}, "none", threads)
    # A channel that is nowhere is said once, not for every site.
    there = {plane.channel for plane in listing.found}
    channels = [name for name in block["channels"] if name in there]
    kept, problems = check_plate(listing.found, facts, channels, listing.sites, declared)
    problems = listing.problems + problems
    findings = _grouped(where, problems)
    findings += [
        Finding("error", where, f"no image of channel {name} at any site; check its 'source' in channels")
        for name in block["channels"]
        if name not in there
    ]
    sites = listing.sites | set(declared)
    used = {(plane.well, plane.site) for plane in kept}
    coverage = config.get("coverage", 0.8)
    if len(used) < coverage * len(sites):
        text = (
            f"only {len(used)} of {len(sites)} sites are usable, below the coverage of {coverage:g}; "
            "mend the images above or lower 'coverage'"
        )
        findings.append(Finding("error", where, text))
    if not kept:
        return listing.found, sites, None, findings
    pages = [facts[plane.path].pages[plane.page] for plane in kept]
    return listing.found, sites, (*pages[0][:2], tuple(sorted({kind for _, _, kind in pages}))), findings


_MORE = {
    "unreadable": "images that cannot be used",
    "name": "file names that say no place",
    "duplicate": "images that are there more than once",
    "size": "images of another size",
    "type": "images of another type",
    "incomplete": "sites that are left out",
    "uneven": "wells with fewer sites",
}


def _grouped(where, problems):
    """Findings of one plate: the first few of each kind one by one, the rest as a number."""
    kinds, findings = defaultdict(list), []
    for problem in problems:
        kinds[problem.kind].append(problem)
    for kind, members in kinds.items():
        for problem in members[:SHOWN]:
            place = " ".join(
                filter(None, [problem.well, f"site {problem.site}" if problem.site else "", problem.channel])
            )
            findings.append(Finding("warning", where, f"{place}: {problem.reason}" if place else problem.reason))
        if len(members) > SHOWN:
            findings.append(Finding("warning", where, f"and {len(members) - SHOWN} more {_MORE[kind]}"))
    return findings


def _layout(dataset, block, rows, findings):
    """{plate: (wells of its map, number of negative controls)} of the plates whose maps can be read."""
    try:
        maps, problems = plate_maps(rows, block.get("barcodes"))
    except InputError as error:
        findings.append(Finding("error", dataset, str(error)))
        return {}
    findings += [Finding("error", dataset, f"{text}; give one for every plate") for text in problems]
    read, layout = {}, {}
    for path in sorted(set(maps.values())):
        try:
            read[path] = read_platemap(path, block)
        except InputError as error:
            findings.append(Finding("error", dataset, str(error)))
    for row in rows:
        frame = read.get(maps.get(row["plate"]))
        if frame is not None:
            layout[row["plate"]] = (
                set(frame["Metadata_Well"]),
                int((frame["Metadata_Control"] == "negative").sum()),
            )
    return layout


def _wells(where, imaged, layout):
    """Wells in the map without images, and the other way round."""
    mapped, _ = layout
    findings = []
    for wells, text in (
        (mapped - imaged, "wells of the plate map have no images"),
        (imaged - mapped, "wells have images but are not in the plate map"),
    ):
        if wells:
            names = sorted(wells, key=position)
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            findings.append(Finding("warning", where, f"{len(names)} {text}: {shown}"))
    return findings


def _controls(dataset, layout, profiles):
    """Plates without negative controls where a step of a profile chain needs them."""
    asking = sorted({f"{name}.{step}" for name, chain in profiles.items() for step in _needs_negative(chain)})
    if not asking:
        return []
    text = f"the plate map has no negative control, which {', '.join(asking)} needs; mark them in the plate map"
    return [Finding("error", f"{dataset}/{plate}", text) for plate, (_, negative) in layout.items() if not negative]


def _needs_negative(chain):
    for step in chain:
        for name, options in step.items():
            samples = str((options or {}).get("samples", "")) if isinstance(options, dict) else ""
            if "Metadata_Control" in samples and "negative" in samples:
                yield name


def _pipeline(dataset, block):
    """What the CellProfiler pipeline asks for and the study lacks."""
    pipeline = (block.get("features") or {}).get("cellprofiler")
    if not pipeline or not (block.get("plates") or block.get("simulate")):
        return []
    # CellProfiler comes after ingest; preflight looks ahead because its errors cost the most time.
    from phenoloom.cellprofiler.pipeline import missing_channels

    illumination = (block.get("illumination") or {}).get("method", "none") != "none"
    sentences = missing_channels(
        pipeline["pipeline"],
        list(block["channels"]),
        pipeline.get("images") or {},
        pipeline.get("metadata") or {},
        illumination,
        pipeline.get("masks") or (),
    )
    return [Finding("error", dataset, text) for text in sentences]


def _tables(dataset, block):
    """Tables named in the config that are not there."""
    findings = []
    for name, representation in (block.get("representations") or {}).items():
        joined = [other["table"] for other in representation.get("join") or ()]
        for value in (representation.get("table"), representation.get("folders"), *joined):
            for pattern in [value] if isinstance(value, str) else value or ():
                if not glob.glob(pattern, recursive=True):
                    text = f"{pattern} does not exist; check representations.{name} in the study's config"
                    findings.append(Finding("error", dataset, text))
    return findings


def _simulated(block):
    from phenoloom.simulate import design

    options = block["simulate"]
    number = len(design.sites(options))
    channels = len(block["channels"])
    plates = {plate: (number, number * channels) for _, plate in design.plates(options)}
    return (options.get("width", 512), options.get("height", 512)), plates


def _estimate(block, sites, shape, size):
    """Estimate of one dataset from {plate: (sites, images)}; one job per plate and step, and per batch of sites."""
    pipeline = (block.get("features") or {}).get("cellprofiler")
    batch = geometry.batch_size(block)
    total = sum(number for number, _ in sites.values())
    images = sum(number for _, number in sites.values())
    batches = sum(-(-number // batch) for number, _ in sites.values())
    channels = len(block.get("channels") or ())
    illuminated = (block.get("illumination") or {}).get("method", "none") != "none"
    per_plate = 3 + (1 if illuminated else 0)
    jobs = len(sites) * per_plate + batches * (1 if block.get("plates") else 2)
    seconds = images * (IMAGE_SECONDS + (ILLUMINATION_SECONDS if illuminated else 0))
    megapixels = shape[0] * shape[1] / 1e6 if shape else 1.0
    written = 0.0
    if pipeline:
        jobs += batches + len(sites)
        seconds += total * pipeline["seconds_per_site"]
        per_site = megapixels * CELLS_PER_MEGAPIXEL * FEATURES_PER_CHANNEL * channels * BYTES
        masks = len(pipeline.get("masks") or ()) * megapixels * 1e6 * 0.1
        written += total * (1.5 * per_site + masks)
    if block.get("simulate"):
        written += images * megapixels * 2e6
    return Estimate(total, images, jobs, seconds / 3600, size / 1e9, written / 1e9)


def write(folder, study, findings, estimate):
    """Write preflight.txt and preflight.parquet into a folder; return the text."""
    text = report(study, findings, estimate)
    write_text(Path(folder) / "preflight.txt", text)
    write_arrow(Path(folder) / "preflight.parquet", table(findings), {"estimate": estimate._asdict()})
    return text
