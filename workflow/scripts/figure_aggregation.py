"""Rule figure_aggregation: scores of a learned aggregation beside others, wells of two of them, its log -> figures."""

from pathlib import Path

import pandas as pd

from phenoloom.core.job import job
from phenoloom.core.tables import feature_columns, read_table
from phenoloom.evaluation.aggregation import MECHANISMS, REPLICATES
from phenoloom.report.aggregation_figures import add_maps, add_mechanisms, add_plates
from phenoloom.report.gallery import Gallery
from phenoloom.report.models import add_losses


def main(snakemake):
    with job(snakemake) as run:
        given, learned = snakemake.input, run.wildcards["profile"]
        gallery = Gallery(snakemake.output[0], run.origin())
        plates, strata = read_table(given.plates), read_table(given.strata)
        for task in (REPLICATES, MECHANISMS):
            add_plates(gallery, plates, strata, task, learned)
        add_mechanisms(gallery, read_table(given.mechanisms), learned)
        tables = {Path(path).parts[-2]: read_table(path) for path in reversed(given.wells)}
        profiles = {name: (table, feature_columns(table)) for name, table in tables.items()}
        add_maps(gallery, profiles, read_table(given.compounds), learned, run.seed, **snakemake.params.options)
        add_losses(gallery, {(learned, "all"): pd.read_csv(given.log)}, items="sets")
        gallery.write()


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
