"""Rule ledger: the ledgers of all stages -> one table."""

from phenoloom.core.job import job
from phenoloom.core.ledger import join_ledgers
from phenoloom.core.tables import write_arrow


def main(snakemake):
    with job(snakemake):
        write_arrow(snakemake.output[0], join_ledgers(snakemake.input))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
