"""The failure ledger: what could not be used, where, at which stage and why. Failures are data."""

import logging

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.tables import write_arrow

SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("plate", pa.string()),
        ("well", pa.string()),
        ("site", pa.string()),
        ("channel", pa.string()),
        ("unit", pa.string()),
        ("stage", pa.string()),
        ("severity", pa.string()),
        ("count", pa.int64()),
        ("reason", pa.string()),
    ]
)

log = logging.getLogger("phenoloom")


class Ledger:
    """Collects rows; `lost` ones are gone from the results, `flagged` ones are kept but listed.

    unit: what the row counts (image, site, well, cell, feature, plate, event). count: how many.
    """

    def __init__(self, stage, **where):
        self.stage = stage
        self.where = where
        self.rows = []

    def add(self, reason, severity="lost", unit="image", count=1, **where):
        """Record one failure; keywords dataset, plate, well, site, channel say where."""
        if severity not in ("lost", "flagged"):
            raise ValueError(f"severity is lost or flagged, not {severity!r}")
        row = {"stage": self.stage, **self.where, **where}
        row = {key: str(value) for key, value in row.items() if value is not None and value == value}
        unknown = set(row) - set(SCHEMA.names)
        if unknown:
            raise ValueError(f"the ledger has no columns {sorted(unknown)}")
        self.rows.append({**row, "reason": str(reason), "severity": severity, "unit": unit, "count": int(count)})
        log.warning("%s: %s", severity, reason)

    def extend(self, frame):
        """Take over the rows of another ledger's DataFrame."""
        self.rows.extend(frame.to_dict("records"))

    def frame(self):
        """All rows as a DataFrame with the columns of SCHEMA."""
        return pd.DataFrame(self.rows, columns=SCHEMA.names)

    def write(self, path):
        """Write all rows (none is fine) as Parquet."""
        write_arrow(path, pa.Table.from_pylist([{**row} for row in self.rows], schema=SCHEMA))


def excluded_plates(plates):
    """DataFrame of ledger rows for the plates that a study leaves out itself, from {dataset: their names}."""
    ledger = Ledger("index")
    for dataset, names in plates.items():
        for name in names:
            ledger.add("left out by exclude_plates in the study's config", unit="plate", dataset=dataset, plate=name)
    return pa.Table.from_pylist(ledger.rows, schema=SCHEMA).to_pandas()


def read_ledgers(paths):
    """Concatenate ledgers into one DataFrame, in the order given."""
    tables = [pq.read_table(path, schema=SCHEMA) for path in paths]
    return pa.concat_tables(tables).to_pandas() if tables else SCHEMA.empty_table().to_pandas()


def join_ledgers(paths):
    """As read_ledgers, but a row that several files have, such as the profile chains of one plate, is there once.

    A row that one file has several times stays so: it may count several things that read alike.
    """
    frames = [read_ledgers([path]) for path in paths]
    numbered = [frame.assign(turn=frame.groupby(SCHEMA.names, dropna=False).cumcount()) for frame in frames]
    if not numbered:
        return read_ledgers([])
    return pd.concat(numbered, ignore_index=True).drop_duplicates(ignore_index=True)[SCHEMA.names]
