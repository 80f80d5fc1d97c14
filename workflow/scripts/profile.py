"""Rule profile: wells of all plates -> profiles of wells and treatments, by the steps after aggregate."""

from phenoloom.core.job import job
from phenoloom.core.ledger import read_ledgers
from phenoloom.profiles.dropped import Dropped, read_dropped
from phenoloom.profiles.profiling import profile
from phenoloom.profiles.storage import read_wells


def main(snakemake):
    with job(snakemake) as run:
        dropped = Dropped()
        for path in [*snakemake.input.fit_dropped, *snakemake.input.dropped]:
            dropped.extend(read_dropped(path))
        tables = [read_wells(path) for path in snakemake.input.wells]
        wells, treatments = profile(tables, snakemake.params.steps, run.ledger, dropped, run.seed)
        run.save_table(snakemake.output.wells, wells)
        run.save_table(snakemake.output.treatments, treatments)
        dropped.write(snakemake.output.dropped)
        earlier = read_ledgers([*snakemake.input.fit_ledger, *snakemake.input.ledgers])
        run.ledger.extend(earlier)
        run.ledger.write(snakemake.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
