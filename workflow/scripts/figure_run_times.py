"""Rule figure_run_times: time and memory per job -> their figure."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.report.gallery import Gallery
from phenoloom.report.run_times import add_figure


def main(snakemake):
    with job(snakemake):
        gallery = Gallery(snakemake.output[0])
        add_figure(gallery, read_table(snakemake.input.table))
        gallery.write()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
