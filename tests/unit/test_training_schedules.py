"""Learning rate, weight decay, momentum and temperature follow their formulas."""

import numpy as np
import pytest

from phenoloom.training.schedules import Schedule, constant


def expected(base, final, epochs, per_epoch, warmup_epochs, start):
    """DINO's schedule, written out with arrays: a line, then a half cosine that ends one step before its end."""
    line = np.linspace(start, base, warmup_epochs * per_epoch)
    left = epochs * per_epoch - len(line)
    return np.concatenate([line, final + (base - final) * (1 + np.cos(np.pi * np.arange(left) / left)) / 2])


@pytest.mark.parametrize(("warmup", "start"), [(0, 0.0), (3, 0.0), (5, 1e-5)])
def test_a_cosine_follows_its_formula_at_every_step(warmup, start):
    schedule = Schedule(5e-4, 1e-6, steps=20 * 7, warmup=warmup * 7, start=start)
    values = [schedule(step) for step in range(140)]
    np.testing.assert_allclose(values, expected(5e-4, 1e-6, 20, 7, warmup, start), rtol=1e-12)


def test_the_temperature_rises_and_stays():
    schedule = constant(0.07, warmup=5, start=0.04)
    np.testing.assert_allclose([schedule(step) for step in range(8)], [*np.linspace(0.04, 0.07, 5), 0.07, 0.07, 0.07])


def test_a_training_shorter_than_its_warm_up_never_divides_by_nothing():
    assert np.isfinite([Schedule(1.0, 0.0, steps=4, warmup=4)(step) for step in range(4)]).all()
    assert Schedule(1.0, 0.0, steps=1, warmup=1)(0) == 0.0
