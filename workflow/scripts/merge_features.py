"""Rule merge_features: classical features of several datasets -> those that all have, under the roles of channels."""

from phenoloom.core.job import job
from phenoloom.crops.merging import merge


def main(snakemake):
    with job(snakemake) as run:
        options = snakemake.params.merge
        tables = {name: list(snakemake.input[name]) for name in options["datasets"]}
        merge(
            snakemake.output.cells,
            tables,
            snakemake.params.channels,
            options["roles"],
            options["apart"],
            run.ledger,
            run.origin(),
        )
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
