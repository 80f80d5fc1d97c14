"""Rule evaluation_table: summaries of all evaluations -> one table."""

from phenoloom.core.files import write_text
from phenoloom.core.job import job
from phenoloom.core.tables import read_table, write_arrow
from phenoloom.evaluation.table import evaluation_table


def main(snakemake):
    with job(snakemake) as run:
        table = evaluation_table([read_table(path) for path in snakemake.input.summaries])
        write_arrow(snakemake.output.parquet, table, run.origin())
        write_text(snakemake.output.csv, table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
