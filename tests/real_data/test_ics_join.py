"""HeLa cells on an image-enabled sorter: 100 stacks belong to the 100 events of its FCS file, event k to image k."""

import numpy as np
import pytest
import tifffile

from phenoloom.core.errors import InputError
from phenoloom.cytometry.bit_patterns import find_bit_patterns
from phenoloom.cytometry.events import event_frame, patterns_of
from phenoloom.cytometry.fcs import read_fcs
from phenoloom.cytometry.joining import verify_join


@pytest.fixture(scope="module")
def fcs_and_events(shared_data):
    return read_fcs(shared_data("ics_hela_h2b") / "HeLa_H2B_100.fcs", "strict")


@pytest.fixture(scope="module")
def events(fcs_and_events):
    return event_frame(*fcs_and_events, patterns_of(fcs_and_events[0]))


@pytest.fixture(scope="module")
def sums(shared_data):
    stacks = sorted((shared_data("ics_hela_h2b") / "images").glob("*.tiff"))
    assert len(stacks) == 100
    return np.array([tifffile.imread(path).sum(axis=(1, 2)) for path in stacks])


def test_pages_and_detectors_find_each_other(sums, events):
    join = verify_join(sums, events)
    found = {match.page: match for match in join.matches}
    assert found[4].parameter == "H2B-mNeonGreen*-A" and found[4].r >= 0.998
    assert found[2].parameter == "SSC-A" and found[2].r >= 0.998
    assert join.verified and join.misfits == ()


@pytest.mark.parametrize("shift", [1, -1, 5])
def test_a_shifted_join_is_refused(sums, events, shift):
    sign = "-" if shift > 0 else "\\+"
    with pytest.raises(InputError, match=f"moved by {sign}{abs(shift)} event"):
        verify_join(np.roll(sums, shift, axis=0), events)


def test_a_permuted_and_a_partial_join_are_refused(sums, events):
    with pytest.raises(InputError, match="another order"):
        verify_join(sums[np.random.default_rng(0).permutation(100)], events)
    with pytest.raises(InputError, match="images of 99 events for 100 events.*moved by \\+1 event"):
        verify_join(sums[1:], events)


def test_event_numbers_are_consecutive_and_measurements_untouched(fcs_and_events, events):
    assert events["EventNumber0"].tolist() == list(range(695_624, 695_724))
    assert (np.diff(events["Time0"].astype(np.int64)) > 0).all()
    assert events["Time1"].unique().tolist() == [794]
    fcs, raw = fcs_and_events
    np.testing.assert_array_equal(events["SSC-A"], raw[:, fcs.names.index("SSC-A")])


def test_values_alone_tell_the_patterns_that_the_instrument_declares(fcs_and_events):
    fcs, raw = fcs_and_events
    assert find_bit_patterns(raw, fcs.names, fcs.ranges).keys() == patterns_of(fcs).keys()
