"""Training of one network of a model: what it learns from, what it writes, what it refuses."""

import json

import numpy as np
import pytest
import torch
from training_model import Images, block, split_of, trained

from phenoloom.core.errors import InputError
from phenoloom.networks import weights
from phenoloom.training import card


class Counting(Images):
    """Images that remember which of them were read."""

    def __init__(self, *given):
        super().__init__(*given)
        self.read_ones = set()

    def read(self, indices):
        self.read_ones |= set(np.asarray(indices).tolist())
        return super().read(indices)


def test_only_training_items_are_ever_read(tmp_path):
    for kind in ("dino", "ws_dino", "contrastive"):
        (tmp_path / kind).mkdir()
        items = Counting()
        sides = np.where(np.arange(32) % 4 == 3, "test", "train")
        split = split_of([f"drug{number % 3}" for number in range(32)], sides)
        trained(tmp_path / kind, block(kind=kind, train={"epochs": 4}), items, split)
        assert items.read_ones == set(np.flatnonzero(sides == "train"))


def test_no_epochs_give_the_network_that_training_starts_from(tmp_path):
    paths, _ = trained(tmp_path, block(train={"epochs": 0}))
    backbone, header = weights.load(paths["weights"])
    assert header["kind"] == "dino" and paths["log"].read_text().startswith("step,epoch,loss,")
    assert json.loads(paths["card"].read_text())["training"] == {}
    start = weights.load(trained(tmp_path, block(train={"epochs": 0}))[0]["weights"])[0].state_dict()
    still = block(train={"learning_rate": 1e-30, "final_learning_rate": 1e-30, "epochs": 1})
    end = weights.load(trained(tmp_path, still)[0]["weights"])[0].state_dict()
    for name, values in backbone.state_dict().items():
        assert torch.equal(values, start[name])
        torch.testing.assert_close(values, end[name])


def test_another_seed_starts_from_other_weights(tmp_path):
    first = trained(tmp_path, block(train={"epochs": 0}))[0]["weights"].read_bytes()
    assert trained(tmp_path, block(train={"epochs": 0}), seed=2)[0]["weights"].read_bytes() != first


def test_training_starts_from_given_weights_of_another_number_of_channels(tmp_path):
    from phenoloom.networks.backbone import build

    rgb = build("vit", 3, 16, {"patch": 8, "dim": 16, "depth": 1, "heads": 2})
    rgb.network.save_pretrained(tmp_path / "rgb")
    options = block(weights=str(tmp_path / "rgb"), adapt="average", train={"epochs": 1})
    paths, _ = trained(tmp_path, options)
    assert weights.load(paths["weights"])[0].n_channels == 2
    text = paths["card"].read_text()
    assert str(tmp_path) not in text and json.loads(text)["options"]["weights"].endswith("/rgb")


def test_fewer_items_than_a_batch_make_a_smaller_one_and_are_said(tmp_path):
    _, ledger = trained(tmp_path, block(train={"epochs": 1}), Images(5))
    assert ledger["reason"].tolist() == ["steps of 5 items, for there are no more (8 asked for)"]
    assert ledger["severity"].tolist() == ["flagged"]


@pytest.mark.parametrize("sides", [["train"] + ["test"] * 31, ["test"] * 32])
def test_fewer_than_two_items_are_refused(sides, tmp_path):
    with pytest.raises(InputError, match="at least two items to learn from"):
        trained(tmp_path, block(), split=split_of(["a"] * 32, sides))


def test_a_split_of_another_tensor_is_refused(tmp_path):
    with pytest.raises(InputError, match="the split has 5 rows and the tensor 32 items"):
        trained(tmp_path, block(), split=split_of(["a"] * 5))


def test_a_snapshot_after_the_end_is_refused(tmp_path):
    with pytest.raises(InputError, match="a snapshot of epoch 9 is asked for, and training ends with 2"):
        trained(tmp_path, block(snapshots=[1, 9]))


def test_snapshots_are_the_weights_of_their_epochs(tmp_path):
    paths, _ = trained(tmp_path, block(snapshots=[1, 2]))
    first, last = (path.read_bytes() for path in paths["snapshots"])
    assert first != last == paths["weights"].read_bytes()


def test_the_card_says_what_was_learned_from_and_what_it_took(tmp_path):
    sides = ["train"] * 24 + ["test"] * 8
    split = split_of([f"drug{number % 3}" for number in range(32)], sides)
    paths, _ = trained(tmp_path, block(kind="ws_dino"), split=split, inputs={"tensors/a.npy": "12ab"})
    told = json.loads(paths["card"].read_text())
    assert told["data"] == {
        "items": 32,
        "trained_on": 24,
        "held_out": 8,
        "transductive": False,
        "inputs": {"tensors/a.npy": "12ab"},
        "label": "Perturbation",
        "items_by_label": {"drug0": 8, "drug1": 8, "drug2": 8},
    }
    training = told["training"]
    assert training["steps"] == 6 and training["epochs"] == 2 and training["images"] == 48
    for name in ("seconds", "images_per_second", "peak_memory_mb", "flops_per_image"):
        assert training[name] > 0
    assert 0 <= training["data_wait"] < 1
    assert told["seed"] == 1 and "torch" in told["versions"] and told["network"]["architecture"] == "vit"


def test_operations_are_those_of_all_views_forward_and_backward():
    from phenoloom.models import dino
    from phenoloom.models.train import initial_network
    from phenoloom.networks.flops import flops

    learner = dino.learner(initial_network(block(), 2, 1), block(), 4, 1)
    large, small = (flops(learner.backbone, (2, side, side)) for side in (16, 8))
    assert card.flops_per_image(learner, 2) == 2 * (3 + 1) * large + 2 * 3 * small


@pytest.mark.parametrize(
    "network",
    [
        {"architecture": "resnet50", "dim": 64, "depth": 1},
        {"architecture": "swin", "patch": 4, "dim": 48, "depth": 2},
        {"architecture": "dinov2"},
    ],
)
def test_every_architecture_trains(network, tmp_path):
    options = block(network=network, train={"epochs": 1}, views={"global_size": 32, "local_size": 16})
    paths, _ = trained(tmp_path, options, Images(16, 2, (40, 40)))
    assert weights.load(paths["weights"])[0](torch.zeros(1, 2, 40, 40)).isfinite().all()


def test_counting_operations_changes_nothing_that_is_trained():
    from phenoloom.models import dino
    from phenoloom.models.train import initial_network

    options = block(network={"architecture": "resnet50", "dim": 64, "depth": 1})
    learner = dino.learner(initial_network(options, 2, 1), options, 4, 1)
    before = {name: values.clone() for name, values in learner.state_dict().items()}
    assert card.flops_per_image(learner, 2) > 0
    assert all(torch.equal(values, before[name]) for name, values in learner.state_dict().items())
    assert learner.backbone.training
