"""Rule run_times: Snakemake's benchmark tables -> time and memory per job."""

from phenoloom.core.job import job
from phenoloom.core.tables import write_arrow
from phenoloom.report.run_times import read_benchmarks


def main(snakemake):
    with job(snakemake):
        jobs = read_benchmarks(snakemake.params.folder, snakemake.params.datasets)
        write_arrow(snakemake.output.table, jobs)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
