"""Rule index: images of one batch of sites -> their manifest and ledger."""

from phenoloom.cellprofiler.batches import assign
from phenoloom.core.files import write_if_changed
from phenoloom.core.job import job
from phenoloom.ingest.facts import to_bytes
from phenoloom.ingest.index import SIMULATED, index_plate, split


def main(snakemake):
    """Index one batch: its declared sites, or else what is found, split into batches as `prepare` does."""
    with job(snakemake) as run:
        options = snakemake.params
        declared = options.sites is not None
        index = index_plate(
            run.wildcards["dataset"],
            options.batch,
            run.wildcards["plate"],
            str(options.place),
            options.channels,
            options.images or SIMULATED,
            memory=options.memory,
            threads=2 * run.threads,
            only=[tuple(site) for site in options.sites] if declared else None,
            shape=tuple(options.shape) if declared else None,
        )
        number = int(run.wildcards["batch"])
        sites = None if declared else set(split(index, assign, options.size)[number - 1])
        write_if_changed(snakemake.output.index, to_bytes(index.table(sites)))
        write_if_changed(snakemake.output.ledger, to_bytes(index.ledger(sites, number == 1)))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
