"""Rule anndata: features of the cells of a dataset and their cell profiles -> AnnData with maps and clusters."""

from pathlib import Path

import numpy as np

from phenoloom.core.job import job
from phenoloom.core.provenance import versions
from phenoloom.metric_learning.transform import transform_of
from phenoloom.report.anndata_file import write_anndata
from phenoloom.report.chains import chain_of


def main(snakemake):
    with job(snakemake) as run:
        given, params = snakemake.input, snakemake.params
        profiles = {}
        for cells, model in zip(given.profiles, given.models, strict=True):
            name = Path(cells).parent.name
            with np.load(model, allow_pickle=False) as arrays:
                profiles[name] = cells, transform_of(arrays), chain_of(params.chains[name])
        origin = run.origin()
        origin["versions"] |= versions(("anndata", "scanpy", "umap-learn", "pynndescent", "igraph", "h5py"))
        write_anndata(
            snakemake.output[0], list(given.cells), profiles, params.channels, params.options, run.seed, origin
        )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
