"""Rule layout: table of plates, plate maps and annotations (or the simulator's truth) -> one row per well."""

from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.ingest.layouts import read_layout, simulated_layout


def main(snakemake):
    """Write the layout of a dataset."""
    with job(snakemake) as run:
        truth = snakemake.input.get("truth")
        block = {"plates": snakemake.input.get("plates"), **snakemake.params.layout}
        layout = simulated_layout(read_table(truth)) if truth else read_layout(block, run.wildcards["dataset"])
        run.save_table(snakemake.output.layout, layout)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
