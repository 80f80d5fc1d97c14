"""Values that change over training: a linear warm-up, then a cosine or a constant."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Value by step: from `start` to `base` on a line in `warmup` steps, then to `final` along half a cosine.

    The last of the `steps` is one before the cosine's end, as in the original.
    Source: Caron et al. 2021, doi:10.1109/ICCV48922.2021.00951.
    """

    base: float
    final: float
    steps: int
    warmup: int = 0
    start: float = 0.0

    def __call__(self, step):
        if step < self.warmup:
            return self.start + (self.base - self.start) * step / max(1, self.warmup - 1)
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final + (self.base - self.final) * (1 + math.cos(math.pi * min(1.0, share))) / 2


def constant(value, warmup=0, start=None):
    """Schedule that stays at `value` after its warm-up from `start`."""
    return Schedule(value, value, 1, warmup, value if start is None else start)
