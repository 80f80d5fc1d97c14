"""WS-DINO: DINO whose large and small crops come from different images that share a weak label.

Source: Cross-Zamirski et al. 2022, arXiv:2209.07819.
"""

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.models import dino
from phenoloom.training.data import Draw, Shuffles

learner = dino.learner

#: Column of the split with the weak label, '' for none.
LABEL = "Metadata_WeakLabel"


def sampling(split, rows, block, seed):
    """(draw, notes): see dino.sampling. split: the model's split table; rows: those that are trained on.

    Raises InputError when fewer than two labels have images.
    """
    labels = split[LABEL].to_numpy(dtype=object)[rows].astype(str)
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    if len(names) < 2:
        raise InputError(
            f"ws_dino needs at least two weak labels among the training items but found {len(names)} in "
            f"{block['label']}; choose another label, or kind dino"
        )
    single = [str(name) for name in names[counts == 1]]
    notes = []
    if single:
        reason = f"weak labels with a single image, trained on as in DINO: {', '.join(single)}"
        notes.append((reason, "label", len(single)))
    if (labels == "").any():
        notes.append(("items without a weak label are trained on as in DINO", "image", int((labels == "").sum())))
    return EvenPairs(rows, labels, seed), notes


class EvenPairs:
    """Draws labels evenly, of a label its items evenly, and to each item another one with the same label.

    Items without a label count together as one more label. These, and a label's only item, are their own partners.
    """

    def __init__(self, rows, labels, seed):
        names, codes = np.unique(labels, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        self._members = np.split(np.asarray(rows)[order], np.searchsorted(codes[order], np.arange(1, len(names))))
        self._alone = (names == "") | np.array([len(members) == 1 for members in self._members])
        self._labels = Shuffles(len(names), seed, 0)
        self._within = [Shuffles(len(members), seed, 1, code) for code, members in enumerate(self._members)]
        self._seed = seed

    def __call__(self, step, n, steps_per_epoch):
        positions = step * n + np.arange(n)
        codes = self._labels.at(positions)
        # Each label is drawn once in every round of all labels, so that the round is the number of its draw.
        rounds = positions // len(self._members)
        picked = np.array(
            [self._within[code].at([turn])[0] for code, turn in zip(codes, rounds, strict=True)], dtype=np.int64
        )
        sizes = np.array([len(self._members[code]) for code in codes])
        away = np.random.default_rng([self._seed, 2, step]).integers(1, np.maximum(sizes, 2))
        others = np.where(self._alone[codes], picked, (picked + away) % sizes)

        def rows(numbers):
            return np.array([self._members[code][one] for code, one in zip(codes, numbers, strict=True)])

        return Draw(rows(picked), rows(others))
