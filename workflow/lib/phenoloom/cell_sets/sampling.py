"""Sets for training: cells drawn with replacement from one or two wells of a compound.

Source: CytoSummaryNet, van Dijk et al. 2024, its data augmentation.
"""

from dataclasses import dataclass

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.training.data import Shuffles


@dataclass(frozen=True)
class Sets:
    """Sets of one step: the wells that they draw from, and how often each set holds each cell.

    wells: (w,) rows of the table of wells. sets, wells_of, cells, times: (n,) set, position in `wells`, cell within its
    well and how often it was drawn. labels: (s,) class of each set.
    """

    wells: np.ndarray
    sets: np.ndarray
    wells_of: np.ndarray
    cells: np.ndarray
    times: np.ndarray
    labels: np.ndarray


class SetSampling:
    """Sets of a step, which follow from the seed and the step alone.

    lengths: (W,) cells of each well. labels: (W,) class of each well that is learned from, -1 for others. options:
    `classes` of a step, `sets` of each in it and `sets_per_epoch`, `cells` (mean and deviation of the number in a set),
    `two_wells`, the chance that a set comes from two wells.
    """

    def __init__(self, lengths, labels, options, seed):
        self.lengths, self.options, self.seed = np.asarray(lengths), options, seed
        labels = np.where(self.lengths > 0, labels, -1)
        self.names = np.unique(labels[labels >= 0])
        if len(self.names) < 2:
            raise InputError(
                "a learned aggregation needs at least two compounds with cells to learn from, and has "
                f"{len(self.names)}"
            )
        self.members = [np.flatnonzero(labels == name) for name in self.names]
        self.classes = min(options["classes"], len(self.names))
        self._order = Shuffles(len(self.names), seed, 0)

    @property
    def steps_per_epoch(self):
        """Steps in which each class gives about as many sets as an epoch is to have of it."""
        rounds = self.options["sets_per_epoch"] / self.options["sets"]
        return max(1, round(len(self.names) / self.classes * rounds))

    def __call__(self, step):
        """Sets of a step."""
        rng = np.random.default_rng([self.seed, 1, step])
        chosen = self._order.at(step * self.classes + np.arange(self.classes))
        sources, sizes = [], []
        for code in np.repeat(chosen, self.options["sets"]):
            members = self.members[code]
            two = len(members) > 1 and rng.random() < self.options["two_wells"]
            sources.append(rng.choice(members, size=2 if two else 1, replace=False))
            mean, deviation = self.options["cells"]
            sizes.append(max(1, round(rng.normal(mean, deviation))))
        wells = np.unique(np.concatenate(sources))
        parts = []
        for number, (source, size) in enumerate(zip(sources, sizes, strict=True)):
            ends = np.cumsum(self.lengths[source])
            drawn, times = np.unique(rng.integers(ends[-1], size=size), return_counts=True)
            which = np.searchsorted(ends, drawn, side="right")
            cells = drawn - (ends - self.lengths[source])[which]
            parts.append((np.full(len(drawn), number), np.searchsorted(wells, source[which]), cells, times))
        sets, wells_of, cells, times = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Sets(wells, sets, wells_of, cells, times, self.names[np.repeat(chosen, self.options["sets"])])
