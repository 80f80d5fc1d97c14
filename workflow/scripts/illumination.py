"""Rule illumination: index and quality of one plate -> illumination function of one channel, and its picture."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_index, read_table
from phenoloom.illumination import estimate, preview, without_excluded


def main(snakemake):
    with job(snakemake) as run:
        plate, channel = run.wildcards["plate"], run.wildcards["channel"]
        images = read_index(snakemake.input.index, channel=channel)
        images = without_excluded(images, read_table(snakemake.input.quality))
        function = estimate(images, run.ledger, threads=run.threads, **snakemake.params.options)
        run.save_array(snakemake.output.function, function)
        preview(function, snakemake.output.preview, title=f"{plate}, {channel}")
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
