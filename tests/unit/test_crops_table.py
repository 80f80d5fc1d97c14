"""The table of features of a sample: a row per event with its metadata, whatever the chunks; nothing else is taken."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phenoloom.core.errors import InputError
from phenoloom.crops import FRAME, features, rescale
from phenoloom.crops import table as module
from phenoloom.crops.table import write_features

N, SHAPE = 30, (2, 24, 26)
OPTIONS = {"groups": ["intensity", "shape"]}
NONE = {"method": "none", "percentiles": [0.1, 99.9]}


@pytest.fixture
def sample(tmp_path):
    """(stack, frames, events) as files, and the stack."""
    stack = np.random.default_rng(0).normal(0, 1, (N, *SHAPE)).astype(np.float32)
    stack[:, :, 8:15, 9:17] += np.linspace(20, 60, N)[:, None, None, None]
    np.save(tmp_path / "stack.npy", stack)
    frames = pd.DataFrame([[1, 0, 22, 26]] * N, columns=FRAME)
    events = pd.DataFrame(
        {"Metadata_Event": 2 * np.arange(N), "Metadata_Label": [None] * 20 + ["a"] * 10, "SSC-A": 1.0}
    )
    events["Metadata_Label"] = events["Metadata_Label"].astype("string")
    frames.to_parquet(tmp_path / "frames.parquet")
    pq.write_table(pa.Table.from_pandas(events), tmp_path / "events.parquet")
    return tuple(tmp_path / name for name in ("stack.npy", "frames.parquet", "events.parquet")), stack


def write(tmp_path, files, scaling=NONE, threads=1):
    write_features(tmp_path / "cells.parquet", files, ["DNA", "ER"], OPTIONS, scaling, threads)
    return pd.read_parquet(tmp_path / "cells.parquet")


@pytest.mark.parametrize("rows", [1, 7, 20_000])
def test_a_row_per_event_whatever_the_chunks(sample, tmp_path, monkeypatch, rows):
    files, stack = sample
    monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr("phenoloom.crops.chunks.PIXELS", 5 * SHAPE[1] * SHAPE[2])
    table = write(tmp_path, files, threads=2)
    assert table["Metadata_Event"].tolist() == (2 * np.arange(N)).tolist()
    assert table["Metadata_ObjectNumber"].tolist() == list(range(1, N + 1))
    assert table["Metadata_Label"].isna().sum() == 20 and "SSC-A" not in table
    values = table.filter(like="Cells_").to_numpy()
    frames = pd.read_parquet(files[1]).to_numpy()
    np.testing.assert_array_equal(values, features(stack, ["DNA", "ER"], OPTIONS, frames))


def test_row_groups_are_few(sample, tmp_path):
    write(tmp_path, sample[0])
    assert pq.read_metadata(tmp_path / "cells.parquet").num_row_groups == 1


def test_channels_are_rescaled_over_the_sample_first(sample, tmp_path):
    files, stack = sample
    table = write(tmp_path, files, {"method": "z", "percentiles": [0, 100]})
    inside = stack[:, :, 1:23].astype(float)
    shift, scale = inside.mean(axis=(0, 2, 3)), inside.std(axis=(0, 2, 3))
    expected = features(rescale(stack, shift, scale), ["DNA", "ER"], OPTIONS, pd.read_parquet(files[1]).to_numpy())
    np.testing.assert_allclose(table.filter(like="Cells_").to_numpy(), expected, rtol=2e-3, atol=1e-3)


def test_files_of_different_events_are_refused(sample, tmp_path):
    files, stack = sample
    np.save(files[0], stack[:-1])
    with pytest.raises(InputError, match="stack.npy has 29 events, its frames 30 and .*events.parquet 30; make them"):
        write(tmp_path, files)
