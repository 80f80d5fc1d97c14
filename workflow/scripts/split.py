"""Rule split: items of a tensor and what is in their wells -> side of the split and weak label of each item."""

from pathlib import Path

import pyarrow.parquet as pq

from phenoloom.core.job import job
from phenoloom.core.tables import metadata_columns, read_table
from phenoloom.ingest.layouts import simulated_layout
from phenoloom.tensors.splits import split_items


def main(snakemake):
    with job(snakemake) as run:
        params, paths = snakemake.params, [str(path) for path in snakemake.input.rows]
        items = {
            unit: read_table(path, metadata_columns(pq.read_schema(path).names))
            for unit, path in zip(params.units, paths, strict=True)
        }
        layout = layout_of(snakemake.input.layout)
        split, notes = split_items(
            items, layout, params.options, params.label, run.seed, run.ledger, bool(params.shuffle)
        )
        print("\n".join(notes))
        run.save_table(snakemake.output.split, split, notes=notes)
        run.ledger.write(snakemake.output.ledger)


def layout_of(given):
    """What is in the wells of the dataset, from one file or a list of at most one; None for none."""
    paths = [given] if isinstance(given, str) else list(given)
    if not paths:
        return None
    table = read_table(paths[0])
    return simulated_layout(table) if Path(paths[0]).name == "truth.parquet" else table


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
