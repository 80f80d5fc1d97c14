"""Rule aggregate: table of one plate and layout -> wells of the plate, by the steps up to and including aggregate."""

from pathlib import Path

from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.profiling import wells_of_table
from phenoloom.profiles.storage import write_double


def main(snakemake):
    with job(snakemake) as run:
        layout = read_table(snakemake.input.layout) if snakemake.input.get("layout") else None
        dropped = Dropped()
        wells = wells_of_table(
            Path(snakemake.input.table),
            snakemake.params.steps,
            snakemake.params.level,
            run.ledger,
            dropped,
            layout=layout,
            plates=None if layout is None else [run.wildcards["plate"]],
        )
        write_double(snakemake.output.wells, wells, run.origin())
        dropped.write(snakemake.output.dropped)
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
