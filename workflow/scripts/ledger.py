"""Rule ledger: the ledgers of all stages -> one table."""

from phenoloom.core.job import job
from phenoloom.core.tables import write_arrow
from phenoloom.report.ledgers import join_ledgers


def main(snakemake):
    with job(snakemake):
        write_arrow(snakemake.output[0], join_ledgers(snakemake.input))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
