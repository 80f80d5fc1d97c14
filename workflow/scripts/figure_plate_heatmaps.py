"""Rule figure_plate_heatmaps: counts per well of one dataset -> plate heatmaps."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.report.gallery import Gallery
from phenoloom.report.plates import dataset_maps


def main(snakemake):
    with job(snakemake) as run:
        gallery = Gallery(snakemake.output[0], run.origin())
        dataset_maps(
            gallery,
            read_table(snakemake.input.wells),
            read_table(snakemake.input.quality),
            snakemake.params.channels,
            **snakemake.params.options,
        )
        gallery.write()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
