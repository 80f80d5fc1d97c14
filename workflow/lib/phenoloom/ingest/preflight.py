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
from phenoloom.core.names import encode
from phenoloom.core.tables import write_arrow
from phenoloom.core.wells import position
from phenoloom.core.words import count
from phenoloom.ingest import geometry
from phenoloom.ingest.checks import check_plate, doubled
from phenoloom.ingest.facts import read_facts
from phenoloom.ingest.layouts import plate_maps, read_platemap
from phenoloom.ingest.listing import list_plate

#: Of problems of one kind in one plate that many are listed one by one.
SHOWN = 5


class Finding(NamedTuple):
    """severity: error (the run would fail or mislead) or warning (it goes on without). where: dataset and plate."""

    severity: str
    where: str
    text: str


class Images(NamedTuple):
    """Images of a dataset: {plate: (well, site) pairs}, number, (width, height) or None, paths, bytes."""

    sites: dict
    number: int
    shape: tuple | None
    paths: list
    size: int


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
        folder = f"results/{config['study']}/{dataset}"
        findings += _tables(dataset, block)
        images = Images({}, 0, None, [], 0)
        if block.get("samples") or block.get("merge"):
            estimates.append(_of_events(dataset, block, config, threads, findings))
            continue
        if block.get("plates"):
            images = _images(dataset, block, config, threads, findings)
        findings += pipeline_findings(dataset, block, images.paths)
        try:
            if block.get("simulate"):
                images = _simulated(block)
            findings += _rate(dataset, block, folder)
            jobs = _jobs(dataset, images, folder, config)
            estimates.append(_estimate(block, images, folder, jobs, _units_of_models(config, dataset, images)))
        except InputError as error:
            findings.append(Finding("error", dataset, str(error)))
    try:
        findings += _of_similarities(config)
        estimates.append(_cost(_last_jobs(config), {}))
    except InputError as error:
        findings.append(Finding("error", config["study"], str(error)))
    findings = sorted(findings, key=lambda one: one.severity != "error")
    total = Estimate(*(sum(values) for values in zip(Estimate(0, 0, 0, 0, 0, 0), *estimates, strict=True)))
    return findings, total


def report(study, findings, estimate):
    """The list as text, one finding a line, and the estimate."""
    counts = Counter(one.severity for one in findings)
    lines = [f"{one.severity:<8}{one.where}: {one.text}" for one in findings]
    if not findings:
        lines = ["Nothing is wrong with the inputs."]
    lines.append("")
    lines.append(f"{study}: {count(counts['error'], 'error')}, {count(counts['warning'], 'warning')}.")
    lines.append(
        f"Estimate: {count(estimate.sites, 'site')}, {count(estimate.images, 'image')} ({estimate.read_gb:.1f} GB), "
        f"{count(estimate.jobs, 'job')}, {estimate.cpu_hours:.1f} CPU hours, {estimate.written_gb:.1f} GB of results."
    )
    return "\n".join(lines) + "\n"


def table(findings):
    """The findings as a DataFrame."""
    return pd.DataFrame(findings, columns=list(Finding._fields)).astype(str)


def _images(dataset, block, config, threads, findings):
    """Check plates, maps and images; return Images."""
    try:
        without = block.get("exclude_plates") or ()
        rows = geometry.plate_rows(block["plates"], dataset, without)
    except InputError as error:
        findings.append(Finding("error", dataset, str(error)))
        return Images({}, 0, None, [], 0)
    text = "left out, for exclude_plates names it; the ledger and the report list it"
    findings += [Finding("warning", f"{dataset}/{plate}", text) for plate in without]
    layout = _layout(dataset, block, rows, findings)
    findings += _controls(dataset, layout, config.get("profiles") or {})
    declared = geometry.sites(block["geometry"]) if block.get("geometry") else ()
    imaged, number, headers, sizes = {}, 0, defaultdict(list), {}
    with ThreadPoolExecutor(min(4, max(1, threads))) as pool:
        checked = list(pool.map(lambda row: _plate(dataset, block, row, threads, declared, config), rows))
    for row, (found, sites, header, more) in zip(rows, checked, strict=True):
        plate = row["plate"]
        findings += more
        if sites is None:
            if declared:
                imaged[plate] = set(declared)
                number += len(declared) * len(block["channels"])
            continue
        imaged[plate] = sites
        number += len(found)
        sizes.update({plane.path: plane.size for plane in found})
        if header:
            headers[header].append(plate)
        if plate in layout:
            findings += _wells(f"{dataset}/{plate}", {well for well, _ in sites}, layout[plate])
    findings += _frozen(dataset, block, headers)
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
    return Images(imaged, number, shape, list(sizes), sum(sizes.values()))


