"""The step before the DAG: fetch images if asked, index every plate, and rewrite only what differs."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from phenoloom.cellprofiler.batches import assign
from phenoloom.core.errors import InputError
from phenoloom.core.names import encode
from phenoloom.core.words import count
from phenoloom.ingest.geometry import batch_size, plate_rows
from phenoloom.ingest.index import index_plate, split, summarize, write_plate, write_summary
from phenoloom.ingest.layouts import plate_maps, read_platemap
from phenoloom.ingest.preflight import pipeline_findings


def prepare(config, results, threads=None, say=None, again=None):
    """Index all images of a study's completed config into `results`; see index.write_plate for what is written.

    Datasets whose images a rule makes, and those without images, are left alone. say: takes progress lines; they are
    printed by default. again: {(dataset, plate): (well, site) pairs} whose files are read even if size and time stamp
    are as they were. Raises InputError listing every plate that cannot be indexed, after the others are done.
    """
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    threads = threads or os.cpu_count() or 1
    problems = []
    for dataset, block in config["datasets"].items():
        if not block.get("plates"):
            continue
        if block.get("download"):
            from phenoloom.ingest.download import fetch

            fetch(block["download"], [row["plate"] for row in _rows(dataset, block)], say)
        _check(dataset, block)
        due = {plate: sites for (name, plate), sites in (again or {}).items() if name == dataset}
        problems += prepare_dataset(dataset, block, f"{results}/{dataset}/index", threads, say, due)
    if problems:
        mend = "Mend them, or go on without them by the dataset's exclude_plates."
        raise InputError("\n  ".join([f"{count(len(problems), 'plate')} cannot be indexed:", *problems, mend]))


def _rows(dataset, block):
    """Rows of the table of plates that the study does not leave out."""
    return plate_rows(block["plates"], dataset, block.get("exclude_plates") or ())


def _check(dataset, block):
    """Raise InputError for what would fail beside hours of other jobs: a bad plate map, a pipeline that cannot work."""
    maps, _ = plate_maps(_rows(dataset, block), block.get("barcodes"))
    for path in sorted(set(maps.values())):
        read_platemap(path, block)
    wrong = [finding.text for finding in pipeline_findings(dataset, block)]
    if wrong:
        raise InputError("\n  ".join(wrong))


def prepare_dataset(dataset, block, folder, threads=1, say=print, again=None):
    """Index the plates of one dataset in parallel; return sentences on plates that could not be.

    folder: where its index lies, in the results folder of the dataset. again: {plate: (well, site) pairs} to read anew.
    """
    rows = _rows(dataset, block)
    workers = min(threads, len(rows))
    # Headers are parsed in Python: plates in processes, waiting for files in threads.
    pool = ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else ThreadPoolExecutor(1)
    summaries, problems = {}, []
    with pool:
        each, again = max(2, threads // workers), again or {}
        jobs = [(row, pool.submit(_one, dataset, block, folder, row, each, again.get(row["plate"]))) for row in rows]
        for row, job in jobs:
            try:
                summary, lines = job.result()
            except InputError as error:
                problems.append(str(error))
                continue
            summaries[encode(row["plate"])] = summary
            say(f"{dataset}/{row['plate']}: {lines}")
    if summaries and not problems:
        write_summary(folder, summaries)
    return problems


def _one(dataset, block, folder, row, threads, again=()):
    name = encode(row["plate"])
    memory = f"{folder}/.memory/{name}.parquet"
    index = index_plate(
        dataset,
        row["batch"],
        row["plate"],
        row["images"],
        block["channels"],
        block["images"],
        memory,
        threads,
        again=again or (),
    )
    if not index.rows:
        reason = next((one.reason for one in index.problems), "nothing fits")
        raise InputError(f"{row['images']} (plate {row['plate']}) has no usable site; the first reason: {reason}")
    batches = split(index, assign, batch_size(block, os.path.dirname(folder)))
    changed = write_plate(index, folder, batches)
    summary = summarize(index, batches)
    lost = sum(one.count for one in index.problems if one.severity == "lost" and one.unit == "site")
    sites = count(sum(summary["sites"]), "site")
    words = [f"{sites} in {count(len(batches), 'batch', 'batches')}", f"{lost} lost" if lost else ""]
    return summary, ", ".join(filter(None, words)) + ("" if changed else ", unchanged")
