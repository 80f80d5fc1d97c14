"""Rule train: stored images, split and options of a model -> weights of one of its networks, card and log."""

from pathlib import Path

from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.models.train import train
from phenoloom.tensors.store import Items
from phenoloom.training.checkpoints import fingerprint, prepare


def main(snakemake):
    with job(snakemake) as run:
        given, made, options = snakemake.input, snakemake.output, snakemake.params
        origin = run.origin()
        items = Items.open(
            list(zip(given.tensors, given.rows, strict=True)), options.channels, options.block["normalize"]
        )
        train(
            starting_from(given.get("weights"), options.block),
            items,
            read_table(given.split),
            {"weights": made.weights, "card": made.card, "log": made.log, "snapshots": list(made.get("snapshots", []))},
            prepare(Path(made.weights).with_name("checkpoints"), fingerprint(origin)),
            seed=run.seed,
            threads=run.threads,
            gpus=int(snakemake.resources.get("gpu", 0)),
            ledger=run.ledger,
            inputs=origin["inputs"],
        )
        run.ledger.write(made.ledger)


def starting_from(weights, block):
    """The model's block with the file of the weights that it starts from, which may be another model's of the study."""
    return {**block, "weights": weights[0]} if weights and len(weights) == 1 else block


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
