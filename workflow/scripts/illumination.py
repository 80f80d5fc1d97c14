"""Rule illumination: index and quality of one plate -> illumination function of each channel, and its picture."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_index, read_table
from phenoloom.illumination import estimate, preview, without_excluded


def main(snakemake):
    with job(snakemake) as run:
        index = without_excluded(read_index(snakemake.input.index), read_table(snakemake.input.quality))
        channels, functions, pictures = snakemake.params.channels, snakemake.output.functions, snakemake.output.previews
        for channel, path, picture in zip(channels, functions, pictures, strict=True):
            images = index[index["channel"] == channel]
            function = estimate(images, run.ledger, threads=run.threads, **snakemake.params.options)
            run.save_array(path, function)
            preview(function, picture, title=f"{run.wildcards['plate']}, {channel}")
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
