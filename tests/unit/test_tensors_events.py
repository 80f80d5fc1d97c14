"""Single events as a tensor: the middle of the canvas, metadata of the events, files that do not belong together."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import write_table
from phenoloom.tensors.events import write_event_crops
from phenoloom.tensors.store import Items

OPTIONS = {"size": None, "dtype": "uint16", "cut_off": None, "percentiles": [0.1, 99.9]}


@pytest.fixture
def sample(tmp_path):
    """Paths of the stack, frames and events of 300 events of three channels, and the stack itself."""
    random = np.random.default_rng(0)
    stack = random.normal(0, 100, (300, 3, 12, 9)).astype(np.float32)
    np.save(tmp_path / "stack.npy", stack)
    frames = pd.DataFrame({f"Background_{name}": np.zeros(300, np.float32) for name in ("BF", "DNA", "SSC")})
    frames.to_parquet(tmp_path / "frames.parquet")
    events = pd.DataFrame(
        {
            "Metadata_Dataset": "d",
            "Metadata_Sample": "s",
            "Metadata_Plate": "s",
            "Metadata_Event": np.arange(300) * 2,
            "Metadata_Class": random.choice(["G1", "M"], 300),
            "FSC-A": random.normal(size=300),
        }
    )
    write_table(tmp_path / "events.parquet", events)
    return [tmp_path / name for name in ("stack.npy", "frames.parquet", "events.parquet")], stack


def write(folder, paths, channels=("BF", "DNA", "SSC"), **options):
    ledger, target = Ledger("tensor_events", plate="s"), (folder / "t.npy", folder / "t.items.parquet")
    write_event_crops(target, paths, list(channels), {**OPTIONS, **options}, ledger)
    return Items.open([target], normalize="none"), ledger.frame()


def test_events_are_those_of_the_stack_with_their_metadata(tmp_path, sample):
    paths, stack = sample
    items, ledger = write(tmp_path, paths)
    assert items.size == (12, 9) and np.abs(items.read(range(300)) - stack).max() < 0.01 and ledger.empty
    events = pd.read_parquet(paths[2])
    assert items.metadata["Metadata_Class"].tolist() == events["Metadata_Class"].tolist()
    assert items.metadata["Metadata_ObjectNumber"].tolist() == list(range(1, 301))
    assert "FSC-A" not in pd.read_parquet(tmp_path / "t.items.parquet")


def test_the_canvas_is_cut_and_filled_about_its_middle(tmp_path, sample):
    paths, stack = sample
    items, _ = write(tmp_path, paths, ["SSC", "BF"], size=[8, 13])
    due = np.pad(stack[:, [2, 0], 2:10], ((0, 0), (0, 0), (0, 0), (2, 2)))
    assert items.channels == ["SSC", "BF"] and np.abs(items.read(range(300)) - due).max() < 0.01


def test_events_that_hold_nothing_are_listed(tmp_path, sample):
    paths, stack = sample
    stack[[3, 290]] = 0
    stack[5, 1] = 0
    np.save(paths[0], stack)
    items, ledger = write(tmp_path, paths)
    assert len(items) == 298 and not {4, 291} & set(items.metadata["Metadata_ObjectNumber"])
    assert ledger["count"].sum() == 2 and set(ledger["unit"]) == {"event"}
    items, ledger = write(tmp_path, paths, cut_off=-1e6)
    assert len(items) == 0 and ledger["unit"].tolist()[-1] == "plate" and "Metadata_Sample" in items.metadata


def test_files_of_different_events_and_unknown_channels_are_named(tmp_path, sample):
    paths, stack = sample
    with pytest.raises(InputError, match="no channel 'Alexa'; it has BF, DNA, SSC"):
        write(tmp_path, paths, ["Alexa"])
    np.save(paths[0], stack[:7])
    with pytest.raises(InputError, match="has 7 events, its frames 300"):
        write(tmp_path, paths)
