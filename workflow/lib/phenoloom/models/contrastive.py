"""Contrastive learning: two views of an image, or images of one label, come near; centroids of labels go apart.

Sources: NT-Xent, Chen et al. 2020, arXiv:2002.05709; SupCon, Khosla et al. 2020, arXiv:2004.11362; their sum with
a loss of cluster separation, Palli 2023, equations 2 to 4.
"""

import numpy as np
import torch
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch import nn
from torch.nn import functional

from phenoloom.core.errors import InputError
from phenoloom.training.augmentation import crops
from phenoloom.training.data import Draw, EachOnce
from phenoloom.training.learner import Learner

#: Column of the split with the label, '' for none.
LABEL = "Metadata_WeakLabel"


def learner(backbone, block, steps_per_epoch, seed):
    """The model in training. block: the model's config."""
    return Contrast(backbone, block, steps_per_epoch, seed)


def sampling(split, rows, block, seed):
    """(draw, notes): see dino.sampling. Raises InputError when fewer than two labels have images."""
    if block["label"] is None:
        return EachOnce(rows, seed), []
    labels = split[LABEL].to_numpy(dtype=object)[rows].astype(str)
    classes = np.unique(labels[labels != ""])
    if len(classes) < 2:
        raise InputError(
            f"a contrastive model with labels needs at least two among the training items but found {len(classes)} in "
            f"{block['label']}; choose another label, or leave `label` out"
        )
    codes = np.where(labels == "", -1, np.searchsorted(classes, labels))
    bare = int((codes < 0).sum())
    if block["loss"]["pretrain_epochs"]:
        what = "items without a label are in the first, unsupervised epochs only"
    else:
        what = "items without a label have only their own views as positives"
    return Labelled(rows, codes, block["loss"], seed), [(what, "image", bare)] if bare else []


class Labelled:
    """Draws items at random, those with a label `oversample` times as often as those without.

    With `pretrain_epochs` all items come evenly and without labels in these epochs, and only labelled ones after them.
    codes: class of each of `rows`, -1 for none.
    """

    def __init__(self, rows, codes, options, seed):
        self.rows, self.codes, self._seed = np.asarray(rows), np.asarray(codes), seed
        self._first, self._all = options["pretrain_epochs"], EachOnce(rows, seed)
        bare = 0.0 if self._first else 1.0
        self._edges = np.cumsum(np.where(self.codes >= 0, float(options["oversample"]), bare))

    def __call__(self, step, n, steps_per_epoch):
        if step < self._first * steps_per_epoch:
            return self._all(step, n, steps_per_epoch)
        places = np.random.default_rng([self._seed, 3, step]).uniform(0, self._edges[-1], n)
        picked = np.searchsorted(self._edges, places, side="right")
        return Draw(self.rows[picked], labels=self.codes[picked])


class Contrast(Learner):
    """A backbone and a projection of it, on which the loss works. The backbone is what is saved."""

    def __init__(self, backbone, block, steps_per_epoch, seed):
        super().__init__(block["train"], steps_per_epoch, seed)
        self.options = block["loss"]
        self.backbone = backbone
        self.projection = nn.Sequential(
            nn.Linear(backbone.dim, backbone.dim), nn.ReLU(), nn.Linear(backbone.dim, self.options["projection"])
        )
        self.large, self.small = crops(block["views"])
        self.unsupervised, self.supervised = (
            of(temperature=self.options["temperature"]) for of in (NTXentLoss, SupConLoss)
        )

    def loss(self, batch):
        """NT-Xent over the views of an image; with labels SupCon over those of a label, and their separation."""
        kinds = [kind for kind in (self.large, self.small) if kind is not None]
        with torch.no_grad():
            views = [kind(batch["images"], batch["keys"]) for kind in kinds]
        vectors = self.projection(torch.cat([self.backbone(view) for view in views]))
        vectors = functional.normalize(vectors.float(), dim=1)
        n, count = len(batch["images"]), sum(kind.count for kind in kinds)
        own = torch.arange(n, device=vectors.device)
        if "labels" not in batch:
            return self.unsupervised(vectors, own.repeat(count))
        labels = batch["labels"]
        # An item without a label is a class of its own.
        classes = torch.where(labels < 0, -1 - own, labels).repeat(count)
        loss = self.supervised(vectors, classes)
        if self.options["separation"]:
            known = classes >= 0
            apart = separation(vectors[known], classes[known], self.options["margin"])
            loss = loss + self.options["separation"] * apart
        return loss

    def passes(self):
        return [(kind.count, kind.size, 3) for kind in (self.large, self.small) if kind is not None]


def separation(vectors, classes, margin):
    """Sum over ordered pairs of classes of how far their centroids are short of `margin` apart (Euclidean).

    vectors: (n, d). classes: (n,) integers. Source: Palli 2023, equation 4.
    """
    names, members = torch.unique(classes, return_inverse=True)
    if len(names) < 2:
        return vectors.sum() * 0
    one_hot = functional.one_hot(members, len(names)).to(vectors.dtype)
    centroids = one_hot.T @ vectors / one_hot.sum(dim=0)[:, None]
    first, second = torch.triu_indices(len(names), len(names), offset=1, device=vectors.device)
    distances = torch.linalg.vector_norm(centroids[first] - centroids[second], dim=1)
    return 2 * functional.relu(margin - distances).sum()
