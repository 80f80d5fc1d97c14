"""Rule events: manifest of a sample -> its events table and the stack of their images."""

import pyarrow.parquet as pq

from phenoloom.core.job import job
from phenoloom.crops.sample import build_sample
from phenoloom.cytometry.samples import sample_metadata


def main(snakemake):
    with job(snakemake) as run:
        run.ledger.where["plate"] = run.wildcards["sample"]
        build_sample(
            pq.read_table(snakemake.input.manifest),
            sample_metadata(run.wildcards["dataset"], snakemake.params.row),
            snakemake.params.block,
            {name: snakemake.output[name] for name in ("stack", "frames", "events")},
            run.ledger,
            run.threads,
            run.origin(),
        )
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
