"""Rule train: stored images, split and options of a model -> weights of one of its networks, card and log."""

import hashlib
import json
from pathlib import Path

from phenoloom.core.job import job
from phenoloom.core.tables import read_table
from phenoloom.models.train import train
from phenoloom.tensors.store import Items
from phenoloom.training.checkpoints import prepare


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


def fingerprint(origin):
    """Name of a training by its params, code and inputs: with others a checkpoint is of no use."""
    told = json.dumps([origin[name] for name in ("params", "code", "inputs")], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
