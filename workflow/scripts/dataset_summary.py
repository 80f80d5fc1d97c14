"""Rule dataset_summary: layout, index, quality and cells of one dataset -> counts per plate and per well."""

import pandas as pd
import pyarrow.parquet as pq

from phenoloom.core.job import job
from phenoloom.core.ledger import read_ledgers
from phenoloom.core.tables import read_index, read_table, write_arrow
from phenoloom.report.summary import known_wells, summarize


def main(snakemake):
    with job(snakemake) as run:
        given, features = snakemake.input, list(snakemake.params.features)
        cells = known_wells([read_wells(path, features) for path in given.get("wells", [])])
        layout = read_table(given.layout) if given.get("layout") else cells
        plates, wells, quality = summarize(plates_of(layout, cells, given), features)
        for path, table in (
            (snakemake.output.plates, plates),
            (snakemake.output.wells, wells),
            (snakemake.output.quality, quality),
        ):
            write_arrow(path, table, run.origin())


def read_wells(path, features):
    """Metadata and the wanted features of a table of wells."""
    names = pq.read_schema(path).names
    return read_table(path, [name for name in names if name.startswith("Metadata_") or name in features])


def plates_of(layout, cells, given):
    """The tables of one plate after another; each image table is read when its plate's turn comes."""
    names = layout["Metadata_Plate"].astype(str) if len(layout) else pd.Series(dtype=str)
    kinds = {"quality": read_table, "sites": read_table, "measured": read_measured}
    if not given.get("index"):
        for plate in dict.fromkeys(names):
            yield {"layout": layout[names == plate], "cells": cells[cells["Metadata_Plate"] == plate]}
        return
    unusable = read_ledgers(given.get("unusable", []))
    for number, path in enumerate(given.index):
        index = read_index(path)
        plate = str(index["plate"].iloc[0]) if len(index) else ""
        tables = {kind: read(given[kind][number]) for kind, read in kinds.items() if given.get(kind)}
        own = cells[cells["Metadata_Plate"] == plate] if given.get("wells") else None
        lost = unusable[unusable["plate"] == plate]
        yield {"layout": layout[names == plate], "index": index, "cells": own, "unusable": lost, **tables}


def read_measured(path):
    """The sites that gave features."""
    return read_table(path, ["Metadata_Plate", "Metadata_Well", "Metadata_Site"])


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
