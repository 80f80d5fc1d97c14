"""What the FCS file says of images: which page a channel is, whether the join is right, and what is wrong."""

from array import array

import flowio
import numpy as np
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.cytometry.images import Event
from phenoloom.cytometry.instrument import Instrument

N = 60
RANDOM = np.random.default_rng(3)
LIGHT = RANDOM.lognormal(0, 0.7, (N, 3))
#: Pages: light C, noise, light A, light B.
SUMS = np.column_stack([LIGHT[:, 2], RANDOM.normal(50, 1, N), LIGHT[:, 0], LIGHT[:, 1]])
NAMES = ["Time", "A-A", "B-A", "C-A", "Dark-A", "FSC [x]*-H"]
OPTIONS = {"policy": "lenient", "data_set": None, "bit_patterns": "none", "compensate": False, "parameters": None}
JOIN = {"check": True, "at_least": 0.9}


@pytest.fixture
def fcs(tmp_path):
    """Return a function that writes an FCS file and gives its path."""

    def write(names=NAMES, **keywords):
        values = [np.arange(N), *(1e4 * LIGHT.T), np.random.default_rng(8).normal(size=N), np.ones(N)]
        flat = array("f", np.column_stack(values).astype(np.float32).ravel().tolist())
        with open(tmp_path / "a.fcs", "wb") as file:
            flowio.create_fcs(file, flat, names, metadata_dict=keywords)
        return tmp_path / "a.fcs"

    return write


def opened(path, ledger=None, areas="-A", **options):
    return Instrument(path, OPTIONS | options, ledger or Ledger("events"), areas)


def pages(instrument, sources, sums=SUMS, numbers=None, join=JOIN):
    channels = {f"c{number}": {"source": source} for number, source in enumerate(sources)}
    return instrument.pages(channels, list(range(len(sums))) if numbers is None else numbers, sums, join)


@pytest.mark.parametrize(
    ("sources", "found"),
    [(["A-A", "B", "C-A"], [2, 3, 0]), (["3", "A"], [3, 2]), (["1", "0"], [1, 0])],
)
def test_a_channel_is_the_page_that_follows_its_parameter_or_the_one_that_is_named(fcs, sources, found):
    assert pages(opened(fcs()), sources) == found


def test_events_without_images_do_no_harm(fcs):
    some = np.arange(5, N, 2)
    assert pages(opened(fcs()), ["A", "C"], SUMS[some], some.tolist()) == [2, 0]


def test_pulse_areas_may_end_otherwise(fcs):
    path = fcs([name.replace("-A", " Area") for name in NAMES])
    assert pages(opened(path, areas=" Area"), ["A Area", "B"]) == [2, 3]
    with pytest.raises(InputError, match="no pulse areas"):
        pages(opened(path), ["A Area"])


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["B-a"], "channel c0: .*a.fcs has no parameter 'B-a'; did you mean 'B-A'"),
        (["#"], "no parameter '#'; it has Time, A-A"),
        (["A", "Dark"], "channel c1: no page of the images follows Dark-A"),
        (["Time"], "no page of the images follows Time"),
        (["4"], "page 4, but the images have 4 pages"),
    ],
)
def test_a_source_that_cannot_be_met_is_one_sentence(fcs, sources, said):
    with pytest.raises(InputError, match=said):
        pages(opened(fcs()), sources)


def test_a_wrong_join_is_said_where_it_hides_the_pages(fcs):
    with pytest.raises(InputError, match="a.fcs.*moved by -1 event"):
        pages(opened(fcs()), ["A"], np.roll(SUMS, 1, axis=0))
    with pytest.raises(InputError, match="no page of the images follows A-A"):
        pages(opened(fcs()), ["A"], np.roll(SUMS, 1, axis=0), join=JOIN | {"check": False})


def verify(instrument, source, page, sums=SUMS, join=JOIN):
    ledger = Ledger("events")
    numbers = np.arange(len(sums))
    return instrument.verify({"c": {"source": source}}, [page], numbers, sums, join, ledger), ledger.rows


