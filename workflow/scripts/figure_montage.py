"""Rule figure_montage: images, illumination functions and masks of one dataset -> montages per perturbation."""

from pathlib import Path

import numpy as np
import pandas as pd

from phenoloom.core.job import job
from phenoloom.core.names import decode
from phenoloom.core.tables import read_index, read_table
from phenoloom.report.gallery import Gallery
from phenoloom.report.montage import build_montage


def main(snakemake):
    with job(snakemake) as run:
        given, params = snakemake.input, snakemake.params
        gallery = Gallery(snakemake.output[0], run.origin())
        sites = [read_table(path, SITE) for path in given.get("sites", [])]
        functions = {
            (decode(Path(path).parent.name), Path(path).stem): np.load(path, mmap_mode="r", allow_pickle=False)
            for path in given.get("functions", [])
        }
        masks = {}
        for path in given.get("measurements", []):
            masks.setdefault(decode(Path(path).parent.name), []).append(path)
        build_montage(
            gallery,
            read_index(given.index),
            read_table(given.layout),
            pd.concat(sites, ignore_index=True) if sites else pd.DataFrame(columns=SITE),
            functions,
            masks,
            params.channels,
            params.n_plates,
            colours=params.options["channels"],
            **{key: params.options[key] for key in ("perturbations", "per", "objects", "crop")},
        )
        gallery.write()


SITE = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Excluded"]

if __name__ == "__main__":
    main(snakemake)  # noqa: F821
