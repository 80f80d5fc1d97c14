"""FCS files of many instruments: each is read or refused as docs/reference/fcs.md says, and agrees with flowio."""

import re
import warnings
from pathlib import Path

import flowio
import numpy as np
import pytest

from phenoloom.core.errors import InputError
from phenoloom.cytometry.compensation import read_spillover
from phenoloom.cytometry.fcs import fcs_table, linearise, read_fcs, read_header

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "fcs.md"
REFUSED = {"corrupted.fcs": "no FCS file", "sample_header.fcs": "none of its 20,000 events"}


@pytest.fixture(scope="module")
def files(shared_data):
    return sorted(path for path in shared_data("fcs").rglob("*") if path.suffix in (".fcs", ".lmd"))


def flowio_data(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return flowio.FlowData(path, ignore_offset_error=True, ignore_offset_discrepancy=True, nextdata_offset=0)


def test_all_but_the_broken_two_are_read(files):
    assert len(files) == 19
    for path in files:
        if path.name in REFUSED:
            with pytest.raises(InputError, match=REFUSED[path.name]):
                read_fcs(path)
        else:
            fcs, events = read_fcs(path)
            assert events.shape == (fcs.n_events, len(fcs.names)) and fcs.n_events == int(fcs.keywords["tot"])
            assert len(set(fcs.names)) == len(fcs.names)


def test_events_and_keywords_are_those_of_flowio(files):
    compared = 0
    for path in files:
        if path.name in REFUSED or path.name == "fake_large_fcs.fcs":  # flowio takes no blank HEADER
            continue
        fcs, events = read_fcs(path)
        other = flowio_data(path)
        theirs = np.array(other.events).reshape(-1, other.channel_count)[: fcs.n_events]
        np.testing.assert_array_equal(events.astype(np.float64), theirs.astype(np.float64), path.name)
        delimiter = path.read_bytes()[other.header["text_start"] : other.header["text_start"] + 1].decode()
        plain = {key: value for key, value in other.text.items() if delimiter not in key + value}
        assert plain.items() <= fcs.keywords.items() and len(plain) > 20
        assert [parameter.pnn for parameter in fcs.parameters] == other.pnn_labels
        assert [parameter.pns for parameter in fcs.parameters] == other.pns_labels
        if other.text.get("timestep", "1").replace(".", "").isdigit():
            np.testing.assert_allclose(linearise(fcs, events), other.as_array()[: fcs.n_events], err_msg=path.name)
        compared += 1
    assert compared == 16


def test_blank_offsets_give_the_events_of_the_file_it_was_made_from(files):
    blank, whole = (read_fcs(next(path for path in files if name in path.name)) for name in ("fake_large", "Fortessa"))
    np.testing.assert_array_equal(blank[1], whole[1])


def test_the_expected_arrays(shared_data):
    folder = shared_data("fcs") / "flowio"
    original = np.load(folder / "truth" / "data1_original_events.npy")
    np.testing.assert_array_equal(read_fcs(folder / "fcs_files" / "data1.fcs")[1], original)
    scaled = np.load(folder / "truth" / "B01 KC-A-W---91-US_preprocessed_events.npy")
    fcs = read_fcs(folder / "fcs_files" / "B01 KC-A-W---91-US.fcs", "strict")
    np.testing.assert_allclose(linearise(*fcs), scaled, rtol=1e-12)


def test_both_data_sets_of_a_coulter_file_are_read(files):
    path = next(path for path in files if path.name == "coulter.lmd")
    for number, other in enumerate(flowio.read_multiple_data_sets(str(path), ignore_offset_error=True)):
        fcs, events = read_fcs(path, data_set=number)
        assert fcs.version == other.version
        theirs = np.array(other.events).reshape(-1, other.channel_count)[: fcs.n_events]
        np.testing.assert_array_equal(events, theirs)


def test_strict_refuses_what_lenient_notes(files):
    for path in files:
        try:
            deviations = read_header(path).deviations
        except InputError:
            deviations = ("cannot be read",)
        if deviations:
            with pytest.raises(InputError):
                read_header(path, "strict")
        else:
            assert read_header(path, "strict").deviations == ()


def test_a_matrix_without_values_is_refused_and_others_are_square(files):
    empty = next(path for path in files if path.name.startswith("EY_2013-07-19_PBS_FCS_3.1"))
    with pytest.raises(InputError, match="0 values where 6 parameters ask for 36"):
        read_spillover(read_header(empty))
    accuri = read_spillover(read_header(next(path for path in files if path.name.startswith("B01"))))
    assert len(accuri.names) == 8 and (np.diag(accuri.matrix) == 1).all()


def test_the_page_has_the_table_of_these_files(files):
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*?) \| .*? \| (.*?) \| (.*?) \|$", PAGE.read_text(), flags=re.M)
    said = {file: (version, instrument, strict, lenient) for file, version, instrument, strict, lenient in rows}
    for row in fcs_table(files).itertuples():
        assert said[row.file] == (row.version, row.instrument, row.strict, row.lenient), row.file
