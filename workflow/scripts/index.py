"""Rule index: images of one batch of sites -> their manifest and ledger."""

from phenoloom.cellprofiler.batches import assign
from phenoloom.core.files import write_if_changed
from phenoloom.core.job import job
from phenoloom.ingest import geometry
from phenoloom.ingest.facts import to_bytes
from phenoloom.ingest.index import SIMULATED, index_plate, split


def main(snakemake):
    """Index one batch: the sites that are declared for it, or those that `prepare` found and assigned to it."""
    with job(snakemake) as run:
        options, dataset = snakemake.params, run.wildcards["dataset"]
        number = int(run.wildcards["batch"])
        sites, shape, declared = options.sites, options.shape, None
        if sites is None and not geometry.read_summary(f"{options.folder}/summary.json"):
            declared = geometry.sites(options.geometry)
            sites = assign(declared, options.size)[number - 1]
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
            only=sites and [tuple(site) for site in sites],
            shape=shape and tuple(shape),
            declared=declared,
        )
        own = None if sites else set(split(index, assign, options.size)[number - 1])
        write_if_changed(snakemake.output.index, to_bytes(index.table(own)))
        write_if_changed(snakemake.output.ledger, to_bytes(index.ledger(own, number == 1)))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
