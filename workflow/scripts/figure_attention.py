"""Rule figure_attention: weights of a network and some stored images -> where its heads look, as arrays and figures."""

import numpy as np

from phenoloom.core.files import atomic
from phenoloom.core.job import job
from phenoloom.embedding.attention import draw, look
from phenoloom.networks.weights import read_header
from phenoloom.report.gallery import Gallery
from phenoloom.report.models import add_attention, name_of
from phenoloom.tensors.store import Items


def main(snakemake):
    with job(snakemake) as run:
        given, options = snakemake.input, snakemake.params
        gallery = Gallery(snakemake.output.figures)
        header = read_header(given.weights)
        files = list(zip(given.tensors, given.rows, strict=True))
        items = Items.open(files, header["channels"], header["normalize"])
        chosen, names = draw(items.metadata, options.number, run.seed)
        found = look(given.weights, items, chosen, options.embed) if len(chosen) else None
        if found is None:
            gallery.note(
                f"Attention of {options.model}: nothing to show, for its network has no class token or no items."
            )
            found = (np.empty((0, 0, 0, 0), np.float32),) * 2
        else:
            add_attention(gallery, name_of(options.model, options.part), *found, names, items.channels)
        with atomic(snakemake.output.arrays) as partial, open(partial, "wb") as file:
            np.savez(file, images=found[0], attention=found[1], names=np.array(names, dtype=str))
        gallery.write()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
