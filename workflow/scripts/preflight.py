"""Rule preflight: everything wrong with the inputs -> one list, in the terminal, the log and beside the results."""

from phenoloom.core.errors import InputError
from phenoloom.core.job import job
from phenoloom.core.words import count
from phenoloom.ingest.preflight import preflight, write


def main(snakemake):
    """Write the list; fail when it has errors, so that whoever waits for the exit status sees it."""
    with job(snakemake) as run:
        findings, estimate = preflight(snakemake.params.config, run.threads)
        text = write(snakemake.params.folder, snakemake.params.config["study"], findings, estimate)
        print(text, flush=True)
        errors = sum(one.severity == "error" for one in findings)
        if errors:
            raise InputError(f"{count(errors, 'error')} in the inputs; see the list above")
    # Of a job that fails Snakemake shows the log, which has the list; here it is for the terminal.
    print(text, flush=True)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
