"""Rule aggregation_scores: wells of a learned aggregation and of others -> what each retrieves, and what they store."""

from pathlib import Path

from phenoloom.core.files import atomic
from phenoloom.core.job import job
from phenoloom.core.tables import read_table, write_arrow
from phenoloom.evaluation.aggregation import average_precision_of_wells, shared_wells
from phenoloom.evaluation.aggregation_tables import (
    CELLS,
    NETWORK_CELLS,
    WELLS,
    compound_table,
    mechanism_table,
    plate_table,
    size_table,
    stratum_table,
)


def main(snakemake):
    with job(snakemake) as run:
        given, made, learned = snakemake.input, snakemake.output, run.wildcards["profile"]
        paths = {Path(path).parts[-2]: path for path in given.wells}
        profiles = {name: read_table(path) for name, path in paths.items()}
        wells = shared_wells(profiles, learned, snakemake.params.options)
        queries = average_precision_of_wells(wells)
        plates = plate_table(queries, wells.left_out)
        strata = stratum_table(plates, learned, run.seed)
        files = [(learned, CELLS, given.tables), (learned, NETWORK_CELLS, given.arrays)]
        files += [(name, WELLS, [path]) for name, path in paths.items()]
        found = {
            "plates": plates,
            "strata": strata,
            "mechanisms": mechanism_table(queries),
            "compounds": compound_table(queries),
            "sizes": size_table(files, profiles[learned]["Metadata_Plate"].nunique()),
        }
        origin = run.origin()
        for name, table in found.items():
            table.insert(0, "dataset", run.wildcards["dataset"])
            write_arrow(made[name], table, origin)
        with atomic(made.csv) as partial:
            strata.to_csv(partial, index=False, float_format="%.6g")


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
