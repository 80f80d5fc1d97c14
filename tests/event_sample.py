"""One sample of a cytometry dataset taken through manifest, events and features, in a folder of a test."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from phenoloom.config.loading import complete
from phenoloom.core.ledger import Ledger
from phenoloom.crops.sample import build_sample
from phenoloom.crops.table import write_features
from phenoloom.cytometry.manifest import list_sample
from phenoloom.cytometry.samples import sample_metadata


class Built(NamedTuple):
    """What came of a sample: manifest (Arrow), events, frames, stack (N, C, H, W), both ledgers as one DataFrame."""

    manifest: pa.Table
    events: pd.DataFrame
    frames: pd.DataFrame
    stack: np.ndarray
    ledger: pd.DataFrame
    paths: dict

    def lost(self, unit="event"):
        """Number of events, or other units, that the ledgers list as lost."""
        rows = self.ledger[(self.ledger["severity"] == "lost") & (self.ledger["unit"] == unit)]
        return int(rows["count"].sum())

    def flagged(self, words):
        """Sum of the counts of flagged rows whose reason holds the words."""
        rows = self.ledger[(self.ledger["severity"] == "flagged") & self.ledger["reason"].str.contains(words)]
        return int(rows["count"].sum())


def block(channels, events, **more):
    """Completed block of a dataset."""
    dataset = {"assay": "cytometry", "samples": "samples.tsv", "channels": channels, "events": events, **more}
    dataset.setdefault("features", {"classical": {}})
    return complete({"study": "s", "datasets": {"d": dataset}})["datasets"]["d"]


def build(folder, block, **row):
    """Built of a sample; row: images and what else the table of samples says."""
    folder = Path(folder)
    row = {"sample": "one", "batch": "1", **{name: str(value) for name, value in row.items()}}
    manifest, index, _ = list_sample("d", row, block)
    ledger = Ledger("events")
    paths = {kind: folder / f"built.{kind}.parquet" for kind in ("frames", "events", "cells")}
    paths["stack"] = folder / "built.stack.npy"
    build_sample(manifest, sample_metadata("d", row), block, paths, ledger)
    both = pd.concat([index.to_pandas(), ledger.frame()], ignore_index=True)
    events, frames = (pd.read_parquet(paths[kind]) for kind in ("events", "frames"))
    return Built(manifest, events, frames, np.load(paths["stack"]), both, paths)


def measure(built, block):
    """DataFrame of the classical features of a Built."""
    given = [built.paths[kind] for kind in ("stack", "frames", "events")]
    crops = block["crops"]["rescale"]
    write_features(built.paths["cells"], given, list(block["channels"]), block["features"]["classical"], crops)
    return pd.read_parquet(built.paths["cells"])
