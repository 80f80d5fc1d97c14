"""Losses of linear metrics over pairs of cells, summed block by block, and their minimisation.

A loss is a function `loss(components, rows)`: components (n, d) tensor, rows a slice of the cells that ask. It returns
a scalar tensor, the share of these cells in the sum over all. No pair matrix over all cells is ever held.
"""

import contextlib

import numpy as np
import torch
from scipy.optimize import minimize

#: Pairs of cells whose distances are held at a time.
BLOCK_PAIRS = 2_000_000


@contextlib.contextmanager
def limited_threads(threads):
    """Run torch and BLAS with `threads` threads, and with as many as before afterwards."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(threads)))
    try:
        with threadpool_limits(max(1, int(threads))):
            yield
    finally:
        torch.set_num_threads(before)


def squared_distances(first, second):
    """Squared Euclidean distances (a, b) between the rows of two tensors, never negative."""
    lengths = (first**2).sum(dim=1)[:, None] + (second**2).sum(dim=1)[None, :]
    return (lengths - 2 * first @ second.T).clamp_min(0)


def leave_one_out_softmax(queries, references, own):
    """Probabilities (a, b) that each query picks each reference, softmax of minus the squared distance.

    own: (a,) position of each query among the references; it never picks itself.
    """
    logits = -squared_distances(queries, references)
    return torch.softmax(logits.scatter(1, own[:, None], -torch.inf), dim=1)


def blocks(n, width=None):
    """Slices of n rows such that rows x width (default n) stays below BLOCK_PAIRS."""
    step = max(1, BLOCK_PAIRS // max(1, width or n))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def value(loss, components, n):
    """The loss at components (n_out, d) over all n cells, a float."""
    with torch.no_grad():
        tensor = torch.as_tensor(components)
        return float(sum(loss(tensor, rows).double() for rows in blocks(n)))


def value_and_gradient(loss, components, n):
    """(loss, gradient of the shape of components) over all n cells, float64."""
    tensor = torch.tensor(components, requires_grad=True)
    total = 0.0
    for rows in blocks(n):
        part = loss(tensor, rows)
        part.backward()
        total += float(part.detach())
    return total, tensor.grad.numpy()


def minimised(loss, start, n, max_iter, tolerance=1e-6):
    """(components, loss, iterations) after L-BFGS from `start` (n_out, d), float64; at most max_iter iterations.

    Stops when an iteration improves the loss by less than `tolerance` of its value.
    """
    start = np.asarray(start, dtype=np.float64)

    def flat(parameters):
        total, gradient = value_and_gradient(loss, parameters.reshape(start.shape), n)
        return total, gradient.ravel()

    options = {"maxiter": max_iter, "ftol": tolerance}
    found = minimize(flat, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape), float(found.fun), int(found.nit)
