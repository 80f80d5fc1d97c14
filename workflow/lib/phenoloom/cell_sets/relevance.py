"""Which cells a learned profile rests on: sensitivity, critical points, and both combined.

Source: CytoSummaryNet, van Dijk et al. 2024, interpretability analysis and its equation 3; critical points as in
PointNet, Qi et al. 2017, arXiv:1612.00593.
"""

from dataclasses import dataclass

import numpy as np
import torch

#: Combined relevance above which a cell counts among the most relevant ones of its well, and below which the least.
MOST, LEAST = 0.8, 0.2


@dataclass(frozen=True)
class Relevance:
    """Relevance (M,) of the cells of one well, float32: each from 0 to 1, a well whose cells are alike has 0.

    sensitivity: how much the loss changes with the cell's features. activation: length of what the cell adds to the
    sum. combined: both added, again from 0 to 1.
    """

    sensitivity: np.ndarray
    activation: np.ndarray
    combined: np.ndarray


def relevance(network, wells, labels, criterion):
    """Relevance of each well's cells. wells: list of (M, D) arrays or tensors, two or more. labels: (W,) of the wells.

    criterion: (profiles, labels) -> loss, whose derivative by each cell's features is the sensitivity; wells of one
    label and of others have to be among them, for the loss compares.
    """
    network = network.eval()
    cells = torch.cat([torch.as_tensor(well) for well in wells]).requires_grad_(True)
    lengths = torch.tensor([len(well) for well in wells])
    loss = criterion(network.of_wells(cells, lengths, block=len(cells)), torch.as_tensor(labels))
    (gradient,) = torch.autograd.grad(loss, cells)
    with torch.no_grad():
        activation = network.phi(cells).abs().sum(dim=1)
    parts = (gradient.abs().sum(dim=1).split(lengths.tolist()), activation.split(lengths.tolist()))
    return [_combined(one.numpy(), other.numpy()) for one, other in zip(*parts, strict=True)]


def _combined(sensitivity, activation):
    sensitivity, activation = _from_0_to_1(sensitivity), _from_0_to_1(activation)
    return Relevance(sensitivity, activation, _from_0_to_1(sensitivity + activation))


def _from_0_to_1(values):
    low, high = (values.min(), values.max()) if len(values) else (0, 0)
    return ((values - low) / (high - low) if high > low else np.zeros_like(values)).astype(np.float32)


class Correlation:
    """Pearson correlation of each feature with a score, over cells that come in parts. n_features: D."""

    def __init__(self, n_features):
        self.n, self.shift = 0, None
        self.sums, self.squares, self.products = (np.zeros(n_features) for _ in range(3))
        self.score, self.score_square = 0.0, 0.0

    def add(self, values, score):
        """Take in cells: values (n, D), score (n,)."""
        values, score = np.asarray(values, float), np.asarray(score, float)
        if not len(values):
            return
        if self.shift is None:  # else large means lose the digits of small variances
            self.shift = values.mean(axis=0), score.mean()
        values, score = values - self.shift[0], score - self.shift[1]
        self.n += len(values)
        self.sums += values.sum(axis=0)
        self.squares += (values**2).sum(axis=0)
        self.products += values.T @ score
        self.score += score.sum()
        self.score_square += (score**2).sum()

    def result(self):
        """Correlations (D,), NaN where a feature or the score does not vary."""
        n = max(1, self.n)
        covariance = self.products / n - self.sums / n * self.score / n
        variances = self.squares / n - (self.sums / n) ** 2, self.score_square / n - (self.score / n) ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            found = covariance / np.sqrt(variances[0] * variances[1])
        return np.where((variances[0] > 0) & (variances[1] > 0), found, np.nan)
