"""The step before the DAG for datasets of single events: list every sample's files, and rewrite only what differs."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.errors import InputError
from phenoloom.core.files import write_if_changed
from phenoloom.core.names import encode
from phenoloom.core.words import count
from phenoloom.cytometry.manifest import list_sample, summarize
from phenoloom.cytometry.samples import sample_rows
from phenoloom.ingest.facts import to_bytes


def prepare(config, results, threads=4, say=print):
    """Write manifests, ledgers and summary.json of all datasets of events of a completed config.

    Raises InputError listing every sample that cannot be listed, after the others are done.
    """
    problems = []
    for dataset, block in config["datasets"].items():
        if block.get("samples"):
            folder = Path(results) / dataset / "manifests"
            problems += prepare_dataset(dataset, block, folder, threads, say)
    if problems:
        raise InputError("\n  ".join([f"{count(len(problems), 'sample')} cannot be used:", *problems]))


def prepare_dataset(dataset, block, folder, threads, say):
    """List the samples of one dataset; return sentences on those that could not be."""
    summaries, problems = {}, []
    for row in sample_rows(block["samples"], block["events"]["format"], dataset):
        name = encode(row["sample"])
        memory = folder / ".memory" / f"{name}.parquet"
        try:
            table, ledger, known = list_sample(dataset, row, block, _read(memory), threads)
        except InputError as error:
            problems.append(str(error))
            continue
        write_if_changed(memory, to_bytes(known))
        changed = [
            write_if_changed(folder / f"{name}.parquet", to_bytes(table)),
            write_if_changed(folder / f"{name}.ledger.parquet", to_bytes(ledger)),
        ]
        summaries[name] = summarize(table, row)
        lost = sum(one["count"] for one in ledger.to_pylist() if one["severity"] == "lost")
        words = [count(summaries[name]["images"], "image"), f"{count(lost, 'event')} lost" if lost else ""]
        say(
            f"{dataset}/{row['sample']}: " + ", ".join([*filter(None, words), *([] if any(changed) else ["unchanged"])])
        )
    if summaries and not problems:
        text = json.dumps(summaries, indent=1, ensure_ascii=False)
        write_if_changed(folder / "summary.json", text.encode())
    return problems


def _read(path):
    """A table that was left by the last time; None where there is none or it cannot be read (it only saves time)."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException):
        return None
