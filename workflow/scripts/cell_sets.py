"""Rule cell_sets: cells of one plate and its map -> one array, well by well, as a learned aggregation reads them."""

from pathlib import Path

from phenoloom.cell_sets.store import shared_features, write_cells
from phenoloom.core.job import job
from phenoloom.profiles.aggregation import prepared
from phenoloom.profiles.chain import learned
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.placing import imaged_wells, layout_of


def main(snakemake):
    with job(snakemake) as run:
        given, made, steps = snakemake.input, snakemake.output, snakemake.params.steps
        layout = layout_of(given, snakemake.params.layout)
        dropped = Dropped()
        plates = None if layout is None else [run.wildcards["plate"]]
        units = prepared(
            Path(given.table), steps, run.ledger, dropped, layout=layout, plates=plates, imaged=imaged_wells(given)
        )
        features, lacking = shared_features(given.tables)
        for name, number in lacking.items():
            if name in units.features:
                dropped.add("feature", name, "deep_sets", f"missing in {number} plates", run.wildcards["plate"])
        write_cells(units, features, learned(steps), made.cells, made.wells, made.cell_keys, run.ledger, run.origin())
        dropped.write(made.dropped)
        run.ledger.write(made.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