def test_a_right_join_is_verified_and_an_unchecked_one_is_said(fcs):
    join, rows = verify(opened(fcs()), "A", 2)
    assert join.verified and rows == []
    join, rows = verify(opened(fcs()), "A", 2, join=JOIN | {"check": False})
    assert join is None and "was not checked" in rows[0]["reason"]


def test_a_shifted_join_and_a_page_that_changes_are_refused(fcs):
    with pytest.raises(InputError, match="the images do not belong to the events of .*a.fcs.*moved by"):
        verify(opened(fcs()), "A", 2, np.roll(SUMS, -1, axis=0))
    with pytest.raises(InputError, match="page 3 follows A-A in the first events of .*, page 2 in all"):
        verify(opened(fcs()), "A", 3)
    assert verify(opened(fcs()), "3", 3)[0].verified


def test_images_of_other_events_are_named(fcs):
    sums = SUMS.copy()
    low, high = np.argsort(LIGHT.sum(axis=1))[[5, -5]]
    sums[[low, high]] = sums[[high, low]]
    _, rows = verify(opened(fcs()), "A", 2, sums)
    assert rows[0]["severity"] == "flagged" and rows[0]["count"] <= 2
    assert rows[0]["reason"].startswith("images that do not fit their event's pulses: ")


def test_images_of_no_event_and_events_without_images_are_counted(fcs):
    ledger = Ledger("events")
    instrument = opened(fcs())
    found = [Event(number, np.zeros((1, 2, 2))) for number in (-1, 0, N - 1, N)]
    assert [event.number for event in instrument.known(found, ledger)] == [0, N - 1]
    instrument.missing([0, N - 1], ledger)
    assert [(row["severity"], row["count"]) for row in ledger.rows] == [("lost", 1)] * 2 + [("flagged", N - 2)]


def test_parameters_are_kept_by_pattern_or_by_their_very_name(fcs):
    path = fcs()
    assert opened(path, parameters=["?-A", "FSC [x]*-H"]).kept == ["A-A", "B-A", "C-A", "FSC [x]*-H"]
    assert opened(path).kept == NAMES
    with pytest.raises(InputError, match="no parameter of .*a.fcs matches 'Tine'; did you mean 'Time'"):
        opened(path, parameters=["Time", "Tine"])


def test_spillover_is_removed_as_the_inverse_says(fcs, tmp_path):
    matrix = np.array([[1, 0.2], [0.1, 1]])
    with pytest.raises(InputError, match="holds no spillover matrix; name a CSV"):
        opened(fcs(), compensate=True)
    path = fcs(spillover="2,A-A,B-A,1,0.2,0.1,1")
    (tmp_path / "spill.csv").write_text("A-A,B-A\n1,0.2\n0.1,1\n")
    expected = 1e4 * LIGHT[:, :2] @ np.linalg.inv(matrix)
    for choice in (True, str(tmp_path / "spill.csv")):
        (_, frame), *_ = opened(path, compensate=choice).frames(["A-A", "B-A", "C-A"])
        np.testing.assert_allclose(frame[["A-A", "B-A"]], expected, rtol=1e-4)
        np.testing.assert_allclose(frame["C-A"], 1e4 * LIGHT[:, 2], rtol=1e-6)


def test_a_damaged_file_is_one_sentence_and_deviations_are_listed(fcs, tmp_path):
    path = fcs()
    whole = path.read_bytes()
    ledger = Ledger("events")
    path.write_bytes(whole + b"more than a checksum")
    assert opened(path, ledger).fcs.n_events == N
    assert ledger.rows[0]["severity"] == "flagged" and "belong to nothing" in ledger.rows[0]["reason"]
    with pytest.raises(InputError, match="read it with the policy lenient"):
        opened(path, policy="strict")
    for damaged in (b"", b"garbage", whole[:200], whole[:58]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="a.fcs"):
            opened(path)
