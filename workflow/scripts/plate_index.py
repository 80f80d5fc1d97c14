"""Rule plate_index: manifests and ledgers of all batches of a plate -> index and ledger of the plate."""

import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.files import write_if_changed
from phenoloom.core.job import job
from phenoloom.core.ledger import SCHEMA, join_ledgers
from phenoloom.core.tables import INDEX_SCHEMA
from phenoloom.ingest.facts import to_bytes


def main(snakemake):
    """Join the manifests, in their order, which is by well, site and channel."""
    with job(snakemake):
        tables = [pq.read_table(path, schema=INDEX_SCHEMA) for path in snakemake.input.batches]
        write_if_changed(snakemake.output.index, to_bytes(pa.concat_tables(tables).combine_chunks()))
        # What no site in particular tells, each batch has listed.
        problems = pa.Table.from_pandas(join_ledgers(snakemake.input.ledgers), schema=SCHEMA, preserve_index=False)
        write_if_changed(snakemake.output.ledger, to_bytes(problems.replace_schema_metadata(None)))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