def _of_events(dataset, block, config, threads, findings):
    """Check the samples of a dataset of single events; return the Estimate, without hours, for no rate is known."""
    # Single events come after ingest; preflight looks ahead because its errors cost the most time.
    from phenoloom.cytometry.preflight import Checked, check_samples

    checked = check_samples(dataset, block, threads) if block.get("samples") else Checked([])
    findings += [
        Finding(one, "/".join(filter(None, [dataset, sample])), text) for one, sample, text in checked.problems
    ]
    measured = bool(block.get("merge")) or (block.get("features") or {}).get("classical") is not None
    listed = geometry.read_summary(f"results/{config['study']}/{dataset}/manifests/summary.json")
    jobs = checked.samples * (1 + measured + (not listed)) + bool(block.get("merge"))
    # The counts of its samples, and of what is measured the profiles, AnnData and figures.
    represented = [name for name, *_ in _profiles_of_cells(config) if name == dataset]
    jobs += 1 + len(represented) + 2 * (measured + len(_learned(config, dataset)))
    jobs += sum(_jobs_of_models(config, dataset, checked.samples).values())
    return Estimate(0, checked.images, jobs, 0, checked.size / 1e9, 0)


def _frozen(dataset, block, headers):
    """Declared illumination functions that are missing or do not fit. headers: {(width, height, types): plates}."""
    pattern = (block.get("illumination") or {}).get("functions")
    if not pattern:
        return []
    # Illumination comes after ingest; preflight looks ahead because its errors cost the most time.
    from phenoloom.illumination import frozen

    shapes = {encode(plate): (header[1], header[0]) for header, plates in headers.items() for plate in plates}
    return [Finding("error", dataset, text) for text in frozen.problems(pattern, shapes, block["channels"])]


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
    # Whether images that claim one place are the same, only their contents tell.
    facts |= read_facts(doubled(listing.found), {}, "content", threads)
    # A channel that is nowhere is said once, not for every site.
    there = {plane.channel for plane in listing.found}
    channels = [name for name in block["channels"] if name in there]
    # A declared geometry is for the time before the images are there; then what is there counts.
    sites = listing.sites or set(declared)
    kept, problems = check_plate(listing.found, facts, channels, sites)
    problems = listing.problems + problems
    findings = _grouped(where, problems)
    findings += [
        Finding("error", where, f"no image of channel {name} at any site; check its 'source' in channels")
        for name in block["channels"]
        if name not in there
    ]
    used = {(plane.well, plane.site) for plane in kept}
    coverage = config.get("coverage", 0.8)
    if len(used) < coverage * len(sites):
        text = (
            f"only {len(used)} of {count(len(sites), 'site')} can be used, below the coverage of {coverage:g}; "
            "mend the images above, lower 'coverage', or leave the plate out by exclude_plates"
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
    of_map = "well of the plate map has no images", "wells of the plate map have no images"
    of_images = "well has images but is not in the plate map", "wells have images but are not in the plate map"
    for wells, (one, more) in ((mapped - imaged, of_map), (imaged - mapped, of_images)):
        if wells:
            names = sorted(wells, key=position)
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            findings.append(Finding("warning", where, f"{count(len(names), one, more)}: {shown}"))
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


def pipeline_findings(dataset, block, paths=()):
    """What the CellProfiler pipeline asks for and the study lacks. paths: its images; none where there are none yet."""
    pipeline = (block.get("features") or {}).get("cellprofiler")
    if not pipeline or not (block.get("plates") or block.get("simulate")):
        return []
    # CellProfiler comes after ingest; preflight looks ahead because its errors cost the most time.
    from phenoloom.cellprofiler.pipeline import missing_channels

    findings, files = [], []
    for pattern in [*(pipeline.get("files") or ()), *(pipeline.get("metadata_files") or ())]:
        matching = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        if not matching:
            text = f"no file matches {pattern}, named under features.cellprofiler; correct the path"
            findings.append(Finding("error", dataset, text))
        elif pattern in (pipeline.get("files") or ()):
            files += matching
    # Every channel has an illumination function, flat ones with method none.
    sentences = missing_channels(
        pipeline["pipeline"],
        list(block["channels"]),
        pipeline.get("images") or {},
        pipeline.get("metadata") or {},
        True,
        pipeline.get("masks") or (),
        [*paths, *files] if paths else None,
    )
    return findings + [Finding("error", dataset, text) for text in sentences]


def _rate(dataset, block, folder):
    """Whether the rate that sizes the jobs was measured with another pipeline. folder: results of the dataset."""
    from phenoloom.cellprofiler import batches

    pipeline = (block.get("features") or {}).get("cellprofiler")
    if not pipeline or pipeline.get("seconds_per_site") is not None or not os.path.isfile(pipeline["pipeline"]):
        return []
    rate = batches.read_rate(folder)
    if not rate or rate.get("pipeline_digest") == batches.pipeline_digest(pipeline["pipeline"]):
        return []
    text = (
        f"the rate of {rate['seconds_per_site']:g} s a site was measured before {pipeline['pipeline']} changed; "
        "measure it again with `make rate`, or leave it: it decides on the size of the jobs only"
    )
    return [Finding("warning", dataset, text)]


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
    plates = geometry.kept_plates([plate for _, plate in design.plates(options)], block.get("exclude_plates") or ())
    sites = {plate: set(design.sites(options)) for plate in plates}
    number = sum(map(len, sites.values())) * len(block["channels"])
    return Images(sites, number, (options.get("width", 512), options.get("height", 512)), [], 0)


def _estimate(block, images, folder, jobs, more):
    """Estimate of one dataset, rough: by the shipped rates only.

    folder: its results. jobs: {rule: number}. more: {unit: number} besides those of images.
    """
    from phenoloom.cellprofiler import batches

    pipeline = (block.get("features") or {}).get("cellprofiler")
    sites = sum(map(len, images.sites.values()))
    megapixels = images.shape[0] * images.shape[1] / 1e6 if images.shape else 1.0
    of_site = len(block.get("channels") or ()) * megapixels
    units = {
        "image": images.number,
        "image megapixel": images.number * megapixels,
        "function megapixel": len(images.sites) * of_site,
        "well": sum(len({well for well, _ in places}) for places in images.sites.values()),
        "plate": len(images.sites),
    }
    units |= more
    if pipeline:
        units["pipeline second"] = sites * batches.seconds_per_site(pipeline, folder)
    return _cost(jobs, units)._replace(sites=sites, images=images.number, read_gb=images.size / 1e9)


def _cost(jobs, units):
    """Estimate of jobs {rule: number} with units of work {unit: number in all of them}."""
    # The rates belong to the plan of a run, which comes last and knows more; both go by the same ones.
    from phenoloom.planning import rates

    seconds, written = rates.rough(jobs, units)
    return Estimate(0, 0, sum(jobs.values()), seconds / 3600, 0, written / 1000)


def _illuminated(block):
    """Whether illumination functions are made: by the method, or flat ones because the pipeline asks for them."""
    if (block.get("illumination") or {}).get("functions"):
        return False  # declared ones are in place before the run
    if (block.get("illumination") or {}).get("method", "none") != "none":
        return True
    pipeline = (block.get("features") or {}).get("cellprofiler")
    if not pipeline:
        return False
    from phenoloom.cellprofiler.pipeline import illuminated_channels

    try:
        return bool(illuminated_channels(pipeline["pipeline"], list(block["channels"]), pipeline.get("images")))
    except ValueError:
        return False


def _jobs(dataset, images, folder, config):
    """{rule: jobs} of one dataset, when everything is made. folder: its results."""
    from phenoloom.cellprofiler import batches

    block = config["datasets"][dataset]
    size = geometry.batch_size(block, folder)
    plates, split = len(images.sites), sum(len(batches.assign(pairs, size)) for pairs in images.sites.values())
    simulated, pipeline = bool(block.get("simulate")), bool((block.get("features") or {}).get("cellprofiler"))
    entered = block.get("representations") or {}
    profiled = [chain for name, chain in _profiled(config, dataset) if name in entered]
    computed = [chain for name, chain in _profiled(config, dataset) if name not in entered]
    jobs = {"dataset_summary": 1, "figure_plate_heatmaps": 1, "enter": len(entered)}
    learned = _learned_chains(config)
    by_network = sum(chain in learned for chain in profiled), sum(chain in learned for chain in computed)
    jobs |= {"aggregate of tables": len(profiled) - by_network[0], "aggregate": 0}
    jobs |= dict.fromkeys(("cell_sets", "aggregate_learned"), by_network[0] + by_network[1] * plates)
    of_networks = ("deep_sets", "aggregation_scores", "figure_aggregation", "relevance", "figure_relevance")
    jobs |= dict.fromkeys(of_networks, by_network[0] + (by_network[1] if plates else 0))
    jobs |= dict.fromkeys(("profile", "figure_umap"), len(profiled) + (len(computed) if plates else 0))
    jobs["tvn"] = sum(_fitted_over_plates(config, name) for name in (profiled + computed if plates else profiled))
    if not plates:
        return jobs
    jobs |= {"layout": 1, "quality": plates, "illumination": plates if _illuminated(block) else 0}
    jobs |= {"figure_illumination": 1, "figure_montage": 1}
    if simulated:
        jobs |= {"simulation_truth": 1, "simulate": split}
    if simulated or (block.get("geometry") and not geometry.read_summary(f"{folder}/index/summary.json")):
        jobs |= {"index": split, "plate_index": plates}  # which `prepare` does for images that exist
    if pipeline:
        jobs |= {"cellprofiler": split, "cells": plates}
    jobs["aggregate"] = (len(computed) - by_network[1]) * plates
    return jobs | _jobs_of_models(config, dataset, plates)


def _jobs_of_models(config, dataset, units):
    """{rule: jobs} of the tensors, models and embeddings of a dataset of some plates or samples."""
    models = [block for block in (config.get("models") or {}).values() if block["dataset"] == dataset]
    if not models:
        return {}
    trained = [block for block in models if block["kind"] != "pretrained"]
    stored = {block["tensor"]: config["datasets"][dataset]["tensors"][block["tensor"]] for block in models}
    networks = sum(_networks(config, block) for block in trained)
    taken_over = len(models) - len(trained)
    kinds = Counter(
        "tensor_events" if config["datasets"][dataset].get("samples") else f"tensor_{tensor['items']}"
        for tensor in stored.values()
    )
    return {
        **{kind: units * number for kind, number in kinds.items()},
        "split": len(trained),
        "train": networks,
        "adopt": taken_over,
        "embed": units * len(_learned(config, dataset)),
        "figure_training": bool(trained),
        "figure_attention": networks + taken_over,
    }


def _channels_of_model(config, block):
    """Number of channels that a model sees."""
    dataset = config["datasets"][block["dataset"]]
    return len(block["channels"] or dataset["tensors"][block["tensor"]]["channels"] or dataset["channels"])


def _networks(config, block):
    """Number of networks of a model."""
    return _channels_of_model(config, block) if block.get("per_channel") else 1


def _units_of_models(config, dataset, images):
    """{unit of work: number} of the models of a dataset of wells, all their jobs together."""
    # The cost of networks belongs to the plan of a run, which comes last; both go by the same one.
    from phenoloom.planning import operations

    units = Counter()
    for block in (config.get("models") or {}).values():
        if block["dataset"] != dataset:
            continue
        tensor = config["datasets"][dataset]["tensors"][block["tensor"]]
        items = operations.items_per_site(config["datasets"][dataset], tensor, images.shape) * sum(
            map(len, images.sites.values())
        )
        size, made = tensor["size"] or operations.SIZE, 1 + len(block.get("snapshots", []))
        units["item"] += made * items
        units["model"] += _networks(config, block)
        units["embedding teraflop"] += (
            made * items * operations.embedding(block, size, _channels_of_model(config, block))
        )
        if block["kind"] != "pretrained":
            units["training teraflop"] += _networks(config, block) * items * operations.training(block)
    return units


def _learned(config, dataset):
    """Representations that models of a dataset make."""
    from phenoloom.evaluation import plan

    return plan.learned(config.get("models") or {}, dataset)


def _profiled(config, dataset):
    """(representation, chain) of all profiles of a dataset of wells."""
    from phenoloom.evaluation import plan

    block = config["datasets"][dataset]
    imaged = (block.get("plates") or block.get("simulate")) and (block.get("features") or {}).get("cellprofiler")
    names = ["cellprofiler"] if imaged else []
    names += [*_learned(config, dataset), *(block.get("representations") or {})]
    chains, limited = config.get("profiles") or {}, config.get("profiles_of") or {}
    return [(name, chain) for name in names for chain in plan.chains_of(dataset, name, chains, limited)]


def _learned_chains(config):
    """Names of the chains that learn how to make wells of cells."""
    from phenoloom.profiles.chain import learned

    return {name for name, steps in (config.get("profiles") or {}).items() if learned(steps) is not None}


def _fitted_over_plates(config, name):
    """Whether a chain has a step that is fitted over several plates, by a job of its own."""
    # Profiles come after ingest; what their chains ask for stands in the config.
    from phenoloom.profiles.chain import fitted_over_plates

    return bool(fitted_over_plates(config["profiles"][name]))


def _of_similarities(config):
    """Evaluations of features that are to run on a profile without any."""
    from phenoloom.evaluation import plan
    from phenoloom.profiles.chain import fuses

    asking = {name: one for name, one in (config.get("evaluation") or {}).items() if plan.needs_features(one)}
    found = plan.combinations(asking, _profiles_of_wells(config))
    return [
        Finding(
            "error",
            "/".join(profile),
            f"evaluation.{name} needs features, and a profile that ends in fuse is a similarity; name other profiles "
            "in its `of`",
        )
        for name, *profile in found
        if fuses(config["profiles"][profile[-1]])
    ]


def _profiles_of_wells(config):
    """(dataset, representation, profile) of all profiles of wells."""
    of_wells = [name for name, block in config["datasets"].items() if not (block.get("samples") or block.get("merge"))]
    return [(dataset, *pair) for dataset in of_wells for pair in _profiled(config, dataset)]


def _last_jobs(config):
    """{rule: jobs} of the whole study."""
    # What is evaluated is written in the config. Raises InputError where a pattern fits no profile.
    from phenoloom.evaluation import plan

    combinations = _profiles_of_wells(config)
    evaluations = config.get("evaluation") or {}
    of_cells = {name: options for name, options in evaluations.items() if options.get("level") == "cells"}
    others = {name: options for name, options in evaluations.items() if name not in of_cells}
    found = plan.combinations(others, combinations) + plan.combinations(of_cells, _profiles_of_cells(config))
    jobs = Counter(f"evaluate {evaluations[name].get('metric')}" for name, *_ in found)
    once = ("evaluation_table", "comparison", "figure_evaluation", "ledger", "run_times", "figure_run_times", "report")
    kept = any(block.get("snapshots") for block in (config.get("models") or {}).values())
    return {**jobs, **dict.fromkeys(once, 1), "over_training": int(kept)}


def _profiles_of_cells(config):
    """(dataset, representation, profile) of all profiles of single cells."""
    from phenoloom.evaluation import plan

    chains, limited = config.get("cell_profiles") or {}, config.get("profiles_of") or {}
    found = []
    for dataset, block in config["datasets"].items():
        if not (block.get("samples") or block.get("merge")):
            continue
        measured = block.get("merge") or (block.get("features") or {}).get("classical") is not None
        for name in [*(["classical"] if measured else []), *_learned(config, dataset)]:
            found += [(dataset, name, chain) for chain in plan.chains_of(dataset, name, chains, limited)]
    return found


def write(folder, study, findings, estimate):
    """Write preflight.txt and preflight.parquet into a folder; return the text."""
    text = report(study, findings, estimate)
    write_text(Path(folder) / "preflight.txt", text)
    write_arrow(Path(folder) / "preflight.parquet", table(findings), {"estimate": estimate._asdict()})
    return text
