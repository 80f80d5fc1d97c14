"""Neighbourhood components analysis: exactly by scikit-learn for few cells, by stochastic ascent for many.

Source: Goldberger et al. 2004, Advances in Neural Information Processing Systems 17:513-520. The objective is the
expected number of cells that a stochastic nearest neighbour of the same class picks.
"""

import numpy as np
import torch

from phenoloom.metric_learning.objectives import leave_one_out_softmax, limited_threads, value

#: Up to as many cells the objective is climbed exactly, with all pairs in memory.
EXACT_CELLS = 2_000

#: Share of the earlier gradients in the direction of a stochastic step.
MOMENTUM = 0.9


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
    values, codes, start, steps=300, batch_size=512, references=8192, learning_rate=0.05, seed=0, threads=1
):
    """Components (n_out, d) by stochastic ascent: in each step a batch of cells asks for neighbours.

    references: of how many random cells the neighbours are, drawn anew in each step; with all cells the gradient is an
    unbiased draw of the exact one. A step goes along the mean gradient of the last steps and has the length
    learning_rate, relative to that of `start`, falling to zero along a cosine. Steps scaled entry by entry, as
    Adam's, let noise features grow as fast as those that matter. Single precision.
    The same seed and number of threads give the same bytes.
    """
    rng = np.random.default_rng(seed)
    values = torch.as_tensor(np.asarray(values, dtype=np.float32))
    codes = torch.as_tensor(np.asarray(codes))
    components = torch.tensor(np.asarray(start, dtype=np.float32), requires_grad=True)
    direction = torch.zeros_like(components)
    length = learning_rate * float(components.detach().norm())
    with limited_threads(threads):
        for step in range(steps):
            batch, others = _drawn(len(values), batch_size, references, rng)
            known = np.concatenate([batch, others])
            embedded = values[known] @ components.T
            picked = leave_one_out_softmax(embedded[: len(batch)], embedded, torch.arange(len(batch)))
            same = codes[batch][:, None] == codes[known][None, :]
            (gradient,) = torch.autograd.grad(-(picked * same).sum() / len(batch), components)
            direction = MOMENTUM * direction + (1 - MOMENTUM) * gradient
            falling = 0.5 * (1 + np.cos(np.pi * step / steps))
            with torch.no_grad():
                components -= length * falling * direction / direction.norm().clamp_min(1e-30)
    return components.detach().numpy().astype(np.float64)


def _drawn(n, batch_size, references, rng):
    """(batch, others): positions of the cells that ask, and of further ones that may be their neighbours."""
    order = rng.permutation(n)
    return order[:batch_size], order[batch_size : max(batch_size, references)]


def fit_neighbourhood_components(
    values,
    codes,
    start,
    solver="auto",
    max_iter=50,
    steps=300,
    batch_size=512,
    references=8192,
    learning_rate=0.05,
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
