"""Rule aggregate: table of one plate and its map -> wells of the plate, by the steps up to and including aggregate."""

from pathlib import Path

from phenoloom.core.job import job
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.placing import imaged_wells, layout_of
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
            run.seed,
            layout=layout,
            plates=None if layout is None else [run.wildcards["plate"]],
            imaged=imaged_wells(snakemake.input),
            fitted=read_fitted(snakemake.input.tvn) if snakemake.input.get("tvn") else None,
        )
        write_double(snakemake.output.wells, wells, run.origin())
        dropped.write(snakemake.output.dropped)
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
