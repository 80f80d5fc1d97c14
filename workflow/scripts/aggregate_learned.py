"""Rule aggregate_learned: cells of one plate and the weights of a learned aggregation -> wells of the plate."""

import shutil

import torch

from phenoloom.cell_sets.store import Cells
from phenoloom.cell_sets.weights import load
from phenoloom.cell_sets.wells import wells_of_plate
from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.profiles.storage import write_double


def main(snakemake):
    with job(snakemake) as run:
        given, made = snakemake.input, snakemake.output
        torch.set_num_threads(run.threads)
        wells = wells_of_plate(load(given.weights), Cells([given.cells], [given.cell_wells]), read_table(given.sides))
        write_double(made.wells, wells, run.origin())
        # What was left out on the way to the array is the plate's account.
        shutil.copyfile(given.dropped, made.dropped)
        shutil.copyfile(given.ledger, made.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
