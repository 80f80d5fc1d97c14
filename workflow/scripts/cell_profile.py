"""Rule cell_profile: tables of cells -> their profiles by one chain, the fitted model, and what was dropped."""

import numpy as np

from phenoloom.core.files import atomic
from phenoloom.core.job import job
from phenoloom.core.tables import stream_table, write_arrow
from phenoloom.metric_learning.streaming import profile_files
from phenoloom.metric_learning.transform import arrays_of


def main(snakemake):
    with job(snakemake) as run:
        output, steps, name = snakemake.output, snakemake.params.steps, run.wildcards["profile"]
        with stream_table(output.cells, run.origin()) as write:
            paths = list(snakemake.input.cells)
            transform, dropped, notes = profile_files(paths, write, name, steps, run.seed, run.threads, run.ledger)
        print("\n".join(notes))
        with atomic(output.model) as partial, open(partial, "wb") as file:
            np.savez(file, **arrays_of(transform))
        write_arrow(output.dropped, dropped, run.origin())
        run.ledger.write(output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
