"""Rule tensor_fields: index of one plate -> its corrected fields as one array of integers, and their index."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_index, read_table
from phenoloom.illumination import without_excluded
from phenoloom.tensors.fields import write_fields


def main(snakemake):
    with job(snakemake) as run:
        given, output = snakemake.input, snakemake.output
        write_fields(
            (output.tensor, output.rows),
            without_excluded(read_index(given.index), read_table(given.quality)),
            snakemake.params.channels,
            snakemake.params.options,
            run.ledger,
            list(given.illumination),
            run.threads,
            run.origin(),
        )
        run.ledger.write(output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
