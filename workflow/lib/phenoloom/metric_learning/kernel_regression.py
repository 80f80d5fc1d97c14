"""Metric learning for kernel regression: the map under which a Gaussian kernel predicts the classes best.

Source: Weinberger and Tesauro 2007, Proceedings of Machine Learning Research 2:612-619. The method is one for numbers;
classes have no order, so each is a target of its own (1 for its cells, 0 for others) and the squared errors are summed
over the classes. One target is the published method.
"""

import numpy as np
import torch

from phenoloom.metric_learning.objectives import leave_one_out_softmax, limited_threads, minimised, value


def one_hot(codes):
    """Targets (n, classes) of integer class codes 0, 1, ...: 1 where a cell is of the class."""
    return np.eye(int(np.max(codes)) + 1)[np.asarray(codes)]


def regression_loss(values, targets):
    """Loss for `objectives`: summed squared error of leave-one-out kernel regression. targets: (n, t) floats."""
    values = torch.as_tensor(np.asarray(values, dtype=np.float64))
    targets = torch.as_tensor(np.asarray(targets, dtype=np.float64))

    def loss(components, rows):
        embedded = values @ components.T
        own = torch.arange(rows.start, rows.stop)
        predicted = leave_one_out_softmax(embedded[rows], embedded, own) @ targets
        return ((predicted - targets[rows]) ** 2).sum()

    return loss


def fit_kernel_regression(values, targets, start, max_iter=100, threads=1):
    """(components (n_out, d), facts) of the map that minimises the regression loss from `start`, by L-BFGS.

    values: (n, d) finite. targets: (n, t), see `one_hot`.
    """
    loss = regression_loss(values, targets)
    with limited_threads(threads):
        before = value(loss, np.asarray(start, dtype=np.float64), len(values))
        components, after, iterations = minimised(loss, start, len(values), max_iter)
    return components, {"loss_before": before, "loss": after, "iterations": iterations}
