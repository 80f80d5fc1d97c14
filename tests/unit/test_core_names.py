"""Names and wells: any name survives a path, any spelling of a well becomes one."""

import re

import pytest

from phenoloom.core.names import PATTERN, decode, encode
from phenoloom.core.wells import normalize_well, plate_format, position, well_name


@pytest.mark.parametrize("name", ["BR00116991", "plate 1", "a/b;c'd\"e", "β<script>", "..", "%41", "~41", "-x"])
def test_any_name_survives_a_path(name):
    assert decode(encode(name)) == name
    assert re.fullmatch(PATTERN, encode(name))
    assert encode(name) not in (".", "..")


def test_different_names_stay_different():
    names = ["a b", "a%20b", "a~20b", "a_b", "A B"]
    assert len({encode(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("text", "well"),
    [("a1", "A01"), ("A01", "A01"), (" h-12 ", "H12"), ("P024", "P24"), ("AF48", "AF48"), ("b_3", "B03")],
)
def test_wells_are_normalised(text, well):
    assert normalize_well(text) == well


@pytest.mark.parametrize("text", ["", "A", "1", "A0", "ZZ1", "BA1", "A100", "A1;rm"])
def test_what_is_no_well_is_said(text):
    with pytest.raises(ValueError, match="not a well name"):
        normalize_well(text)


def test_positions_and_formats():
    assert [position("A01"), position("P24"), position("AF48")] == [(0, 0), (15, 23), (31, 47)]
    assert all(position(well_name(row, column)) == (row, column) for row in range(32) for column in range(48))
    assert plate_format(["A01", "D06"]) == (4, 6)
    assert plate_format(["H12"]) == (8, 12)
    assert plate_format(["A13"]) == (16, 24)
