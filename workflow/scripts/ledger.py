"""Rule ledger: the ledgers of all stages, and the plates that the study leaves out -> one table."""

import pandas as pd

from phenoloom.core.job import job
from phenoloom.core.ledger import excluded_plates, join_ledgers
from phenoloom.core.tables import write_arrow


def main(snakemake):
    with job(snakemake):
        left_out = excluded_plates(snakemake.params.excluded)
        write_arrow(snakemake.output[0], pd.concat([left_out, join_ledgers(snakemake.input)], ignore_index=True))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
