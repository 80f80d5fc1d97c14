"""Rule tensor_events: stack of a sample -> its events as one array of integers, and their index."""

from phenoloom.core.job import job
from phenoloom.tensors.events import write_event_crops


def main(snakemake):
    with job(snakemake) as run:
        run.ledger.where["plate"] = run.wildcards["sample"]
        given, output = snakemake.input, snakemake.output
        write_event_crops(
            (output.tensor, output.rows),
            (given.stack, given.frames, given.events),
            snakemake.params.channels,
            snakemake.params.options,
            run.ledger,
            run.origin(),
        )
        run.ledger.write(output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
