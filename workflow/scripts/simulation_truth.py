"""Rule simulation_truth: options of the demo study -> what is planted in each of its wells."""

from phenoloom.core.job import job
from phenoloom.simulate.design import truth


def main(snakemake):
    with job(snakemake) as run:
        run.save_table(snakemake.output.truth, truth(snakemake.params.options))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
