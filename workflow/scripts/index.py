"""Rule index: images of one batch of sites -> their manifest and ledger."""

from phenoloom.cellprofiler.batches import assign
from phenoloom.core.files import write_if_changed
from phenoloom.core.job import job
from phenoloom.ingest import geometry
from phenoloom.ingest.facts import to_bytes
from phenoloom.ingest.index import SIMULATED, index_plate


def main(snakemake):
    """Index one batch: the sites that the simulator made for it, or those that are declared for it."""
    with job(snakemake) as run:
        options, dataset = snakemake.params, run.wildcards["dataset"]
        sites, shape, declared = options.sites, options.shape, None
        if sites is None:
            declared = geometry.sites(options.geometry)
            sites = assign(declared, options.size)[int(run.wildcards["batch"]) - 1]
            shape = options.geometry["width"], options.geometry["height"]
        index = index_plate(
            dataset,
            options.batch,
            run.wildcards["plate"],
            str(options.place),
            options.channels,
            options.images or SIMULATED,
            memory=f"{options.folder}/.memory/{snakemake.wildcards.plate}.parquet" if options.sites is None else None,
            threads=2 * run.threads,
            only=[tuple(site) for site in sites],
            shape=tuple(shape),
            declared=declared,
        )
        write_if_changed(snakemake.output.index, to_bytes(index.table()))
        write_if_changed(snakemake.output.ledger, to_bytes(index.ledger()))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
