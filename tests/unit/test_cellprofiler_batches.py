"""Sites are grouped into jobs: all of them, once, whole wells together, the same way every time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phenoloom.cellprofiler.batches import assign, batch_size

sites = st.lists(st.tuples(st.sampled_from(["A01", "A02", "B01", "B12", "P24"]), st.integers(1, 9)), max_size=60)


@given(sites, st.integers(1, 12), st.randoms())
def test_every_site_is_in_one_batch_in_any_order_of_input(pairs, size, random):
    batches = assign(pairs, size)
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert assign(shuffled, size) == batches
    assert [pair for batch in batches for pair in batch] == sorted(set(pairs))
    assert all(1 <= len(batch) <= size for batch in batches)


@given(sites, st.integers(9, 20))
def test_wells_that_fit_are_never_split(pairs, size):
    homes = {}
    for number, batch in enumerate(assign(pairs, size)):
        for well, _ in batch:
            homes.setdefault(well, set()).add(number)
    assert all(len(numbers) == 1 for numbers in homes.values())


def test_a_well_larger_than_a_batch_is_cut():
    batches = assign([("A01", site) for site in range(1, 6)] + [("A02", 1)], 2)
    assert [len(batch) for batch in batches] == [2, 2, 1, 1]


def test_a_384_well_plate_of_9_sites_is_at_most_100_jobs():
    pairs = [(f"{row}{column:02d}", site) for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25) for site in range(9)]
    assert len(assign(pairs, batch_size(minutes_per_job=80, seconds_per_site=120))) <= 100


@pytest.mark.parametrize("minutes, seconds", [(0, 1), (1, 0), (-1, 5)])
def test_senseless_rates_are_refused(minutes, seconds):
    with pytest.raises(ValueError):
        batch_size(minutes, seconds)


def test_a_slow_site_is_a_batch_of_its_own():
    assert batch_size(1, 600) == 1
