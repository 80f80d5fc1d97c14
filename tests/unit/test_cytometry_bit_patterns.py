"""Integers that hide as bits in floats are found, decoded exactly, and told from measurements."""

import numpy as np
import pytest

from phenoloom.core.errors import InputError
from phenoloom.cytometry.bit_patterns import chosen_patterns, decode_bit_patterns, find_bit_patterns

RANDOM = np.random.default_rng(0)
N = 300


def floats(integers):
    return np.asarray(integers, np.uint32).view(np.float32)


COLUMNS = {
    "EventNumber0": (floats(695_624 + np.arange(N)), 2.0**63 - 1),
    "EventNumber1": (floats(np.zeros(N)), 2.0**63 - 1),
    "EventLabel": (floats(np.full(N, 3_186_724_541)), 2.0**32 - 1),
    "Time0": (floats(387_981_619 + np.cumsum(RANDOM.integers(1, 9999, N))), 2.0**63 - 1),
    "SSC-A": (RANDOM.lognormal(15, 1, N).astype(np.float32), 134217727.0),
    "Blue-A": (RANDOM.normal(0, 5, N).astype(np.float32), 2147483647.0),
    "Reserved": (np.zeros(N, np.float32), 2147483647.0),
    "DropId": (np.float32(720_285_000 + 64 * np.arange(N)), 2147483647.0),
    "Count": (np.arange(N, dtype=np.float32), 2.0**32 - 1),
    "Missing": (np.full(N, np.nan, np.float32), 1023.0),
    "Small": (np.where(np.arange(N) % 50, 0.3, 1e-30).astype(np.float32), 1.1),
}
EVENTS = np.stack([values for values, _ in COLUMNS.values()], axis=1)
RANGES = [largest for _, largest in COLUMNS.values()]
HIDDEN = ["EventNumber0", "EventNumber1", "EventLabel", "Time0"]


def test_hidden_integers_are_found_and_measurements_left():
    assert list(find_bit_patterns(EVENTS, list(COLUMNS), RANGES)) == HIDDEN


def test_a_file_of_measurements_has_none_whatever_its_ranges():
    rest = [index for index, name in enumerate(COLUMNS) if name not in HIDDEN]
    names = [list(COLUMNS)[index] for index in rest]
    assert find_bit_patterns(EVENTS[:, rest], names, [2.0**63] * len(rest)) == {}
    assert find_bit_patterns(EVENTS.astype(np.float64), list(COLUMNS), RANGES) == {}


def test_what_the_instrument_declares_decides():
    declared = ["I64"] * 2 + ["B32", "I64"] + ["I32"] * 4 + ["F32"] * 3
    assert list(find_bit_patterns(EVENTS, list(COLUMNS), RANGES, declared)) == HIDDEN
    assert find_bit_patterns(EVENTS, list(COLUMNS), RANGES, ["F32"] * len(COLUMNS)) == {}


def test_every_pattern_is_decoded_exactly():
    integers = np.array([0, 1, 695_624, 2**23, 0x7F800000, 0x7F800001, 0x7FC00000, 2**31, 2**32 - 1], np.uint32)
    np.testing.assert_array_equal(decode_bit_patterns(floats(integers)), integers)
    strided = np.stack([floats(integers), floats(integers)], axis=1)[:, 1]
    np.testing.assert_array_equal(decode_bit_patterns(strided), integers)
    with pytest.raises(ValueError, match="float32"):
        decode_bit_patterns(np.ones(3, np.float64))


def test_a_study_may_name_the_columns():
    names = list(COLUMNS)
    assert list(chosen_patterns(["SSC-A"], EVENTS, names, RANGES)) == ["SSC-A"]
    assert chosen_patterns("none", EVENTS, names, RANGES) == {}
    assert list(chosen_patterns("auto", EVENTS, names, RANGES)) == HIDDEN
    with pytest.raises(InputError, match="'Nothing'.*a.fcs"):
        chosen_patterns(["Nothing"], EVENTS, names, RANGES, path="a.fcs")
    with pytest.raises(InputError, match="not float32"):
        chosen_patterns(["SSC-A"], np.ones(EVENTS.shape, np.uint16), names, RANGES)
