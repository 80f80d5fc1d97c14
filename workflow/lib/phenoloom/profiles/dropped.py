"""Account of what a chain leaves out: every feature, cell, well or value with the step and the reason."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from phenoloom.core.tables import write_arrow

#: kind: what `count` counts (feature, cell, well or single value). name: the feature's or the well's.
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("plate", pa.string()),
        ("step", pa.string()),
        ("reason", pa.string()),
        ("count", pa.int64()),
    ]
)


class Dropped:
    """Collects rows of SCHEMA; `plate` is empty where a row concerns all plates."""

    def __init__(self):
        self.rows = []

    def add(self, kind, name, step, reason, plate="", count=1):
        """Record that `count` units of a kind (feature, cell, well, value) left at a step."""
        if kind not in ("feature", "cell", "well", "value"):
            raise ValueError(f"kind is feature, cell, well or value, not {kind!r}")
        self.rows.append(
            {"kind": kind, "name": str(name), "plate": str(plate), "step": step, "reason": reason, "count": int(count)}
        )

    def extend(self, frame):
        """Take over the rows of another account's DataFrame."""
        self.rows.extend(frame.to_dict("records"))

    def frame(self):
        """All rows as a DataFrame."""
        return pd.DataFrame(self.rows, columns=SCHEMA.names)

    def write(self, path, origin=None):
        """Write all rows (none is fine) as Parquet."""
        write_arrow(path, pa.Table.from_pylist(self.rows, schema=SCHEMA), origin)


def read_dropped(path):
    """Rows of one account as a DataFrame."""
    return pq.read_table(path, schema=SCHEMA).to_pandas()
