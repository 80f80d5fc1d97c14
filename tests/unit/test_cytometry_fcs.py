"""FCS files are read under a stated policy: strict refuses what deviates, lenient reads it and says so."""

import tracemalloc
from array import array

import flowio
import numpy as np
import pytest

from phenoloom.core.errors import InputError
from phenoloom.cytometry.fcs import fcs_table, linearise, read_chunks, read_events, read_fcs, read_header
from phenoloom.cytometry.fcs_text import split_keywords

EVENTS = np.arange(12, dtype="<f4").reshape(4, 3) + 0.5


def write(path, events=EVENTS, version="3.1", header=None, behind=b"", delimiter="/", before=b"", **changes):
    """Write an FCS file by the book; `changes` are keywords (None takes one away), `header` overrides its offsets."""
    events = np.asarray(events)
    kind = {"f4": "F", "f8": "D"}.get(events.dtype.str[1:], "I")
    keywords = {"$PAR": events.shape[1], "$TOT": len(events), "$MODE": "L", "$DATATYPE": kind, "$NEXTDATA": 0}
    keywords["$BYTEORD"] = "4,3,2,1" if events.dtype.byteorder == ">" else "1,2,3,4"
    for number in range(1, events.shape[1] + 1):
        keywords |= {f"$P{number}N": f"C{number}", f"$P{number}B": 8 * events.itemsize}
        keywords |= {f"$P{number}R": 262144, f"$P{number}E": "0,0"}
    data = events.tobytes()
    begin = 4096
    keywords |= {"$BEGINDATA": begin, "$ENDDATA": begin + len(data) - 1}
    changes = {f"${name}": value for name, value in changes.items()}
    keywords = {name: value for name, value in (keywords | changes).items() if value is not None}
    text = "".join(f"{delimiter}{name}{delimiter}{value}" for name, value in keywords.items()) + delimiter
    text = text.encode("utf-8", "surrogateescape")
    offsets = header or (begin, begin + len(data) - 1)
    fields = [256, 255 + len(text), *offsets, 0, 0]
    head = f"FCS{version}    " + "".join(f"{field:>8}" for field in fields)
    path.write_bytes(before + (head.encode().ljust(256) + text).ljust(begin) + data + behind)
    return path


def test_a_file_by_the_book_is_read_alike_under_both_policies(tmp_path):
    path = write(tmp_path / "a.fcs", P2S="marker", P2G=2)
    for policy in ("strict", "lenient"):
        fcs, events = read_fcs(path, policy)
        assert fcs.deviations == () and fcs.version == "3.1" and fcs.n_events == 4
        assert fcs.names == ["C1", "C2", "C3"] and fcs.parameters[1].pns == "marker"
        assert fcs.parameters[1].gain == 2 and fcs.ranges == [262144] * 3
        assert events.dtype == np.float32
        np.testing.assert_array_equal(events, EVENTS)


