"""The sets of a step with their cells: what the training loop asks for."""

import numpy as np
import torch
from torch.utils.data import Dataset


class SetBatches(Dataset):
    """The sets of a step; see training.data.Batches, whose place it takes in training.fit.

    cells: store.Cells. sampling: sampling.SetSampling. batches[step] is a dict: `step`, `cells` (N, D) float32, each
    drawn cell once, `sets`, `places`, `times` (n,), which set holds which of these cells how often, and `labels` (S,).
    """

    def __init__(self, cells, sampling):
        self.cells, self.sampling = cells, sampling
        self.batch = sampling.classes * sampling.options["sets"]

    def rows(self, step):
        """Rows of the wells that a step draws from, as a list."""
        return self.sampling(int(step)).wells.tolist()

    def __getitem__(self, step):
        drawn = self.sampling(int(step))
        ends = np.cumsum(self.cells.lengths[drawn.wells])
        pooled = drawn.cells + (ends - self.cells.lengths[drawn.wells])[drawn.wells_of]
        used, places = np.unique(pooled, return_inverse=True)
        values = np.empty((len(used), self.cells.features), np.float32)
        borders = np.searchsorted(used, [0, *ends])
        for number, well in enumerate(drawn.wells):
            own = slice(borders[number], borders[number + 1])
            begin = ends[number] - self.cells.lengths[well]
            values[own] = self.cells.read(well)[used[own] - begin]
        return {
            "step": int(step),
            "cells": torch.from_numpy(values),
            "sets": torch.from_numpy(drawn.sets),
            "places": torch.from_numpy(places),
            "times": torch.from_numpy(drawn.times),
            "labels": torch.from_numpy(drawn.labels),
        }
