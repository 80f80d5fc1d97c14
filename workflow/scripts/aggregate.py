"""Rule aggregate: table of one plate and its map -> wells of the plate, by the steps up to and including aggregate."""

from pathlib import Path

from phenoloom.core.job import job
from phenoloom.core.tables import read_index, read_table
from phenoloom.ingest.layouts import layout_of_plate, read_platemap, simulated_layout
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.profiling import wells_of_table
from phenoloom.profiles.storage import write_double
from phenoloom.profiles.tvn import read_fitted


def main(snakemake):
    with job(snakemake) as run:
        layout = layout_of(snakemake.input, snakemake.params.layout)
        dropped = Dropped()
        wells = wells_of_table(
            Path(snakemake.input.table),
            snakemake.params.steps,
            snakemake.params.level,
            run.ledger,
            dropped,
            layout=layout,
            plates=None if layout is None else [run.wildcards["plate"]],
            imaged=imaged_wells(snakemake.input),
            fitted=read_fitted(snakemake.input.tvn) if snakemake.input.get("tvn") else None,
        )
        write_double(snakemake.output.wells, wells, run.origin())
        dropped.write(snakemake.output.dropped)
        run.ledger.write(snakemake.output.ledger)


def layout_of(given, options):
    """What is in the wells of the plate; None for a table that brings it along."""
    if given.get("truth"):
        return simulated_layout(read_table(given.truth))
    if given.get("map"):
        return layout_of_plate(read_platemap(given.map, options), options["row"])
    return None


def imaged_wells(given):
    """(wells with usable images, wells with sites that gave features); None for a table that entered."""
    if not given.get("index"):
        return None
    return set(read_index(given.index)["well"]), set(read_table(given.measured, ["Metadata_Well"])["Metadata_Well"])


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
