"""Aggregation of single cells to wells: time against pycytominer, and peak memory at a million cells.

Run with the main environment's Python and the library on the path:

    PYTHONPATH=workflow/lib python benchmarks/aggregation.py compare            # 100,000 cells x 300 features, both
    PYTHONPATH=workflow/lib python benchmarks/aggregation.py large              # 1,000,000 cells x 1,500 features, ours

Each measurement runs in a process of its own. `large` writes some 6 GB to the folder given by --folder (removed after).
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: Options of the step aggregate that ask for nothing more.
PLAIN = {"dispersion": None, "covariances": 0, "blocklist": []}
WELLS = [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)]


def write_cells(path, cells, features, rows=10_000, seed=1):
    """Parquet of random cells of one plate of 384 wells in order of sites; 1 % of one feature is missing."""
    random = np.random.default_rng(seed)
    schema = pa.schema(
        [
            ("Metadata_Plate", pa.dictionary(pa.int32(), pa.string())),
            ("Metadata_Well", pa.dictionary(pa.int32(), pa.string())),
            ("Metadata_Site", pa.int32()),
            ("Metadata_ObjectNumber", pa.int32()),
            *((f"Cells_Feature_{number:04d}", pa.float32()) for number in range(features)),
        ]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, cells, rows):
            n = min(rows, cells - first)
            number = np.arange(first, first + n)
            values = random.standard_normal((features, n), dtype=np.float32) + np.float32(10)
            values[0, random.random(n) < 0.01] = np.nan
            columns = [
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), ["plate"]),
                pa.DictionaryArray.from_arrays(pa.array((number * len(WELLS) // cells).astype(np.int32)), WELLS),
                pa.array((number % 9 + 1).astype(np.int32)),
                pa.array(number.astype(np.int32)),
                *map(pa.array, values),
            ]
            writer.write_table(pa.table(columns, schema=schema))


def ours(path, operation):
    """Wells by the library."""
    from phenoloom.core.ledger import Ledger
    from phenoloom.profiles.aggregation import aggregate_table
    from phenoloom.profiles.dropped import Dropped

    steps = [{"aggregate": {"operation": operation, "minimum_cells": 1, **PLAIN}}]
    return aggregate_table(Path(path), steps, Ledger("benchmark"), Dropped())


def pycytominers(path, operation):
    """Wells by pycytominer, the whole table in memory."""
    import pandas as pd
    from pycytominer import aggregate

    frame = pd.read_parquet(path)
    frame[["Metadata_Plate", "Metadata_Well"]] = frame[["Metadata_Plate", "Metadata_Well"]].astype(str)
    features = [name for name in frame if name.startswith("Cells_")]
    return aggregate(frame, strata=["Metadata_Plate", "Metadata_Well"], features=features, operation=operation)


def measure(function, path, operation):
    """Seconds, CPU seconds and peak memory (GB) of a function in a fresh process, and a sum to compare results."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (function, str(path), operation))


def _measured(function, path, operation):
    pa.set_cpu_count(1)
    import pandas  # noqa: F401  (imports are no part of the measurement)
    import pycytominer  # noqa: F401

    from phenoloom.profiles import aggregation  # noqa: F401

    started, used = time.perf_counter(), time.process_time()
    table = function(path, operation)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - used, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "sum": float(table.filter(like="Cells_Feature").to_numpy().sum()),
    }


def main():
    """Measure what the command line asks for and print one JSON object per line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["compare", "large"])
    parser.add_argument("--cells", type=int)
    parser.add_argument("--features", type=int)
    parser.add_argument("--folder", default=None, help="where the cells are written; the system's temporary folder")
    given = parser.parse_args()
    cells = given.cells or {"compare": 100_000, "large": 1_000_000}[given.what]
    features = given.features or {"compare": 300, "large": 1_500}[given.what]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "cells.parquet"
        write_cells(path, cells, features)
        size = round(path.stat().st_size / 2**30, 2)
        print(json.dumps({"cells": cells, "features": features, "file_gb": size}), flush=True)
        for operation in ("median", "mean"):
            result = measure(ours, path, operation)
            line = {"operation": operation, "ours": result}
            if given.what == "compare":
                line["pycytominer"] = measure(pycytominers, path, operation)
                line["times_faster"] = round(line["pycytominer"]["cpu_seconds"] / result["cpu_seconds"], 2)
                line["relative_difference"] = abs(line["pycytominer"]["sum"] - result["sum"]) / abs(result["sum"])
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
