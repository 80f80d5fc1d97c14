"""Rule adopt: pre-trained weights from a folder, a file or a hub -> weights and card of a model."""

import json

from phenoloom.core.files import write_text
from phenoloom.core.job import job
from phenoloom.networks.adoption import adopt


def main(snakemake):
    with job(snakemake):
        card = adopt(snakemake.params.block, snakemake.params.channels, snakemake.output.weights)
        write_text(snakemake.output.card, json.dumps(card, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
