"""Rule figure_montage: images, illumination functions and masks of one dataset -> montages per perturbation."""

import pandas as pd

from phenoloom.core.job import job
from phenoloom.core.tables import read_index, read_table
from phenoloom.report.gallery import Gallery
from phenoloom.report.montage import build_montage, by_plate, read_functions


def main(snakemake):
    with job(snakemake) as run:
        given, params = snakemake.input, snakemake.params
        gallery = Gallery(snakemake.output[0], run.origin())
        sites = [read_table(path, SITE) for path in given.get("sites", [])]
        build_montage(
            gallery,
            read_index(given.index),
            read_table(given.layout),
            pd.concat(sites, ignore_index=True) if sites else pd.DataFrame(columns=SITE),
            read_functions(given.get("functions", [])),
            by_plate(given.get("measurements", [])),
            params.channels,
            params.n_plates,
            colours=params.options["channels"],
            **{key: params.options[key] for key in ("perturbations", "per", "objects", "crop")},
        )
        gallery.write()


SITE = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Excluded"]

if __name__ == "__main__":
    main(snakemake)  # noqa: F821
