"""Rule manifest: a sample's row of the table of samples -> the list of its files."""

from phenoloom.core.files import write_if_changed
from phenoloom.core.job import job
from phenoloom.cytometry.manifest import list_sample
from phenoloom.ingest.facts import to_bytes


def main(snakemake):
    with job(snakemake) as run:
        dataset, options = run.wildcards["dataset"], snakemake.params
        table, ledger, _ = list_sample(dataset, options.row, options.block, threads=2 * run.threads)
        write_if_changed(snakemake.output.manifest, to_bytes(table))
        write_if_changed(snakemake.output.ledger, to_bytes(ledger))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
