"""Rule enter: a table that exists already -> a representation with mapped metadata."""

from phenoloom.core.job import job
from phenoloom.profiles.entering import enter


def main(snakemake):
    with job(snakemake) as run:
        enter(snakemake.params.block, snakemake.wildcards.level, snakemake.output.table, run.ledger, run.origin())
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
