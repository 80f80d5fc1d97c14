"""Rule cells: measurements of a plate's batches -> single-cell table, image table, ledger."""

from phenoloom.cells.table import write_plate
from phenoloom.core.job import job
from phenoloom.core.ledger import read_ledgers
from phenoloom.core.tables import read_table


def main(snakemake):
    with job(snakemake) as run:
        write_plate(
            snakemake.input.batches,
            snakemake.input.failures,
            (snakemake.output.cells, snakemake.output.images),
            snakemake.params.options,
            snakemake.params.coverage,
            run.ledger,
            excluded=read_table(snakemake.input.quality),
            origin=run.origin(),
            unusable=read_ledgers([snakemake.input.unusable]),
        )
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
