"""Spillover is read from keywords or a CSV, and its removal gives back what was there before."""

from array import array

import flowio
import numpy as np
import pytest

from phenoloom.core.errors import InputError
from phenoloom.cytometry.compensation import Spillover, compensate, read_spillover, read_spillover_csv
from phenoloom.cytometry.events import event_frame
from phenoloom.cytometry.fcs import read_fcs

MATRIX = np.array([[1, 0.1, 0], [0.02, 1, 0.3], [0, 0, 1]])
TRUE = np.random.default_rng(1).lognormal(5, 1, (50, 3))
TEXT = "3,A-A,B-A,C-A," + ",".join(f"{value:g}" for value in MATRIX.ravel())


def write(path, **keywords):
    with open(path, "wb") as file:
        events = np.column_stack([np.arange(50), TRUE @ MATRIX])
        flowio.create_fcs(file, array("f", events.ravel()), ["Time", "A-A", "B-A", "C-A"], metadata_dict=keywords)
    return path


@pytest.mark.parametrize("keyword", ["spillover", "spill"])
def test_spillover_of_a_file_is_removed(tmp_path, keyword):
    fcs, events = read_fcs(write(tmp_path / "a.fcs", **{keyword: TEXT}))
    spillover = read_spillover(fcs)
    assert spillover.names == ("A-A", "B-A", "C-A")
    frame = event_frame(fcs, events, spillover=spillover)
    np.testing.assert_allclose(frame[["A-A", "B-A", "C-A"]], TRUE, rtol=1e-4)
    np.testing.assert_array_equal(frame["Time"], np.arange(50))


def test_comp_is_of_the_first_parameters(tmp_path):
    fcs, _ = read_fcs(write(tmp_path / "a.fcs", comp="2,1,0.1,0,1"))
    assert read_spillover(fcs).names == ("Time", "A-A")
    assert read_spillover(read_fcs(write(tmp_path / "b.fcs"))[0]) is None


def test_a_dye_that_two_detectors_see_is_taken_from_the_second():
    spillover = Spillover(("A", "B"), np.array([[1, 0.25], [0, 1]]))
    np.testing.assert_allclose(compensate([[100.0, 25.0], [0.0, 8.0]], ["A", "B"], spillover), [[100, 0], [0, 8]])


@pytest.mark.parametrize("first", ["", "dye,"])
def test_a_csv_with_and_without_names_of_rows(tmp_path, first):
    rows = [f"{name + ',' if first else ''}{row}" for name, row in zip("AB", ("1,0.2", "0,1"), strict=True)]
    (tmp_path / "s.csv").write_text("\n".join([first + "A,B", *rows]))
    spillover = read_spillover_csv(tmp_path / "s.csv")
    assert spillover.names == ("A", "B") and spillover.matrix.tolist() == [[1, 0.2], [0, 1]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("6,A,B,C,D,E,F", "0 values where 6 parameters ask for 36"),
        ("2,A-A,B-A,1,0,0", "3 values"),
        ("x,1", "does not begin with the number"),
        ("2,A-A,A-A,1,0,0,1", "twice"),
        ("2,A-A,B-A,1,x,0,1", "no number"),
        ("2,A-A,B-A,1,nan,0,1", "not finite"),
    ],
)
def test_a_malformed_matrix_is_refused_in_one_sentence(tmp_path, text, sentence):
    path = write(tmp_path / "a.fcs", spillover=text)
    with pytest.raises(InputError, match=sentence) as error:
        read_spillover(read_fcs(path)[0])
    assert str(path) in str(error.value)


def test_wrong_names_a_singular_matrix_and_odd_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match="'B', which is no parameter of a.fcs"):
        compensate(np.ones((2, 1)), ["A"], Spillover(("B",), np.eye(1)), "a.fcs")
    with pytest.raises(InputError, match="singular"):
        compensate(np.ones((2, 2)), ["A", "B"], Spillover(("A", "B"), np.ones((2, 2))))
    (tmp_path / "s.csv").write_text("dye,A,B\nA,1,0\nC,0,1\n")
    with pytest.raises(InputError, match="rows and columns"):
        read_spillover_csv(tmp_path / "s.csv")
    with pytest.raises(InputError, match="does not exist"):
        read_spillover_csv(tmp_path / "none.csv")
