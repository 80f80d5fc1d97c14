"""Rule simulate: design of the demo study -> the images of one batch of sites of one plate."""

from phenoloom.core.job import job
from phenoloom.simulate.design import design
from phenoloom.simulate.site import write_sites


def main(snakemake):
    with job(snakemake) as run:
        rows = design(snakemake.params.options)
        rows = rows[rows["plate"] == run.wildcards["plate"]]
        write_sites(snakemake.output.images, rows, snakemake.params.sites, snakemake.params.options)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
