"""WS-DINO: large and small crops of different images of a label, drawn evenly."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from training_model import Images, block, split_of, trained

from phenoloom.core.errors import InputError
from phenoloom.models import ws_dino
from phenoloom.models.train import initial_network
from phenoloom.networks import weights
from phenoloom.training.data import Batches

#: Labels of very different sizes: 20 of a, 4 of b, 2 of c, 1 of d, 5 without.
LABELS = np.array(["a"] * 20 + ["b"] * 4 + ["c"] * 2 + ["d"] + [""] * 5, dtype=object)


def sampling(labels=LABELS, seed=1):
    return ws_dino.sampling(split_of(labels), np.arange(len(labels)), block(kind="ws_dino"), seed)


def drawn(steps, n=10, **more):
    draws = [sampling(**more)[0](step, n, 1) for step in range(steps)]
    return np.concatenate([one.items for one in draws]), np.concatenate([one.partners for one in draws])


def test_pairs_share_the_label_and_differ_in_image():
    items, partners = drawn(100)
    assert (LABELS[items] == LABELS[partners]).all()
    paired = np.isin(LABELS[items], ["a", "b", "c"])
    assert (items[paired] != partners[paired]).all()


def test_a_label_with_one_image_and_images_without_a_label_are_as_in_dino():
    items, partners = drawn(100)
    alone = np.isin(LABELS[items], ["d", ""])
    assert alone.any() and (items[alone] == partners[alone]).all()
    notes = sampling()[1]
    assert notes == [
        ("weak labels with a single image, trained on as in DINO: d", "label", 1),
        ("items without a weak label are trained on as in DINO", "image", 5),
    ]


def test_labels_are_drawn_evenly_whatever_their_sizes_and_items_evenly_within():
    items, partners = drawn(100)
    assert np.unique(LABELS[items].astype(str), return_counts=True)[1].tolist() == [200] * 5
    for label in "abc":
        inside = np.bincount(items[LABELS[items] == label], minlength=len(LABELS))[label == LABELS]
        assert inside.max() - inside.min() <= 1
    seen = np.bincount(partners[LABELS[partners] == "a"], minlength=20)[:20]
    assert seen.min() > 0


def test_every_ordered_pair_of_a_label_comes_up():
    items, partners = drawn(200)
    four = LABELS[items] == "b"
    assert len(set(zip(items[four], partners[four], strict=True))) == 4 * 3


def test_small_crops_are_of_the_partner_and_large_ones_of_the_item(monkeypatch):
    """Each image has a level of its own, so that a crop tells where it is from."""
    items = Images(len(LABELS))
    items.pixels = np.broadcast_to(np.arange(len(LABELS), dtype=np.float32)[:, None, None, None], items.pixels.shape)
    draw, _ = sampling()
    batch = Batches(items, draw, 10, 1, 1)[3]
    expected = draw(3, 10, 1)
    assert torch.equal(batch["images"][:, 0, 0, 0], torch.from_numpy(expected.items).float())
    assert torch.equal(batch["partners"][:, 0, 0, 0], torch.from_numpy(expected.partners).float())
    plain = block(kind="ws_dino", views={"brightness": 0, "contrast": 0, "noise": 0})
    model = ws_dino.learner(initial_network(plain, 2, 1), plain, 1, 1)
    seen = []
    monkeypatch.setattr(
        "phenoloom.models.dino._outputs",
        lambda network, views: seen.append(views) or torch.zeros(sum(map(len, views)), 64, requires_grad=True),
    )
    model.values = {"temperature": 0.04}
    model.loss(batch)
    large, small = seen[1]
    torch.testing.assert_close(large.mean(dim=(1, 2, 3)), batch["images"][:, 0, 0, 0].repeat(2))
    torch.testing.assert_close(small.mean(dim=(1, 2, 3)), batch["partners"][:, 0, 0, 0].repeat(2))


def test_one_label_only_is_refused():
    with pytest.raises(InputError, match="at least two weak labels.* found 1 in Perturbation"):
        sampling(np.array(["a", "a", ""], dtype=object))


def correlated(n, seed=0):
    """Images of two channels that go together (label 1) or against each other (label 0), with noise; their labels."""
    rng = np.random.default_rng(seed)
    items, labels = Images(n, 2, (24, 24)), np.arange(n) % 2
    for image, label in zip(items.pixels, labels, strict=True):
        first, second = (gaussian_filter(rng.normal(size=(24, 24)), 1) for _ in range(2))
        image[0], image[1] = first, 0.6 * first * (2 * label - 1) + 0.4 * second
        image -= image.mean(axis=(1, 2), keepdims=True)
        image /= image.std(axis=(1, 2), keepdims=True)
    return items, labels


def neighbours_agree(paths, items, labels, chosen):
    """Share of the chosen images whose nearest other one has their label, by cosine."""
    backbone, _ = weights.load(paths["weights"])
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(backbone(torch.from_numpy(items.pixels[chosen])), dim=1)
    nearest = (vectors @ vectors.T).fill_diagonal_(-2).argmax(dim=1).numpy()
    return (labels[chosen][nearest] == labels[chosen]).mean()


def test_a_trained_network_beats_the_same_network_untrained_on_images_that_it_never_saw(tmp_path):
    items, labels = correlated(320)
    held_out = np.arange(320) >= 160
    split = split_of([f"drug{label}" for label in labels], np.where(held_out, "test", "train"))
    scores = []
    for epochs in (0, 16):
        options = block(
            kind="ws_dino",
            network={"patch": 4, "dim": 32, "depth": 2},
            train={"epochs": epochs, "batch": 16, "warmup_epochs": 2, "learning_rate": 2e-3},
            head={"out": 128, "hidden": 64},
            teacher={"momentum": 0.98},
            views={"rotate": False, "brightness": 0.3, "contrast": 0.3, "noise": 0.3, "blur": 0},
        )
        paths, _ = trained(tmp_path, options, items, split)
        scores.append(neighbours_agree(paths, items, labels, held_out))
    assert scores[1] > scores[0] + 0.05, scores


def test_it_trains_and_says_which_labels_fell_back(tmp_path):
    split = split_of(["a"] * 16 + ["b"] * 15 + ["c"])
    _, ledger = trained(tmp_path, block(kind="ws_dino"), split=split)
    assert ledger["reason"].tolist() == ["weak labels with a single image, trained on as in DINO: c"]
    assert ledger["severity"].tolist() == ["flagged"]
