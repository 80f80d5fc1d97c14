"""The table of samples: what it gives, and every fault of it as one sentence that names file and line."""

import pytest

from phenoloom.core.errors import InputError
from phenoloom.cytometry.samples import LONGEST, RESERVED, name_problem, sample_metadata, sample_rows


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Return a function that writes a table and reads it."""
    monkeypatch.chdir(tmp_path)

    def read(text, events="crops", dataset=None):
        (tmp_path / "samples.tsv").write_text(text, encoding="utf-8")
        return sample_rows("samples.tsv", events, dataset)

    return read


@pytest.mark.parametrize("separator", ["\t", ";", ","])
def test_rows_in_their_order_with_paths_beside_the_table(table, tmp_path, separator):
    (tmp_path / "a").mkdir()
    text = "Sample|Images|Batch|Label\nB|a|2|G1\nA|/elsewhere||\n".replace("|", separator)
    assert table(text) == [
        {"batch": "2", "sample": "B", "images": "a", "Label": "G1"},
        {"batch": "1", "sample": "A", "images": "/elsewhere"},
    ]


def test_odd_names_stay_as_they_are(table):
    rows = table('sample\timages\n"a; b"\tx\n"it""s, ü"\ty\n../c\tz\n')
    assert [row["sample"] for row in rows] == ["a; b", 'it"s, ü', "../c"]


def test_rows_of_other_datasets_do_not_count(table):
    text = "dataset\tsample\timages\none\ta\tx\ntwo\ta\ty\n"
    assert [row["images"] for row in table(text, dataset="two")] == ["y"]
    with pytest.raises(InputError, match="lists no samples for dataset three"):
        table(text, dataset="three")


@pytest.mark.parametrize(
    ("text", "events", "said"),
    [
        ("", "crops", "is empty; it needs a header line"),
        ("sample\timages\n", "crops", "lists no samples; add one line per sample"),
        ("images\nx\n", "crops", "lacks the column sample; it has images"),
        ("sample\timages\na\tx\n", "sorter", "lacks the column fcs"),
        ("sample\timages\tfcs\na\tx\t\n", "sorter", "line 2: the column 'fcs' is empty"),
        ("sample\timages\na\tx\n\ty\n", "crops", "line 3: the column 'sample' is empty"),
        ("sample\timages\na\tx\na\ty\n", "crops", "the sample a is listed more than once"),
        ("sample\timages\na\tx\nb\tx\n", "crops", "x is the 'images' of more than one sample"),
        ("sample\timages\tPlate\na\tx\tP\n", "crops", "the column 'Plate' is metadata that every event has"),
        ("sample\timages\tMetadata_Label\na\tx\tP\n", "crops", "without the prefix Metadata_"),
        ("sample\timages\t\na\tx\tP\n", "crops", "the column '' is no name"),
        (f"sample\timages\n{'ü' * LONGEST}\tx\n", "crops", "line 2: the name of the sample is too long"),
    ],
)
def test_a_fault_is_one_sentence(table, text, events, said):
    with pytest.raises(InputError, match="samples.tsv.*" + said):
        table(text, events)


def test_a_missing_table_and_one_that_is_no_text(tmp_path):
    with pytest.raises(InputError, match="nowhere.tsv does not exist"):
        sample_rows(tmp_path / "nowhere.tsv")
    (tmp_path / "s.tsv").write_bytes(b"sample\timages\n\xff\xfe\tx\n")
    with pytest.raises(InputError, match="s.tsv is not UTF-8"):
        sample_rows(tmp_path / "s.tsv")


def test_metadata_of_a_sample_are_its_own_columns_beside_the_usual():
    row = {"sample": "a", "batch": "2", "images": "x", "fcs": "y", "events": "z", "Dose": "3"}
    assert sample_metadata("d", row) == {
        "Metadata_Dataset": "d",
        "Metadata_Sample": "a",
        "Metadata_Plate": "a",
        "Metadata_Batch": "2",
        "Metadata_Dose": "3",
    }


@pytest.mark.parametrize("name", [*RESERVED, *map(str.lower, RESERVED), "", "Metadata_Label"])
def test_names_that_are_taken(name):
    assert name_problem(name) and not name_problem("Label")
