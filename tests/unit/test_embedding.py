"""Embedding: every item once, in order, whatever the batch; what is not finite never enters the table."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from snakemake.iocontainers import InputFiles, OutputFiles, Params, ResourceList, Wildcards

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger, read_ledgers
from phenoloom.core.provenance import read_origin
from phenoloom.embedding import embed, load_parts, split_of_unit
from phenoloom.embedding.views import centre_crops, embed_views, resized, summarise
from phenoloom.networks import weights
from phenoloom.networks.backbone import build
from phenoloom.tensors.store import TensorWriter

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
CHANNELS = ["DNA", "ER", "AGP"]
WHOLE = {"views": "whole", "l2": False, "batch": 4}


class Stored:
    """Items in memory, with the interface of phenoloom.tensors.store.Items."""

    def __init__(self, images, metadata, channels):
        self.images, self.metadata, self.channels = images, metadata, channels
        self.reads = []

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        self.reads.append(len(indices))
        return self.images[indices]


def items(number=11, size=(32, 40), channels=CHANNELS):
    rng = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": [f"A0{1 + i // 6}" for i in range(number)],
            "Metadata_Site": np.array([1 + i // 3 % 2 for i in range(number)], dtype=np.int64),
            "Metadata_ObjectNumber": np.arange(number),
            "Metadata_Label": pd.Series([None] * number, dtype=object),
        }
    )
    return Stored(rng.normal(size=(number, len(channels), *size)).astype(np.float32), metadata, channels)


def model(folder, channels=CHANNELS, per_channel=True, normalize="image", **options):
    """Paths of the weights of a tiny model."""
    paths = []
    for number, seen in enumerate([[name] for name in channels] if per_channel else [channels]):
        torch.manual_seed(number)
        backbone = build("vit", len(seen), 32, {"dim": 32, "depth": 2, "heads": 2, "patch": 8} | options)
        with torch.no_grad():
            for values in backbone.parameters():
                values.add_(0.1 * torch.randn_like(values))
        paths.append(folder / f"{number}.safetensors")
        weights.save(backbone, paths[-1], channels=seen, normalize=normalize, kind="dino")
    return paths


def run(folder, stored, paths, level="cells", **options):
    """(table, images, ledger) of an embedding."""
    ledger = Ledger("embed", plate="P1")
    files = (folder / "P1.parquet", folder / "P1.images.parquet")
    split = np.array(["train", "test"], dtype=object)[np.arange(len(stored)) % 2]
    parts = load_parts(paths)
    embed(stored, split, parts, WHOLE | options, files, "m", level, ledger, origin={"rule": "embed"})
    return pd.read_parquet(files[0]), pd.read_parquet(files[1]), ledger.frame()


def vectors(table):
    return table.filter(like="Embedding_m_").to_numpy()


def test_every_item_has_a_row_in_order_with_its_metadata_and_split(tmp_path):
    stored = items()
    table, images, ledger = run(tmp_path, stored, model(tmp_path))
    assert list(table["Metadata_ObjectNumber"]) == list(range(11))
    assert list(table["Metadata_Split"]) == [["train", "test"][i % 2] for i in range(11)]
    assert [name for name in table if name.startswith("E")] == [f"Embedding_m_{i:04d}" for i in range(1, 97)]
    assert (vectors(table).dtype, ledger.empty) == (np.float32, True)
    assert images.to_numpy().tolist() == [["A01", 1, 3], ["A01", 2, 3], ["A02", 1, 3], ["A02", 2, 2]]
    assert read_origin(tmp_path / "P1.parquet") == {"rule": "embed"}


def test_parts_are_side_by_side_in_their_order_and_see_their_channels(tmp_path):
    stored = items()
    paths = model(tmp_path)
    shuffled = Stored(stored.images[:, [2, 0, 1]], stored.metadata, ["AGP", "DNA", "ER"])
    table, _, _ = run(tmp_path, shuffled, paths)
    with torch.no_grad():
        expected = [weights.load(p)[0](torch.from_numpy(stored.images[:, [c]])) for c, p in enumerate(paths)]
    np.testing.assert_allclose(vectors(table), torch.cat(expected, 1), atol=1e-5)


@pytest.mark.parametrize("views", ["whole", "centre_crops"])
def test_batches_change_nothing(tmp_path, views):
    options = {"views": views, "crop": 16, "grid": 2, "statistic": "median"}
    paths = model(tmp_path, per_channel=False)
    found = [vectors(run(tmp_path, items(), paths, batch=batch, **options)[0]) for batch in (1, 3, 64)]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


def test_items_are_read_in_batches_and_written_in_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("phenoloom.embedding.table._GROUP", 5 * 32)
    stored = items()
    table, _, _ = run(tmp_path, stored, model(tmp_path, per_channel=False), batch=3)
    assert stored.reads == [3, 3, 3, 2]
    file = pq.ParquetFile(tmp_path / "P1.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [6, 5]
    assert list(table["Metadata_ObjectNumber"]) == list(range(11))


def test_vectors_of_all_channels_together_have_length_one_if_asked(tmp_path):
    plain = vectors(run(tmp_path, items(), model(tmp_path))[0])
    scaled = vectors(run(tmp_path, items(), model(tmp_path), l2=True)[0])
    np.testing.assert_allclose(scaled, plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-5)


def test_an_embedding_that_is_not_finite_is_left_out_and_counted(tmp_path):
    stored = items()
    stored.images[[1, 2, 6]] = np.inf
    table, images, ledger = run(tmp_path, stored, model(tmp_path))
    assert list(table["Metadata_ObjectNumber"]) == [0, 3, 4, 5, 7, 8, 9, 10]
    assert np.isfinite(vectors(table)).all()
    assert ledger[["well", "site", "unit", "count"]].values.tolist() == [
        ["A01", "1", "cell", 2],
        ["A02", "1", "cell", 1],
    ]
    assert list(images["Metadata_Count_Cells"]) == [1, 3, 2, 2]


@pytest.mark.parametrize("broken", ["no items", "none finite"])
def test_a_unit_without_embeddings_has_an_empty_table_of_the_same_columns(tmp_path, broken):
    whole, _, _ = run(tmp_path, items(), model(tmp_path))
    stored = items(0 if broken == "no items" else 3)
    stored.images[:] = np.nan
    table, _, ledger = run(tmp_path, stored, model(tmp_path))
    assert list(table) == list(whole) and table.empty
    assert len(ledger) == 1 and ledger["severity"].item() == "lost"
    assert ledger["unit"].item() == ("plate" if broken == "no items" else "cell")


def test_sites_that_have_an_embedding_are_listed(tmp_path):
    stored = items(4)
    stored.metadata["Metadata_Site"] = [1, 2, 3, 4]
    stored.images[2] = np.nan
    table, images, ledger = run(tmp_path, stored, model(tmp_path), level="sites")
    assert list(images["Metadata_Site"]) == [1, 2, 4] == list(table["Metadata_Site"])
    assert images["Metadata_Count_Cells"].isna().all() and ledger["unit"].item() == "site"


def test_events_without_wells_are_embedded(tmp_path):
    stored = items(5)
    stored.metadata = pd.DataFrame({"Metadata_Sample": "S", "Metadata_Event": range(5)})
    stored.images[4] = np.nan
    table, images, ledger = run(tmp_path, stored, model(tmp_path))
    assert len(table) == 4 and images.empty and ledger["count"].item() == 1


def test_a_missing_channel_and_parts_normalised_unlike_are_refused(tmp_path):
    with pytest.raises(InputError, match="sees the channel AGP, and the images have DNA, ER"):
        run(tmp_path, items(channels=["DNA", "ER"]), model(tmp_path))
    (tmp_path / "other").mkdir()
    other = model(tmp_path / "other", normalize="range")
    with pytest.raises(InputError, match="normalize: range"):
        load_parts([*model(tmp_path), *other])


def test_a_batch_too_large_for_a_gpu_says_what_to_lower(tmp_path, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("phenoloom.embedding.table.embed_views", full)
    with pytest.raises(InputError, match="batch of 4 items does not fit .* lower embed.batch"):
        run(tmp_path, items(), model(tmp_path))


def test_the_split_of_a_unit_is_in_the_order_of_its_items():
    split = pd.DataFrame(
        {"unit": ["a", "b", "b", "b"], "row": [0, 2, 0, 1], "Metadata_Split": ["all", "test", "train", "train"]}
    )
    assert list(split_of_unit(split, "b", 3)) == ["train", "train", "test"]
    assert list(split_of_unit(None, "b", 2)) == ["test", "test"]
    with pytest.raises(InputError, match="3 items of b and its tensor holds 4"):
        split_of_unit(split, "b", 4)


def test_centre_crops_touch_each_other_about_the_centre():
    rows, columns = np.mgrid[:10, :13].astype(np.float32)
    given = torch.from_numpy(np.stack([rows, columns])[None])
    crops = centre_crops(given, 3, 2)
    assert crops.shape == (1, 4, 2, 3, 3)
    assert crops[0, :, :, 0, 0].tolist() == [[2, 3], [2, 6], [5, 3], [5, 6]]  # row and column of their corners
    assert crops[0, 3, :, 2, 2].tolist() == [7, 8]
    with pytest.raises(InputError, match="2 x 2 crops of 6 pixels do not fit into images of 10 x 13"):
        centre_crops(given, 6, 2)


def test_an_item_is_the_median_over_its_crops():
    given = torch.arange(2 * 16 * 16, dtype=torch.float32).reshape(2, 1, 16, 16)
    options = {"views": "centre_crops", "crop": 8, "grid": 2, "statistic": "median"}
    found = embed_views(lambda crops: crops.flatten(1), given, options)
    expected = np.median(centre_crops(given, 8, 2).flatten(2).numpy(), axis=1)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(summarise(torch.tensor([[[1.0], [2.0], [9.0]]]), "mean"), [[4.0]])


def test_whole_items_are_resized_if_asked():
    given = torch.rand(2, 3, 20, 30)
    assert embed_views(lambda images: images.mean((2, 3)), given, {"views": "whole"}).shape == (2, 3)
    assert resized(given, 10).shape == (2, 3, 10, 10)
    torch.testing.assert_close(resized(torch.ones(1, 1, 20, 30), 10), torch.ones(1, 1, 10, 10))


def run_script(name, **job):
    """Run a rule's script with lists that Snakemake itself would give it."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kinds = {"input": InputFiles, "output": OutputFiles, "params": Params, "wildcards": Wildcards}
    lists = {kind: made(fromdict=job.get(kind, {})) for kind, made in kinds.items()}
    module.main(SimpleNamespace(rule=name, threads=1, log=[], resources=ResourceList(fromdict={"gpu": 0}), **lists))


