"""Labels of events from a table: by number, by name or in order, and never on the wrong event."""

import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.cytometry.labels import read_labels

LABELS = {"Label": "gate"}


@pytest.fixture
def labelled(tmp_path):
    """Return a function that writes a table and gives (labels of events, ledger rows)."""

    def read(text, numbers=(0, 2, 3), names=None, n_events=4, labels=LABELS):
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        ledger = Ledger("events")
        found = read_labels(path, labels, list(numbers), names, n_events, ledger)
        return {name: values.tolist() for name, values in found.items()}, ledger.rows

    return read


def test_in_order_they_belong_to_all_events_and_not_to_those_that_are_left(labelled):
    assert labelled("gate\na\nb\nc\nd\n") == ({"Metadata_Label": ["a", "c", "d"]}, [])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_by_number_in_any_order_and_separator(labelled, separator):
    text = "\ufeffother|event| gate \nx|3|d\nx|0| a; b \nx|2|\n".replace("|", separator)
    if separator == ";":
        text = text.replace("a; b", '"a; b"').replace("; ", ";")
        text = text.replace('"a;b"', '"a; b"')
    assert labelled(text)[0] == {"Metadata_Label": ["a; b", None, "d"]}


def test_by_name_where_events_have_names(labelled):
    found, _ = labelled("event,gate\nG1/7,x\n10,ü\nG2/9,y\n", names=["10", "G1/7", "G2/9"])
    assert found == {"Metadata_Label": ["ü", "x", "y"]}


def test_events_without_a_row_and_rows_of_no_event_are_counted(labelled):
    found, rows = labelled("event,gate\n0,a\n1,b\n3,d\n77,e\n")
    assert found == {"Metadata_Label": ["a", None, "d"]}
    assert [(row["severity"], row["count"], row["reason"].split(" in ")[0]) for row in rows] == [
        ("flagged", 1, "events without a row"),
        ("flagged", 2, "rows of no usable event"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gate\na\nb\nc\n", "has 3 rows for 4 events; give a row per event"),
        ("gate\na\nb\nc\nd\ne\n", "has 5 rows for 4 events"),
        ("event,gate\n0,a\n0,b\n", "'event' has 0 more than once"),
        ("event,gate\n0,a\n1.5,b\n", "needs whole numbers, not '1.5'"),
        ("event,gate\n0,a\n,b\n", "needs whole numbers, not ''"),
        ("event,gate\n90,a\n91,b\n", "names no usable event of the sample \\(it begins with 90"),
        ("event,gete\n0,a\n", "lacks the column gate; it has event, gete"),
        ("gate,gate\na,b\n", "has a column twice"),
        ("", "lacks the column gate; it has none"),
        ("event,gate\n", "names no usable event of the sample; correct"),
        (b"gate\n\xff\xfe\n", "is not UTF-8 text|cannot be read"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_table(labelled, text, said):
    with pytest.raises(InputError, match="labels.csv.*(" + said + ")"):
        labelled(text)


def test_a_table_that_went_away(tmp_path):
    with pytest.raises(InputError, match="nowhere.csv cannot be read"):
        read_labels(tmp_path / "nowhere.csv", LABELS, [0], None, 1, Ledger("events"))


def test_several_labels_and_short_lines(labelled):
    found, _ = labelled("gate,dose\na,1\nb\nc,3\nd,4\n", labels={"Label": "gate", "Dose": "dose"}, numbers=(0, 1, 2))
    assert found == {"Metadata_Label": ["a", "b", "c"], "Metadata_Dose": ["1", None, "3"]}
