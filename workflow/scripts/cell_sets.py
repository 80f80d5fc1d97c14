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
        options = learned(steps)
        features, left_out = shared_features(given.tables, options["blocklist"])
        for name, reason in left_out.items():
            if name in units.features:
                dropped.add("feature", name, "deep_sets", reason, run.wildcards["plate"])
        write_cells(units, features, options, made.cells, made.wells, made.cell_keys, run.ledger, run.origin())
        dropped.write(made.dropped)
        run.ledger.write(made.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
