"""Rule figure_umap: well profiles -> map in two dimensions, coloured by batch, plate, perturbation and MoA."""

from phenoloom.core.job import job
from phenoloom.core.tables import feature_columns, read_table
from phenoloom.report.embedding import add_maps
from phenoloom.report.gallery import Gallery


def main(snakemake):
    with job(snakemake) as run:
        gallery = Gallery(snakemake.output[0], run.origin())
        table = read_table(snakemake.input.wells)
        name = "/".join(snakemake.wildcards[key] for key in ("dataset", "representation", "profile"))
        add_maps(gallery, table, feature_columns(table), run.seed, name, **snakemake.params.options)
        gallery.write()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
