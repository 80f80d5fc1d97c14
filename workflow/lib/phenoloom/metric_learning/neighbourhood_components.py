"""Neighbourhood components analysis: exactly by scikit-learn for few cells, by stochastic ascent for many.

Source: Goldberger et al. 2004, Advances in Neural Information Processing Systems 17:513-520. The objective is the
expected number of cells that a stochastic nearest neighbour of the same class picks.
"""

import numpy as np
import torch

from phenoloom.metric_learning.objectives import leave_one_out_softmax, limited_threads, value

#: Up to as many cells the objective is climbed exactly, with all pairs in memory.
EXACT_CELLS = 2_000


def neighbourhood_loss(values, codes, dtype=torch.float64):
    """Loss for `objectives`: minus the expected number of cells whose random neighbour has their class."""
    values = torch.as_tensor(np.asarray(values), dtype=dtype)
    codes = torch.as_tensor(codes)

    def loss(components, rows):
        embedded = values @ components.to(dtype).T
        own = torch.arange(rows.start, rows.stop)
        picked = leave_one_out_softmax(embedded[rows], embedded, own)
        return -(picked * (codes[rows, None] == codes[None, :])).sum()

    return loss


def neighbourhood_score(values, codes, components):
    """Mean probability that a cell's random neighbour has its class, in 0..1: the objective over the cells."""
    return -value(neighbourhood_loss(values, codes), np.asarray(components, np.float64), len(values)) / len(values)


def fit_exact(values, codes, start, max_iter=50, threads=1):
    """Components (n_out, d) by scikit-learn's NeighborhoodComponentsAnalysis: L-BFGS on all pairs."""
    from sklearn.neighbors import NeighborhoodComponentsAnalysis

    start = np.asarray(start, dtype=np.float64)
    with limited_threads(threads):
        fitted = NeighborhoodComponentsAnalysis(len(start), init=start, max_iter=max_iter).fit(values, codes)
    return fitted.components_


def fit_stochastic(
    values, codes, start, steps=500, batch_size=512, references=8192, learning_rate=0.02, seed=0, threads=1
):
    """Components (n_out, d) by stochastic ascent with Adam: in each step a batch of cells asks for neighbours.

    references: of how many random cells the neighbours are, drawn anew in each step; with all cells the gradient is an
    unbiased draw of the exact one. The rate falls to zero along a cosine. Single precision.
    The same seed and number of threads give the same bytes. learning_rate: relative to the mean size of the entries of
    `start`, so that the unit of the features does not matter.
    """
    rng = np.random.default_rng(seed)
    values = torch.as_tensor(np.asarray(values, dtype=np.float32))
    codes = torch.as_tensor(np.asarray(codes))
    n = len(values)
    components = torch.tensor(np.asarray(start, dtype=np.float32), requires_grad=True)
    rate = learning_rate * float(components.detach().square().sum(dim=1).mean().sqrt())
    optimiser = torch.optim.Adam([components], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    waiting = np.empty(0, dtype=np.int64)
    with limited_threads(threads):
        for _ in range(steps):
            if len(waiting) < min(batch_size, n):
                waiting = np.append(waiting, rng.permutation(n))
            asking, waiting = waiting[:batch_size], waiting[batch_size:]
            others = np.setdiff1d(rng.permutation(n)[:references], asking)
            known = np.concatenate([asking, others])
            embedded = values[known] @ components.T
            picked = leave_one_out_softmax(embedded[: len(asking)], embedded, torch.arange(len(asking)))
            same = codes[asking][:, None] == codes[known][None, :]
            loss = -(picked * same).sum() / len(asking)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return components.detach().numpy().astype(np.float64)


def fit_neighbourhood_components(
    values,
    codes,
    start,
    solver="auto",
    max_iter=50,
    steps=500,
    batch_size=512,
    references=8192,
    learning_rate=0.02,
    seed=0,
    threads=1,
):
    """(components (n_out, d), facts) of the map under which random neighbours most often have a cell's class.

    values: (n, d) finite. codes: (n,) integer classes. start: (n_out, d). solver: `exact` (scikit-learn), `stochastic`
    or `auto`, which is exact up to EXACT_CELLS cells.
    """
    if solver == "auto":
        solver = "exact" if len(values) <= EXACT_CELLS else "stochastic"
    if solver == "exact":
        components = fit_exact(values, codes, start, max_iter, threads)
    else:
        components = fit_stochastic(values, codes, start, steps, batch_size, references, learning_rate, seed, threads)
    return components, {"solver": solver}
