"""Rule tvn: tables of all plates and their maps -> typical variation of the sites of the negative controls."""

from pathlib import Path

from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.ingest.layouts import layout_of_plate, read_platemap, simulated_layout
from phenoloom.profiles.aggregation import fit_tvn
from phenoloom.profiles.dropped import Dropped


def main(snakemake):
    with job(snakemake) as run:
        given, params = snakemake.input, snakemake.params
        tables = list(zip(map(Path, given.tables), layouts_of(given, params.layout), strict=True))
        dropped = Dropped()
        fit_tvn(tables, params.steps, params.level, run.ledger, dropped).write(snakemake.output.fit)
        dropped.write(snakemake.output.dropped)
        run.ledger.write(snakemake.output.ledger)


def layouts_of(given, options):
    """What is in the wells of each table; None for tables that bring it along."""
    if given.get("truth"):
        return [simulated_layout(read_table(given.truth))] * len(given.tables)
    if given.get("maps"):
        rows = options["rows"]
        return [layout_of_plate(read_platemap(path, options), row) for path, row in zip(given.maps, rows, strict=True)]
    return [None] * len(given.tables)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
