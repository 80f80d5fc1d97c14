"""Contrastive learning of profiles: sets of cells of one compound come near, those of others go apart.

Source: CytoSummaryNet, van Dijk et al. 2024; SupCon, Khosla et al. 2020, arXiv:2004.11362, whose denominator holds all
other sets (the paper's equation 1 calls them negative ones).
"""

import copy
import math

import numpy as np
import torch
from pytorch_metric_learning.losses import SupConLoss
from sklearn.metrics import average_precision_score

from phenoloom.cell_sets.network import counts_matrix
from phenoloom.cell_sets.wells import profiles
from phenoloom.training.learner import Learner


class SetContrast(Learner):
    """Deep sets in training. The weights of the epoch with the best score on validation wells are kept.

    network: network.DeepSets. block: `temperature`, `patience` (epochs without a better score after which training is
    over) and `train` of the config. validate: network -> score, None to keep the last weights.
    """

    def __init__(self, network, block, steps_per_epoch, seed, validate=None):
        super().__init__(block["train"], steps_per_epoch, seed)
        self.network, self.patience, self._validate = network, block["patience"], validate
        self.criterion = SupConLoss(temperature=block["temperature"])
        self.best = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("best_score", torch.tensor(-math.inf, dtype=torch.float64))
        self.register_buffer("best_epoch", torch.tensor(0))
        self.register_buffer("epoch", torch.tensor(0))

    @property
    def backbone(self):
        return self.best

    @property
    def ended(self):
        return self._validate is not None and int(self.epoch - self.best_epoch) >= self.patience

    def loss(self, batch):
        """SupCon of the profiles of a step's sets (batches.SetBatches), by cosine similarity."""
        cells, sets = batch["cells"], len(batch["labels"])
        counts = counts_matrix(batch["sets"], batch["places"], batch["times"], (sets, len(cells)))
        return self.criterion(self.network(cells, counts), batch["labels"])

    @torch.no_grad()
    def after_update(self, step):
        """At the end of an epoch: score the weights, and keep them if they are the best so far."""
        epoch, rest = divmod(step + 1, self.steps_per_epoch)
        if rest:
            return
        self.epoch.fill_(epoch)
        score = math.inf if self._validate is None else self._validate(self.network)
        if self._validate is None or score > self.best_score:
            self.best_score.fill_(score)
            self.best_epoch.fill_(epoch)
            self.best.load_state_dict(self.network.state_dict())


class Validation:
    """Replicate retrieval among wells: mean over compounds of the mean average precision of their wells."""

    def __init__(self, cells, wells, labels):
        """cells: store.Cells. wells: rows of its wells. labels: (n,) class of each."""
        self.cells, self.wells, self.labels = cells, np.asarray(wells), np.asarray(labels)

    def __call__(self, network):
        """Score of a network, NaN when no two wells share a compound."""
        return replicate_retrieval(profiles(network, self.cells, self.wells), self.labels)


def replicate_retrieval(values, labels):
    """Mean over labels of the mean average precision of their members, by cosine similarity; NaN without any pair.

    values: (n, d). labels: (n,). A member alone with its label asks for nothing.
    """
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.where(lengths > 0, lengths, 1)
    similar = unit @ unit.T
    found = {}
    for row, label in enumerate(labels):
        others = np.arange(len(labels)) != row
        same = labels[others] == label
        if same.any():
            found.setdefault(label, []).append(average_precision_score(same, similar[row, others]))
    return float(np.mean([np.mean(scores) for scores in found.values()])) if found else math.nan
