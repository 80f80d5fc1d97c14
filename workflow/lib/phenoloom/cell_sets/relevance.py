"""Which cells a learned profile rests on: sensitivity, critical points, and both combined.

Source: CytoSummaryNet, van Dijk et al. 2024, interpretability analysis and its equation 3; critical points as in
PointNet, Qi et al. 2017, arXiv:1612.00593; SupCon, Khosla et al. 2020, arXiv:2004.11362.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

#: Cells of a well that are in the network at a time.
BLOCK = 8192


@dataclass(frozen=True)
class Relevance:
    """Relevance (M,) of the cells of one well, float32: each from 0 to 1, a well whose cells are alike has 0.

    sensitivity: how much the loss changes with the cell's features. activation: length of what the cell adds to the
    sum. combined: both added, again from 0 to 1.
    """

    sensitivity: np.ndarray
    activation: np.ndarray
    combined: np.ndarray


def loss_gradients(profiles, labels, chosen, temperature):
    """Derivatives (n, dim) float32 of the loss of some wells by their profiles.

    profiles: (W, dim) of all wells of the loss. labels: (W,). chosen: (n,) rows of the wells that ask, such as those of
    a plate; all others take part as what they are near to or far from, so that a compound finds its replicates on other
    plates too. Each derivative has length 1, for only differences between cells of one well count, and its own length
    may be too small for float32; all are 0 where no well shares its label with another.
    """
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    codes = torch.as_tensor(np.unique(np.asarray(labels, str), return_inverse=True)[1][np.append(chosen, rest)])
    own = torch.as_tensor(profiles[chosen], dtype=torch.float64).requires_grad_(True)
    (gradients,) = torch.autograd.grad(_sup_con(own, torch.as_tensor(profiles[rest]), codes, temperature), own)
    lengths = gradients.norm(dim=1, keepdim=True)
    return torch.where(lengths > 0, gradients / lengths, 0).float().numpy()


def _sup_con(own, rest, codes, temperature):
    """SupCon of the wells `own` (n, dim) among themselves and `rest` (m, dim); codes: (n + m,) of their labels.

    As SupConLoss of pytorch-metric-learning, which would hold several copies of all wells.
    """
    unit, fixed = normalize(own), normalize(rest.to(own.dtype))
    similar = torch.cat([unit @ unit.T, unit @ fixed.T], dim=1) / temperature
    itself = torch.eye(*similar.shape, dtype=torch.bool)
    same = (codes[: len(own), None] == codes) & ~itself
    shares = similar - similar.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    losses = -(shares * same).sum(dim=1) / same.sum(dim=1).clamp(min=1)
    return losses.sum() / same.any(dim=1).sum().clamp(min=1)


def relevance(network, cells, gradient, block=BLOCK):
    """Relevance of the cells of one well.

    network: network.DeepSets. cells: (M, D) array. gradient: (dim,), derivative of the loss by the well's profile, from
    which the chain rule goes on to each feature of each cell; at most `block` cells are in the network at a time. Full
    precision throughout: what rounding takes from one cell, no other gives back.
    """
    parts = torch.as_tensor(cells).split(block)
    total, activation = 0, []
    with torch.no_grad():
        for part in parts:
            active = network.phi(part)
            total = total + active.sum(dim=0)
            activation.append(active.abs().sum(dim=1))
    total.requires_grad_(True)
    (by_sum,) = torch.autograd.grad(network.rho(total[None])[0], total, torch.as_tensor(gradient, dtype=total.dtype))
    sensitivity = [_by_features(network.phi, part, by_sum) for part in parts]
    return _combined(torch.cat(sensitivity).numpy(), torch.cat(activation).numpy())


def _by_features(phi, cells, by_sum):
    """Absolute derivatives by the features of cells, summed over features: equation 3 of the source."""
    cells = cells.detach().clone().requires_grad_(True)
    (gradients,) = torch.autograd.grad(phi(cells), cells, by_sum.expand(len(cells), -1))
    return gradients.abs().sum(dim=1)


def _combined(sensitivity, activation):
    sensitivity, activation = _from_0_to_1(sensitivity), _from_0_to_1(activation)
    return Relevance(sensitivity, activation, _from_0_to_1(sensitivity + activation))


def _from_0_to_1(values):
    low, high = values.min(), values.max()
    return ((values - low) / (high - low) if high > low else np.zeros_like(values)).astype(np.float32)


class Correlation:
    """Pearson correlation of each feature with each score, over cells in parts. n_features: D. n_scores: S."""

    def __init__(self, n_features, n_scores):
        self.n, self.shift = 0, None
        self.sums, self.squares = (np.zeros(n_features) for _ in range(2))
        self.products = np.zeros((n_features, n_scores))
        self.scores, self.score_squares = (np.zeros(n_scores) for _ in range(2))

    def add(self, values, scores):
        """Take in cells: values (n, D), scores (n, S)."""
        values, scores = np.asarray(values, float), np.asarray(scores, float)
        if not len(values):
            return
        if self.shift is None:  # else large means lose the digits of small variances
            self.shift = values.mean(axis=0), scores.mean(axis=0)
        values, scores = values - self.shift[0], scores - self.shift[1]
        self.n += len(values)
        self.sums += values.sum(axis=0)
        self.squares += (values**2).sum(axis=0)
        self.products += values.T @ scores
        self.scores += scores.sum(axis=0)
        self.score_squares += (scores**2).sum(axis=0)

    def result(self):
        """Correlations (D, S), NaN where a feature or a score does not vary."""
        n = max(1, self.n)
        covariance = self.products / n - np.outer(self.sums, self.scores) / n**2
        variances = np.outer(self.squares / n - (self.sums / n) ** 2, self.score_squares / n - (self.scores / n) ** 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(variances > 0, covariance / np.sqrt(variances), np.nan)
