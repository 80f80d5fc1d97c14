"""Images are joined to events by index, the join is verified, and a wrong one is refused with what is wrong."""

import numpy as np
import pandas as pd
import pytest

from phenoloom.core.errors import InputError
from phenoloom.cytometry.joining import correlate, match_pages, verify_join

N = 200
RANDOM = np.random.default_rng(2)
LIGHT = RANDOM.lognormal(0, 0.8, (N, 3))
SUMS = np.column_stack([LIGHT[:, 2], RANDOM.normal(0, 1, N), LIGHT[:, 0], LIGHT[:, 1]])
EVENTS = pd.DataFrame(
    {
        "Time": np.arange(N),
        "A-A": 1e5 * LIGHT[:, 0] + RANDOM.normal(0, 3e3, N),
        "B-A": 2e4 * LIGHT[:, 1] - 5e4 + RANDOM.normal(0, 1e3, N),
        "Spill-A": 0.5 * LIGHT[:, 1] + 0.5 * LIGHT[:, 0],
        "C-A": 1e3 * LIGHT[:, 2] + RANDOM.normal(0, 20, N),
        "A-H": LIGHT[:, 0],
    }
)


def test_pages_are_matched_without_being_told():
    found = {match.page: match for match in match_pages(SUMS, EVENTS)}
    assert {page: found[page].parameter for page in (0, 2, 3)} == {0: "C-A", 2: "A-A", 3: "B-A"}
    assert all(found[page].r > 0.99 for page in (0, 2, 3)) and abs(found[1].r) < 0.3


def test_r_is_pearsons_where_both_are_finite():
    sums, areas = SUMS.copy(), EVENTS[["A-A", "B-A"]].to_numpy(copy=True)
    sums[5:40, 0], areas[30:60, 1] = np.nan, np.inf
    r = correlate(sums, areas)
    for page in range(4):
        for area in range(2):
            both = np.isfinite(sums[:, page]) & np.isfinite(areas[:, area])
            assert r[page, area] == pytest.approx(np.corrcoef(sums[both, page], areas[both, area])[0, 1], abs=1e-12)


def test_r_of_many_rows_is_that_of_all_and_large_offsets_do_no_harm():
    values = np.random.default_rng(0).normal(size=(200_000, 1))
    assert correlate(values + 1e9, 2 * values - 1e9)[0, 0] == pytest.approx(1, abs=1e-6)


def test_constant_pages_and_areas_match_nothing():
    sums, events = SUMS.copy(), EVENTS.assign(**{"Flat-A": 7.0})
    sums[:, 0] = 0.1
    matches = match_pages(sums, events)
    assert 0 not in [match.page for match in matches] and "Flat-A" not in [match.parameter for match in matches]


def test_more_pages_than_areas_leave_pages_over():
    assert len(match_pages(SUMS, EVENTS[["A-A"]])) == 1


def test_a_right_join_is_verified_with_gaps_and_bad_images():
    sums = SUMS.copy()
    sums[10:40], sums[50, 2], sums[60] = np.nan, np.inf, 0
    join = verify_join(sums, EVENTS)
    assert join.verified and 60 not in join.misfits[1:]
    assert verify_join(SUMS, EVENTS).misfits == ()


@pytest.mark.parametrize("shift", [1, -1, 2, -7, 30])
def test_a_shifted_join_is_refused_with_the_shift(shift):
    sign = "-" if shift > 0 else "\\+"
    with pytest.raises(InputError, match=f"moved by {sign}{abs(shift)} event"):
        verify_join(np.roll(SUMS, shift, axis=0), EVENTS)


@pytest.mark.parametrize("at", [40, 100, 150, 178])
def test_a_join_that_slips_within_the_run_is_refused(at):
    sums = SUMS.copy()
    sums[at:] = SUMS[at - 1 : -1]
    with pytest.raises(InputError, match="only up to about event"):
        verify_join(sums, EVENTS)


def test_a_permuted_join_is_refused():
    with pytest.raises(InputError, match="another order"):
        verify_join(SUMS[RANDOM.permutation(N)], EVENTS)
    partly = np.arange(N)
    partly[RANDOM.choice(N, 40, replace=False)] = RANDOM.permutation(40)
    with pytest.raises(InputError, match="order"):
        verify_join(SUMS[partly], EVENTS)


def test_single_strangers_are_named():
    sums = SUMS.copy()
    low, high = np.argsort(LIGHT.sum(axis=1))[[20, -20]]
    sums[[low, high]] = sums[[high, low]]
    join = verify_join(sums, EVENTS)
    assert join.verified and set(join.misfits) <= {low, high} and join.misfits


@pytest.mark.parametrize(("sums", "said"), [(SUMS[:-9], "by their index"), (SUMS[4:], "\\+4 events")])
def test_a_partial_set_is_refused_with_where_it_fits(sums, said):
    with pytest.raises(InputError, match=f"images of {len(sums)} events for 200 events.*{said}"):
        verify_join(sums, EVENTS)


def test_the_images_of_another_run_are_refused():
    with pytest.raises(InputError, match="nor with a shift"):
        verify_join(np.random.default_rng(9).lognormal(size=SUMS.shape), EVENTS)
    with pytest.raises(InputError, match="no page follows"):
        verify_join(np.zeros_like(SUMS), EVENTS)


def test_a_single_giant_makes_no_join():
    sums, events = np.random.default_rng(5).normal(size=(N, 1)), EVENTS[["A-A"]].copy()
    sums[70], events.loc[70, "A-A"] = 1e6, 1e12
    with pytest.raises(InputError, match="no page follows"):
        verify_join(sums, events)


@pytest.mark.parametrize("number", [0, 1, 5])
def test_few_events_are_matched_but_not_verified(number):
    join = verify_join(SUMS[:number], EVENTS[:number])
    assert not join.verified and "too few" in join.reason


def test_events_without_areas_are_refused():
    with pytest.raises(InputError, match="no pulse areas"):
        verify_join(SUMS, EVENTS[["Time", "A-H"]])
    assert verify_join(SUMS, EVENTS[["A-H"]], suffix="-H").verified