@pytest.mark.parametrize("version", ["2.0", "3.0", "3.1", "3.2"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8", "u1", "<u2", ">u2", "<u4", ">u4", "<u8"])
def test_every_type_and_order_of_bytes_is_read(tmp_path, version, kind):
    ranges = {f"P{number}R": 2**63 for number in (1, 2, 3)}
    events = np.array([[1, 2, 3], [200, 100, 0]], kind)
    fcs, read = read_fcs(write(tmp_path / "a.fcs", events, version, **ranges), "strict")
    np.testing.assert_array_equal(read, events)
    assert read.dtype == np.dtype(kind).newbyteorder("=") and fcs.version == version


def test_bits_of_floats_survive_in_both_orders(tmp_path):
    bits = np.array([[1, 0x7F800001, 0xFFFFFFFF], [0x7FC00000, 0x80000000, 695624]], "<u4")
    for order in "<>":
        path = write(tmp_path / "a.fcs", bits.astype(f"{order}u4").view(f"{order}f4"))
        np.testing.assert_array_equal(read_fcs(path)[1].view(np.uint32), bits)


def test_integers_of_different_widths_and_extra_bits_are_those_of_flowio(tmp_path):
    row = np.dtype([("a", "<u2"), ("b", "<u4"), ("c", "u1")])
    events = np.array([(70, 5_000_000, 9), (65535, 4_000_000_000, 255)], row)
    bytes_of_events = np.frombuffer(events.tobytes(), "u1").reshape(2, 7)
    kinds = {"P1B": 16, "P2B": 32, "P3B": 8, "P1R": 1024, "P2R": 11209599, "P3R": 255, "PAR": 3}
    path = write(tmp_path / "a.fcs", bytes_of_events, **kinds)
    fcs, read = read_fcs(path)
    np.testing.assert_array_equal(read.ravel(), flowio.FlowData(str(path)).events)
    assert fcs.deviations == ("values have bits beyond their $PnR, in C1 (1), C2 (1); those bits are masked",)


def test_parameters_of_fcs_3_2_may_have_types_of_their_own(tmp_path):
    row = np.dtype([("a", "<u4"), ("b", "<f4"), ("c", "<f8")])
    events = np.array([(7, 1.5, 1e-300), (8, -2.5, 2.0)], row)
    data = np.frombuffer(events.tobytes(), "u1").reshape(2, 16)
    kinds = {"P1B": 32, "P2B": 32, "P3B": 64, "P1DATATYPE": "I", "P3DATATYPE": "D", "DATATYPE": "F", "PAR": 3}
    path = write(tmp_path / "a.fcs", data, "3.2", **kinds)
    np.testing.assert_array_equal(read_fcs(path, "strict")[1], [[7, 1.5, 1e-300], [8, -2.5, 2.0]])


DATA_END = 4096 + EVENTS.nbytes - 1
#: (what is wrong with the file, keywords, other arguments, what the lenient policy says)
DEVIATIONS = {
    "end one too large": ({"ENDDATA": DATA_END + 1}, {"header": (4096, DATA_END + 1)}, "one too large"),
    "start differs": ({}, {"header": (4000, DATA_END)}, "TEXT is used, which $TOT events fill"),
    "end differs": ({"ENDDATA": DATA_END + 80}, {}, "HEADER is used, which $TOT events fill"),
    "blank offsets": ({}, {"header": ("", "")}, "leaves the offsets of the data blank"),
    "zero offsets": ({}, {"header": (0, 0)}, "0 for the offsets of the data"),
    "no offsets in TEXT": ({"BEGINDATA": None}, {}, "offsets of the HEADER are used"),
    "no $DATATYPE": ({"DATATYPE": None}, {}, "read as floats of 32 bits"),
    "no $TOT": ({"TOT": None}, {}, "counted from the bytes"),
    "no $MODE": ({"MODE": None}, {}, "a list of events"),
    "no $PnR": ({"P2R": None}, {}, "$P2R is 'missing'"),
    "no $PnE": ({"P2E": None}, {}, "$P2E is missing"),
    "log floats": ({"P2E": "4,1"}, {}, "can only be linear"),
    "wrong $PnB": ({"P2B": "16"}, {}, "32 are read"),
    "$TOT too small": ({"TOT": 3}, {}, "the rest is left"),
    "same names": ({"P2N": "C1"}, {}, "the column is named C1_2"),
    "empty name": ({"P2N": ""}, {}, "the column is named P2"),
    "name of metadata": ({"P2N": "Metadata_Well"}, {}, "the column is named P2 Metadata_Well"),
    "Latin-1": ({"OP": "\udce4\udcb5"}, {}, "read as Latin-1"),
    "empty value": ({"OP": "", "FIL": "x"}, {}, "taken as empty"),
    "trailing bytes": ({}, {"behind": b"x" * 200}, "200 bytes that belong to nothing"),
    "another version": ({}, {"version": "4.7"}, "read as FCS 3.1"),
    "$NEXTDATA into nowhere": ({"NEXTDATA": 300}, {}, "no data set begins"),
}


@pytest.mark.parametrize("name", DEVIATIONS)
def test_a_deviation_is_read_and_said_or_refused(tmp_path, name):
    keywords, options, sentence = DEVIATIONS[name]
    path = write(tmp_path / "a.fcs", **options, **keywords)
    fcs, events = read_fcs(path, "lenient")
    assert sentence in "; ".join(fcs.deviations)
    assert len(set(fcs.names)) == 3
    np.testing.assert_array_equal(events, EVENTS[: fcs.n_events])
    assert fcs.n_events == keywords.get("TOT", 4) or keywords.get("TOT", 4) is None
    with pytest.raises(InputError, match=f"^{path}: .*policy lenient$"):
        read_header(path, "strict")


def test_integers_without_datatype_are_told_from_floats_by_their_values(tmp_path):
    events = np.array([[3, 700, 262143], [5, 900, 17]], "<u4")
    fcs, read = read_fcs(write(tmp_path / "a.fcs", events, DATATYPE=None))
    np.testing.assert_array_equal(read, events)
    assert "read as integers" in fcs.deviations[-1]


def test_of_a_file_that_is_cut_off_whole_events_are_read(tmp_path):
    path = write(tmp_path / "a.fcs")
    path.write_bytes(path.read_bytes()[:-14])
    fcs, events = read_fcs(path)
    np.testing.assert_array_equal(events, EVENTS[:2])
    assert any("the bytes hold 2 events" in sentence for sentence in fcs.deviations)


def test_data_sets_are_chosen_by_number_and_the_others_named(tmp_path):
    first, second = write(tmp_path / "1.fcs"), write(tmp_path / "2.fcs", EVENTS + 100)
    size = first.stat().st_size
    path = write(tmp_path / "a.fcs", behind=second.read_bytes(), NEXTDATA=size)
    fcs, events = read_fcs(path)
    assert fcs.data_sets == 2 and "0 is read, 1 are not" in fcs.deviations[0]
    np.testing.assert_array_equal(events, EVENTS)
    np.testing.assert_array_equal(read_fcs(path, "strict", data_set=1)[1], EVENTS + 100)
    with pytest.raises(InputError, match="2 data sets"):
        read_header(path, "strict")
    with pytest.raises(InputError, match="has no data set 2"):
        read_header(path, data_set=2)


def test_a_chain_of_data_sets_that_bites_its_tail_ends(tmp_path):
    path = write(tmp_path / "a.fcs", behind=write(tmp_path / "2.fcs", NEXTDATA=1).read_bytes(), NEXTDATA=4144)
    assert read_header(path).data_sets == 2


@pytest.mark.parametrize("policy", ["strict", "lenient"])
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: b"", "empty"),
        (lambda data: b"oi21j08cn\n", "no FCS file"),
        (lambda data: data[:40], "ends within its HEADER"),
        (lambda data: data[:300], "ends within its TEXT"),
        (lambda data: data[:4096], "events|before its data"),
        (lambda data: data.replace(b"$DATATYPE/F", b"$DATATYPE/A"), "DATATYPE A"),
        (lambda data: data.replace(b"$MODE/L", b"$MODE/C"), "histograms"),
        (lambda data: data.replace(b"$BYTEORD/1,2,3,4", b"$BYTEORD/3,4,1,2"), "byte order"),
        (lambda data: data.replace(b"$PAR/3", b"$PAR/x"), "without \\$PAR"),
        (lambda data: data.replace(b"$PAR/3", b"$PAR/9"), "without \\$PAR"),
        (lambda data: data.replace(b"$P2N", b"$Q2N"), "without \\$PAR"),
        (lambda data: data[:10] + b"   xx256" + data[18:], "where TEXT lies"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, policy, spoil, sentence):
    path = write(tmp_path / "a.fcs")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=sentence) as error:
        read_header(path, policy)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_an_unknown_policy_are_refused(tmp_path):
    for path in (tmp_path / "none.fcs", tmp_path):
        with pytest.raises(InputError, match="does not exist or is no file"):
            read_header(path)
    with pytest.raises(InputError, match="strict or lenient"):
        read_header(write(tmp_path / "a.fcs"), "careless")


