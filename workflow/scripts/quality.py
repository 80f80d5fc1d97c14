"""Rule quality: index of one plate -> measures and flags of its images, summary of its sites, ledger."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_index
from phenoloom.quality import flag_images, measure_plate, summarize_sites


def main(snakemake):
    with job(snakemake) as run:
        options = snakemake.params.options
        measured = measure_plate(read_index(snakemake.input.index), run.ledger, run.threads)
        images = flag_images(measured, options["flags"], run.ledger, options["minimum_images"])
        sites = summarize_sites(images, run.ledger, options["exclude"])
        run.save_table(snakemake.output.images, images)
        run.save_table(snakemake.output.sites, sites)
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
