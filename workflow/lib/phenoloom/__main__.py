"""The command line: `python -m phenoloom run|prepare|rate|reference`."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from phenoloom.core.errors import InputError
from phenoloom.core.files import full_disk

ROOT = Path(__file__).resolve().parents[3]


def main(arguments=None):
    """Run a command; return its exit status. An InputError is printed as its one sentence."""
    parser = argparse.ArgumentParser(prog="phenoloom", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="index the images, then run Snakemake on a study")
    run.add_argument("config")
    run.add_argument("rest", nargs=argparse.REMAINDER, help="targets and options of Snakemake")
    prepare = commands.add_parser("prepare", help="fetch and index the images of a study")
    prepare.add_argument("config")
    prepare.add_argument("--threads", type=int, default=os.cpu_count())
    rate = commands.add_parser("rate", help="measure how long the pipeline takes per site, which sizes the jobs")
    rate.add_argument("config")
    rate.add_argument("--sites", type=_positive, default=3, help="number of sites to measure (default 3)")
    rate.add_argument("--dataset", help="only this dataset")
    commands.add_parser("reference", help="print the page of all config keys")
    given = parser.parse_args(arguments)
    try:
        return {"run": _run, "prepare": _prepare, "rate": _rate, "reference": _reference}[given.command](given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if sentence := full_disk(error):
            print(f"error: {sentence}", file=sys.stderr)
            return 1
        raise


def _prepare(given):
    from phenoloom.config.loading import read_config
    from phenoloom.ingest.prepare import prepare

    config = read_config(given.config)
    prepare(config, f"results/{config['study']}", threads=given.threads)
    return 0


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _rate(given):
    """Measure the pipelines of a study on a few sites each, and group its sites into jobs by what was found."""
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


def _run(given):
    """Index first, since the images decide the shape of the DAG; then hand over to Snakemake."""
    from phenoloom.config.loading import read_config

    config = read_config(given.config)
    if "preflight" in given.rest and not {"-n", "--dry-run", "--dryrun"} & set(given.rest):
        return _preflight(config)
    report = Path("results") / config["study"] / "report.html"
    looks_only = {"-n", "--dry-run", "--dryrun", "preflight", "--lint", "--unlock"} & set(given.rest)
    if not looks_only:
        _prepare(argparse.Namespace(config=given.config, threads=os.cpu_count()))
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), *given.rest, "--configfile", given.config]
    status = subprocess.run(command, check=False).returncode
    if status == 0 and not looks_only and report.exists():
        print(f"\nThe report: {report.resolve()}")
    if status != 0:
        print(
            f"\nThe run did not finish. The messages above name the jobs that failed and their logs in "
            f"{report.parent / 'logs'}; the same command continues from there.",
            file=sys.stderr,
        )
    return status


def _preflight(config):
    """List what is wrong with the inputs without Snakemake: images that are not indexed yet give no DAG to build."""
    from phenoloom.ingest.preflight import preflight, write

    findings, estimate = preflight(config)
    print(write(Path("results") / config["study"], config["study"], findings, estimate))
    return int(any(one.severity == "error" for one in findings))


def _reference(given):
    from phenoloom.config.reference import reference

    sys.stdout.write(reference())
    return 0


if __name__ == "__main__":
    sys.exit(main())
