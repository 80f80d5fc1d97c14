"""Rule crop_features: stack of a sample -> classical image features of its events."""

from phenoloom.core.job import job
from phenoloom.crops.table import write_features


def main(snakemake):
    with job(snakemake) as run:
        given, options = snakemake.input, snakemake.params
        write_features(
            snakemake.output.cells,
            (given.stack, given.frames, given.events),
            options.channels,
            options.options,
            options.rescale,
            run.threads,
            run.origin(),
        )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
