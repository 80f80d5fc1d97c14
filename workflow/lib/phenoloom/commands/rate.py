"""`rate`: measure the pipelines of a study on a few sites each, and group its sites into jobs by what was found."""

import argparse
import tempfile
from pathlib import Path

from phenoloom.core.errors import InputError

ROOT = Path(__file__).resolve().parents[4]


def add(parser):
    parser.add_argument("config")
    parser.add_argument("--sites", type=_positive, default=3, help="number of sites to measure (default 3)")
    parser.add_argument("--dataset", help="only this dataset")


def call(given):
    from phenoloom.config.loading import read_config
    from phenoloom.config.study import Study

    config = read_config(given.config)
    study = Study(config, f"results/{config['study']}")
    names = [name for name in study.image_datasets() if study.pipeline(name)]
    if given.dataset is not None and given.dataset not in names:
        raise InputError(
            f"no dataset {given.dataset} with a CellProfiler pipeline; there are: {', '.join(names) or 'none'}"
        )
    if not names:
        raise InputError(f"{given.config} has no dataset with a CellProfiler pipeline")
    for name in [given.dataset] if given.dataset else names:
        _rate_dataset(config, name, given.sites)
    return 0


def _rate_dataset(config, dataset, sites):
    from phenoloom.cellprofiler import rate
    from phenoloom.config.study import Study
    from phenoloom.ingest.prepare import prepare

    results = f"results/{config['study']}"
    folder = f"{results}/{dataset}"
    own = {**config, "datasets": {dataset: config["datasets"][dataset]}}
    prepare(own, results)
    study = Study(config, results)
    channels, functions = study.channels(dataset), {}
    with tempfile.TemporaryDirectory(prefix="phenoloom-rate-") as scratch:
        block = study.dataset(dataset)
        if study.simulated(dataset):
            index = rate.simulated(block["simulate"], block["channels"], sites, scratch)
        else:
            index = rate.indexed(f"{folder}/index", study.plates(dataset))
        plate = study.plates(dataset)[0]
        functions = {channel: f"{folder}/illumination/{plate}/{channel}.npy" for channel in channels}
        script = ROOT / "workflow" / "scripts" / "cellprofiler.py"
        found = rate.measure(index, study.pipeline(dataset), channels, script, functions, sites)
    rate.write_rate(folder, found)
    prepare(own, results, say=lambda text: None)  # the sites, grouped by the new rate
    print("\n".join(_rate_words(Study(config, results), dataset, found)))


def _rate_words(study, dataset, found):
    """What was measured, and what it means for the jobs."""
    from phenoloom.core.words import count

    block, size = study.pipeline(dataset), study.batch_size(dataset)
    jobs = [len(study.batches(dataset, plate)) for plate in study.plates(dataset)]
    lines = [f"{dataset}: {found['pipeline']} on {count(len(found['sites']), 'site')}"]
    lines.append(
        f"  {found['cpu_seconds']:.2f} CPU seconds a site without start-up ({found['wall_seconds']:.2f} s wall), "
        f"{count(found['peak_mb'], 'MB', 'MB')} of memory at most"
    )
    if found["first_included"]:
        lines.append("  only one site could be measured, so loading CellProfiler's libraries is in it")
    lines += [f"  lost: {text}" for text in found["lost"]]
    if block["seconds_per_site"] is not None:
        lines.append(
            f"  the config says seconds_per_site: {block['seconds_per_site']:g}, which goes first; "
            f"take it out to go by the measured {found['seconds_per_site']:g}"
        )
    few, many = min(jobs), max(jobs)
    lines.append(
        f"  at {block['minutes_per_job']:g} min a job and {study.seconds_per_site(dataset):g} s a site: "
        f"{count(size, 'site')} a job, {few if few == many else f'{few} to {many}'} "
        f"CellProfiler {'job' if many == 1 else 'jobs'} a plate, {count(sum(jobs), 'job')} in all"
    )
    return lines


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