def test_the_scripts_adopt_a_network_and_embed_a_stored_tensor(tmp_path):
    stored = items()
    with TensorWriter(tmp_path / "P.npy", CHANNELS, (32, 40)) as writer:
        writer.append(stored.images, stored.metadata)
    rgb = build("vit", 3, 32, {"dim": 32, "depth": 2, "heads": 2, "patch": 8})
    rgb.network.save_pretrained(tmp_path / "folder")
    block = {"kind": "pretrained", "weights": str(tmp_path / "folder"), "adapt": "rgb", "normalize": "percentile"}
    made = {name: str(tmp_path / name) for name in ("card", "weights", "table", "images", "ledger")}
    made["weights"] += ".safetensors"
    run_script(
        "adopt",
        output={"weights": made["weights"], "card": made["card"]},
        params={"block": block, "channels": CHANNELS},
    )
    assert json.loads((tmp_path / "card").read_text())["dim"] == 96
    run_script(
        "embed",
        input={
            "tensor": str(tmp_path / "P.npy"),
            "rows": str(tmp_path / "P.items.parquet"),
            "split": [],
            "weights": [made["weights"]],
        },
        output={name: made[name] for name in ("table", "images", "ledger")},
        params={"options": WHOLE, "model": "m", "unit": "P~201", "channels": CHANNELS},
        wildcards={"dataset": "d", "level": "cells"},
    )
    table = pd.read_parquet(made["table"])
    pixels = stored.images.reshape(11, 3, -1).astype(np.float64)
    low, high = np.percentile(pixels, [0.1, 99.9], axis=2)
    scaled = np.clip((pixels - low[..., None]) / (high - low)[..., None], 0, 1).reshape(stored.images.shape)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        given = torch.from_numpy(scaled.astype(np.float32)).reshape(-1, 1, 32, 40).repeat(1, 3, 1, 1)
        expected = rgb.eval()((given - mean[:, None, None]) / std[:, None, None]).reshape(11, 96)
    np.testing.assert_allclose(vectors(table), expected, atol=1e-3)
    assert set(table["Metadata_Split"]) == {"test"} and read_ledgers([made["ledger"]]).empty
    assert len(pd.read_parquet(made["images"])) == 4