def test_a_file_without_events_has_none(tmp_path):
    fcs, events = read_fcs(write(tmp_path / "a.fcs", EVENTS[:0], BEGINDATA=0, ENDDATA=0, header=(0, 0)), "strict")
    assert events.shape == (0, 3) and list(read_chunks(fcs)) == []


@pytest.mark.parametrize("delimiter", ["/", "|", "\\", "*", "\x0c", "!", "^", ".", "+", "(", "\x1e"])
def test_any_delimiter_is_read(tmp_path, delimiter):
    escaped = f"a{delimiter * 2}b"
    fcs = read_header(write(tmp_path / "a.fcs", delimiter=delimiter, FIL=escaped), "strict")
    assert fcs.keywords["fil"] == f"a{delimiter}b" and fcs.names == ["C1", "C2", "C3"]


def test_keywords_are_split_as_flowio_splits_them(tmp_path):
    path = write(tmp_path / "a.fcs", FIL="x//y", COM="µ")
    text = path.read_bytes()[256:4096].rstrip(b" ").decode()
    assert split_keywords(text) == flowio.FlowData(str(path)).text


def test_chunks_are_the_file_in_bounded_memory(tmp_path):
    events = np.arange(400_000 * 20, dtype="<f4").reshape(-1, 20)
    path = write(tmp_path / "a.fcs", events)
    tracemalloc.start()
    fcs, upto = read_header(path), 0
    for start, chunk in read_chunks(fcs, rows=20_000):
        np.testing.assert_array_equal(chunk[[0, -1]], events[[start, start + len(chunk) - 1]])
        upto += len(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert upto == 400_000
    assert peak < events.nbytes / 4
    np.testing.assert_array_equal(read_events(fcs, 399_990), events[399_990:])


def test_scales_are_made_linear_as_flowio_does_it(tmp_path):
    events = np.array([[0, 512, 100], [1023, 1, 7]], "<u2")
    keys = {f"P{number}R": 1024 for number in (1, 2, 3)} | {"P1E": "4,0", "P2G": "2.5", "P3N": "Time", "P3G": "9"}
    path = write(tmp_path / "a.fcs", events, TIMESTEP="0.01", **keys)
    np.testing.assert_allclose(linearise(*read_fcs(path)), flowio.FlowData(str(path)).as_array())


def test_what_flowio_writes_is_read_strictly(tmp_path):
    with open(tmp_path / "a.fcs", "wb") as file:
        flowio.create_fcs(file, array("f", range(6)), ["FSC-A", "a/b"], opt_channel_names=["", "x"])
    fcs, events = read_fcs(tmp_path / "a.fcs", "strict")
    assert fcs.names == ["FSC-A", "a/b"] and events.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_the_table_says_what_becomes_of_each_file(tmp_path):
    good, odd, bad = write(tmp_path / "a.fcs", CYT="X"), write(tmp_path / "b.fcs", TOT=None), tmp_path / "c.fcs"
    bad.write_bytes(b"garbage")
    table = fcs_table([good, odd, bad]).set_index("file")
    assert table.loc["a.fcs", ["instrument", "events", "strict", "lenient"]].tolist() == ["X", 4, "read", "read"]
    assert table.loc["b.fcs", "strict"].startswith("refused: $TOT") and table.loc["b.fcs", "lenient"].startswith(
        "read: "
    )
    assert table.loc["c.fcs", "lenient"].startswith("refused: is no FCS file")


@pytest.mark.parametrize("kind", ["<f4", ">u2"])
def test_damage_of_any_kind_ends_in_events_or_in_a_sentence(tmp_path, kind):
    random = np.random.default_rng(3)
    whole = write(tmp_path / "a.fcs", EVENTS.astype(kind), P2S="x", SPILLOVER="1,C1,1").read_bytes()
    for _ in range(400):
        data = bytearray(whole[: random.integers(1, len(whole) + 1)] if random.random() < 0.2 else whole)
        for place in random.integers(0, min(len(data), random.choice([58, 900])), 3):
            data[place] = random.choice([random.integers(256), ord("0") + random.integers(10)])
        (tmp_path / "b.fcs").write_bytes(data)
        try:
            fcs, events = read_fcs(tmp_path / "b.fcs")
        except InputError:
            continue
        assert events.shape == (fcs.n_events, len(fcs.names))
