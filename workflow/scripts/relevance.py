"""Rule relevance: cells of a few plates, weights and wells of a learned aggregation -> which cells count."""

import pandas as pd
import torch

from phenoloom.cell_sets.relevant_cells import score_cells
from phenoloom.cell_sets.store import Cells, shared_features
from phenoloom.cell_sets.weights import load
from phenoloom.cell_sets.wells import read_wells
from phenoloom.core.job import job
from phenoloom.core.tables import read_table


def main(snakemake):
    with job(snakemake) as run:
        given, made, params = snakemake.input, snakemake.output, snakemake.params
        torch.set_num_threads(run.threads)
        cells, wells, features = score_cells(
            load(given.weights),
            Cells(given.cells, given.cell_wells),
            pd.concat([read_table(path) for path in given.cell_keys], ignore_index=True),
            *read_wells(given.wells),
            shared_features(given.tables, params.blocklist)[0],
            params.options,
            params.plates,
            run.ledger,
        )
        run.save_table(made.cells, cells)
        run.save_table(made.wells, wells)
        run.save_table(made.features, features)
        run.ledger.write(made.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
