"""Large margin nearest neighbours: cells of one class are pulled together, others pushed out by a margin.

Source: Weinberger and Saul 2009, Journal of Machine Learning Research 10:207-244. The target neighbours are those of
the input space, fixed. The linear map is optimised itself, as metric-learn does, not the matrix of the metric.
"""

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from phenoloom.metric_learning.objectives import limited_threads, minimised, squared_distances, value

#: The margin is one, in squared distance; the unit of the input follows by the optimised scale.
MARGIN = 1.0


def target_neighbours(values, codes, neighbours):
    """Positions (n, neighbours) of the nearest cells of the same class in the input space, the nearest first.

    Raises ValueError when a class has no more than `neighbours` cells.
    """
    targets = np.empty((len(values), neighbours), dtype=np.int64)
    for code in np.unique(codes):
        inside = np.flatnonzero(codes == code)
        if len(inside) <= neighbours:
            raise ValueError(f"a class of {len(inside)} cells has no {neighbours} neighbours each")
        found = NearestNeighbors(n_neighbors=neighbours).fit(values[inside]).kneighbors(return_distance=False)
        targets[inside] = inside[found]
    return targets


def large_margin_loss(values, codes, targets, push):
    """Loss for `objectives`: (1 - push) * sum of d(i, j) + push * sum of max(0, 1 + d(i, j) - d(i, l)).

    d: squared distances; j: the target neighbours of i; l: cells of other classes than i. values: (n, d); codes: (n,)
    class of each cell; targets: (n, k).
    """
    values = torch.as_tensor(np.asarray(values, dtype=np.float64))
    codes, targets = torch.as_tensor(codes), torch.as_tensor(targets)

    def loss(components, rows):
        embedded = values @ components.T
        near = ((embedded[rows, None, :] - embedded[targets[rows]]) ** 2).sum(dim=2)
        far = squared_distances(embedded[rows], embedded)
        far = far.masked_fill(codes[rows, None] == codes[None, :], torch.inf)
        pushed = sum((MARGIN + near[:, [order]] - far).clamp_min(0).sum() for order in range(near.shape[1]))
        return (1 - push) * near.sum() + push * pushed

    return loss


def fit_large_margin(values, codes, start, neighbours=3, push=0.5, max_iter=200, threads=1):
    """(components (n_out, d), facts) of the map that minimises the large-margin loss from `start`, by L-BFGS.

    values: (n, d) finite; codes: (n,) integer classes, each with more than `neighbours` cells.
    """
    loss = large_margin_loss(values, codes, target_neighbours(values, codes, neighbours), push)
    with limited_threads(threads):
        before = value(loss, np.asarray(start, dtype=np.float64), len(values))
        components, after, iterations = minimised(loss, start, len(values), max_iter)
    return components, {"loss_before": before, "loss": after, "iterations": iterations}
