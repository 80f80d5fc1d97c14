"""Contrastive losses against their formulas, and which images they see."""

import numpy as np
import pytest
import torch
from training_model import Images, block, split_of, trained

from phenoloom.core.errors import InputError
from phenoloom.models import contrastive
from phenoloom.models.train import initial_network

LABELS = np.array(["a"] * 10 + ["b"] * 10 + [""] * 20, dtype=object)


def unit(n, d=6, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Given(torch.nn.Module):
    """A projection that gives the same vectors for anything."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors = torch.from_numpy(vectors).float()

    def forward(self, _):
        return self.vectors


def contrast(vectors, n, **changes):
    """The model whose projections are `vectors`, of views of n images."""
    options = block(kind="contrastive", **changes)
    model = contrastive.learner(initial_network(options, 2, 1), options, 4, 1)
    model.projection = Given(vectors)
    return model, {"images": torch.zeros(n, 2, 20, 24), "keys": torch.arange(n)}


def test_without_labels_it_is_nt_xent():
    vectors, n = unit(10), 5
    scores = np.exp(vectors @ vectors.T / 0.1)
    np.fill_diagonal(scores, 0)
    partner = (np.arange(10) + 5) % 10
    expected = -np.log(scores[np.arange(10), partner] / scores.sum(axis=1)).mean()
    model, batch = contrast(vectors, n, views={"n_local": 0})
    assert float(model.loss(batch)) == pytest.approx(expected, rel=1e-5)


def test_with_labels_it_is_supcon_plus_the_separation_of_centroids():
    vectors, n = unit(10), 5
    labels = np.array([0, 0, 1, 1, -1])
    classes = np.tile([0, 0, 1, 1, 2], 2)
    scores = vectors @ vectors.T / 0.1
    np.fill_diagonal(scores, -np.inf)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    same = (classes[:, None] == classes) & ~np.eye(10, dtype=bool)
    expected = -(np.where(same, logs, 0).sum(axis=1) / same.sum(axis=1)).mean()
    first, second = (vectors[classes == code].mean(axis=0) for code in (0, 1))
    apart = 2 * max(0, 1.5 - np.linalg.norm(first - second))
    model, batch = contrast(vectors, n, views={"n_local": 0}, loss={"separation": 0.3, "margin": 1.5})
    batch["labels"] = torch.from_numpy(labels)
    assert float(model.loss(batch)) == pytest.approx(expected + 0.3 * apart, rel=1e-5)
    assert apart > 0


def test_separation_sums_over_ordered_pairs_and_ends_at_the_margin():
    vectors = torch.tensor([[0.0, 0.0], [0.0, 2.0], [3.0, 1.0], [0.0, 1.5]])
    classes = torch.tensor([4, 4, 7, 9])
    centroids = np.array([[0, 1], [3, 1], [0, 1.5]])
    distances = np.linalg.norm(centroids[:, None] - centroids, axis=2)
    expected = np.maximum(0, 2 - distances)[~np.eye(3, dtype=bool)].sum()
    assert float(contrastive.separation(vectors, classes, 2.0)) == pytest.approx(expected)
    assert float(contrastive.separation(vectors[:1], classes[:1], 2.0)) == 0


def test_identical_centroids_give_a_finite_gradient():
    vectors = torch.ones(4, 3, requires_grad=True)
    contrastive.separation(vectors, torch.tensor([0, 0, 1, 1]), 1.0).backward()
    assert vectors.grad.isfinite().all()


def drawn(steps, **loss):
    options = block(kind="contrastive", loss=loss)
    draw, notes = contrastive.sampling(split_of(LABELS), np.arange(40), options, 1)
    return [draw(step, 20, 2) for step in range(steps)], notes


def test_labelled_images_are_drawn_as_many_times_as_often_as_asked_for():
    draws, _ = drawn(500, oversample=3)
    items = np.concatenate([draw.items for draw in draws])
    often = np.bincount(items, minlength=40)
    assert often[:20].mean() / often[20:].mean() == pytest.approx(3, rel=0.1)
    assert all((draw.labels == np.where(draw.items < 10, 0, np.where(draw.items < 20, 1, -1))).all() for draw in draws)


def test_first_all_images_without_labels_then_labelled_ones_only():
    draws, notes = drawn(8, pretrain_epochs=2)
    assert all(draw.labels is None for draw in draws[:4])
    assert sorted(np.concatenate([draw.items for draw in draws[:2]])) == list(range(40))
    assert all(draw.labels is not None and (draw.items < 20).all() for draw in draws[4:])
    assert notes == [("items without a label are in the first, unsupervised epochs only", "image", 20)]


def test_one_class_only_is_refused():
    with pytest.raises(InputError, match="at least two among the training items but found 1 in Perturbation"):
        contrastive.sampling(split_of(["a", "a", ""]), np.arange(3), block(kind="contrastive"), 1)


def test_it_trains_with_and_without_labels(tmp_path):
    for name, label in (("with", "Perturbation"), ("without", None)):
        (tmp_path / name).mkdir()
        options = block(kind="contrastive", label=label, loss={"separation": 0.1, "pretrain_epochs": 1})
        paths, _ = trained(tmp_path / name, options, Images())
        assert paths["weights"].exists()
