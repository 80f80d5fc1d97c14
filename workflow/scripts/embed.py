"""Rule embed: weights of a model and a unit's stored images -> one vector per cell or site."""

from phenoloom.core.job import job
from phenoloom.core.names import decode
from phenoloom.core.tables import read_table
from phenoloom.embedding import embed, load_parts, split_of_unit
from phenoloom.tensors.store import Items


def main(snakemake):
    with job(snakemake) as run:
        given, made, options = snakemake.input, snakemake.output, snakemake.params
        run.ledger.where["plate"] = decode(options.unit)
        parts = load_parts(given.weights)
        items = Items.open([(given.tensor, given.rows)], channels=options.channels, normalize=parts[0].normalize)
        split = read_table(given.split, ["unit", "row", "Metadata_Split"]) if given.get("split") else None
        embed(
            items,
            split_of_unit(split, options.unit, len(items)),
            parts,
            options.options,
            (made.table, made.images),
            options.model,
            snakemake.wildcards.level,
            run.ledger,
            run.threads,
            int(snakemake.resources.get("gpu", 0)),
            run.origin(),
        )
        run.ledger.write(made.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
