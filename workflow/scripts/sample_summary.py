"""Rule sample_summary: tables of the cells of a dataset and their ledgers -> counts per sample, label and reason."""

from pathlib import Path

from phenoloom.core.job import job
from phenoloom.core.names import decode
from phenoloom.core.tables import write_arrow
from phenoloom.report.samples import count_samples


def main(snakemake):
    with job(snakemake) as run:
        ledgers = {}
        for path in snakemake.input.get("ledgers", []):
            ledgers.setdefault(decode(Path(path).name.removesuffix(".ledger.parquet")), []).append(path)
        tables = count_samples(list(snakemake.input.cells), ledgers, snakemake.params.label)
        for path, table in zip((snakemake.output[name] for name in OUTPUTS), tables, strict=True):
            write_arrow(path, table, run.origin())


OUTPUTS = ("samples", "labels", "lost")

if __name__ == "__main__":
    main(snakemake)  # noqa: F821
