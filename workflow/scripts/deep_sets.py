"""Rule deep_sets: cells of all plates -> weights of a learned aggregation, card, log and who taught it."""

from pathlib import Path

from phenoloom.cell_sets.store import Cells
from phenoloom.cell_sets.train import train
from phenoloom.core.job import job
from phenoloom.training.checkpoints import fingerprint, prepare


def main(snakemake):
    with job(snakemake) as run:
        given, made = snakemake.input, snakemake.output
        origin = run.origin()
        train(
            snakemake.params.options,
            Cells(given.cells, given.wells),
            {"weights": made.weights, "card": made.card, "log": made.log, "wells": made.wells},
            prepare(Path(made.weights).with_name("checkpoints"), fingerprint(origin)),
            seed=run.seed,
            threads=run.threads,
            gpus=int(snakemake.resources.get("gpu", 0)),
            ledger=run.ledger,
            inputs=origin["inputs"],
        )
        run.ledger.write(made.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
