"""Rule tensor_crops: index and cells of one plate -> crops as one array of integers, and their index."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_index, read_table
from phenoloom.illumination import without_excluded
from phenoloom.tensors.crops import write_plate_crops


def main(snakemake):
    with job(snakemake) as run:
        given, output = snakemake.input, snakemake.output
        write_plate_crops(
            (output.tensor, output.rows),
            without_excluded(read_index(given.index), read_table(given.quality)),
            given.cells,
            snakemake.params.channels,
            snakemake.params.options,
            run.ledger,
            list(given.illumination),
            run.seed,
            run.threads,
            run.origin(),
        )
        run.ledger.write(output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
