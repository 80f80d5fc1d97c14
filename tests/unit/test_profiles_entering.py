"""Tables made elsewhere become representations; what cannot be mapped is said in one sentence."""

import gzip

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import feature_columns
from phenoloom.profiles import sources
from phenoloom.profiles.entering import enter, read_pieces
from phenoloom.profiles.storage import read_wells
from profile_options import representation

HOSTILE = 'x"; rm -rf ~ #<script>'
MAPPING = {"Plate": "plate", "Well": "well", "Perturbation": "compound", "Concentration": "dose"}


def table(n=6):
    return pd.DataFrame(
        {
            "plate": ["007"] * n,
            "well": [f"a{number + 1}" for number in range(n)],
            "compound": ["DMSO", HOSTILE, "c", "c", "", "d"][:n],
            "dose": [np.nan, 0.1, 1, 3, 10, 30][:n],
            "Cells_Area": np.linspace(1, 2, n) / 3,
            "Cells_Count": range(n),
        }
    )


@pytest.fixture
def entered(tmp_path):
    """Return a function that enters a DataFrame (written in a format) and gives (table, ledger)."""

    def run(frame, level="wells", ending=".csv", **block):
        path = tmp_path / f"source{ending}"
        write(frame, path)
        block = representation(**{"table": str(path), "metadata": MAPPING, **block})
        ledger = Ledger("enter")
        enter(block, level, tmp_path / "all.parquet", ledger)
        return read_wells(tmp_path / "all.parquet"), ledger.frame()

    return run


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.name.endswith((".tsv", ".tsv.gz")):
        frame.to_csv(path, sep="\t", index=False)
    else:
        frame.to_csv(path, index=False)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet"])
def test_every_format_gives_the_same_table(entered, ending):
    frame, ledger = entered(table(), ending=ending)
    assert list(frame["Metadata_Well"]) == [f"A{number:02d}" for number in range(1, 7)]
    assert set(frame["Metadata_Plate"]) == {"007"}
    assert list(frame["Metadata_Perturbation"]) == ["DMSO", HOSTILE, "c", "c", "", "d"]
    np.testing.assert_array_equal(frame["Metadata_Concentration"], table()["dose"])
    assert feature_columns(frame) == ["Cells_Area", "Cells_Count"]
    np.testing.assert_array_equal(frame["Cells_Area"], table()["Cells_Area"])
    assert ledger.empty


def test_standard_columns_are_there_and_empty_where_nothing_is_known(entered):
    frame, _ = entered(table())
    assert (frame[["Metadata_Batch", "Metadata_Unit", "Metadata_MoA", "Metadata_Control"]] == "").all(axis=None)


def test_controls_missing_values_patterns_and_constants(entered):
    frame, _ = entered(
        table(),
        metadata={**MAPPING, "Batch": {"column": "plate", "pattern": "0*([0-9]+)"}, "Unit": {"value": "uM"}},
        missing={"Perturbation": "DMSO"},
        controls={"column": "Perturbation", "negative": ["DMSO"], "positive": [HOSTILE]},
    )
    assert list(frame["Metadata_Control"]) == ["negative", "positive", "", "", "negative", ""]
    assert set(frame["Metadata_Batch"]) == {"7"}
    assert set(frame["Metadata_Unit"]) == {"uM"}


def test_columns_called_metadata_are_taken_as_they_are(entered):
    frame = table().rename(columns={"plate": "Metadata_Plate", "well": "Metadata_Well"}).assign(Metadata_Time=48)
    found, _ = entered(frame, metadata={"Perturbation": "compound"}, features=["Cells_"])
    assert set(found["Metadata_Plate"]) == {"007"}
    assert set(found["Metadata_Time"]) == {48}


@pytest.mark.parametrize(("features", "kept"), [(["Cells_A"], ["Cells_Area"]), ("Count$", ["Cells_Count"])])
def test_features_are_chosen_by_prefix_or_expression(entered, features, kept):
    assert feature_columns(entered(table(), features=features)[0]) == kept


def test_a_joined_table_gives_wells_their_compound(entered, tmp_path):
    pd.DataFrame({"c": ["c", "c", "d"], "dose": ["1.000", "3.000000", "30"], "moa": ["m1", "m2", "m3"]}).to_csv(
        tmp_path / "moa.csv", index=False
    )
    frame, ledger = entered(
        table(),
        metadata={**MAPPING, "MoA": "moa"},
        join=[{"table": str(tmp_path / "moa.csv"), "by": {"compound": "c", "dose": "dose"}}],
    )
    assert list(frame["Metadata_MoA"]) == ["", "", "m1", "m2", "", "m3"]
    assert ledger[["severity", "count"]].to_numpy().tolist() == [["flagged", 3]]


def test_a_joined_table_that_contradicts_itself_is_refused(entered, tmp_path):
    pd.DataFrame({"c": ["c", "c"], "moa": ["m1", "m2"]}).to_csv(tmp_path / "moa.csv", index=False)
    with pytest.raises(InputError, match="2 different rows for c .*moa"):
        entered(table(), join=[{"table": str(tmp_path / "moa.csv"), "by": {"compound": "c"}}])


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"metadata": {**MAPPING, "MoA": "Compund"}}, "no column 'Compund' mapped to MoA; did you mean compound"),
        ({"metadata": {"Plate": "plate"}}, "needs Well: add `metadata: {Well: <column>}`; well may be it"),
        ({"features": ["Embedding_"]}, "no feature column that fits"),
        ({"features": "["}, "no regular expression"),
        ({"controls": {"column": "kind", "negative": ["x"]}}, "no column 'kind' that tells the controls"),
        ({"missing": {"MoA": "x"}}, "`missing` names MoA"),
        ({"metadata": {**MAPPING, "Batch": {"column": "plate", "pattern": "Week"}}}, "fits no value of column plate"),
        ({"metadata": {**MAPPING, "Control": "compound"}}, "negative, positive or empty"),
        ({"metadata": {**MAPPING, "Concentration": "compound"}}, "Concentration in .* is a number, not 'DMSO'"),
        ({"join": [{"table": "none.csv", "by": {"a": "b"}}]}, "none.csv does not exist"),
    ],
)
def test_what_cannot_be_mapped_is_one_sentence(entered, block, sentence):
    with pytest.raises(InputError, match=sentence):
        entered(table(), **block)


def test_a_table_without_numbers_is_refused(entered):
    with pytest.raises(InputError, match="no feature column beside metadata"):
        entered(table().drop(columns=["Cells_Area", "Cells_Count"]))
    with pytest.raises(InputError, match="no numeric feature column among 1"):
        entered(table().drop(columns=["Cells_Area", "Cells_Count"]).assign(note="a text"))


def test_text_among_numbers_is_refused_and_a_column_of_text_is_set_aside(entered):
    frame = table().assign(Cells_Area=["1", "2", "about 3", "4", "5", "nan"])
    with pytest.raises(InputError, match=r"'Cells_Area' .*'about 3' in row 3"):
        entered(frame)
    found, ledger = entered(table().assign(note=["a", "b", "c", "d", "e", "f"]))
    assert feature_columns(found) == ["Cells_Area", "Cells_Count"]
    assert "1 columns of text" in ledger["reason"].iloc[0]
    with pytest.raises(InputError, match="'note'"):
        entered(table().assign(note="a text"), features=["Cells_", "note"])


def test_words_for_missing_are_missing(entered):
    found, _ = entered(table().assign(Cells_Area=["1", "None", "nan", "4", "5", ""]), ending=".parquet")
    assert found["Cells_Area"].isna().tolist() == [False, True, True, False, False, True]


def test_a_column_named_twice_is_refused(entered, tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("plate,well,Cells_Area,Cells_Area\np,A01,1,2\n")
    with pytest.raises(InputError, match="twice, 'Cells_Area'"):
        enter(representation(table=str(path), metadata=MAPPING), "wells", tmp_path / "o.parquet", Ledger("x"))


def test_repeated_rows_are_counted_and_contradicting_ones_refused(entered):
    frame, ledger = entered(pd.concat([table(), table().iloc[:2]]))
    assert len(frame) == 6
    assert ledger[["unit", "count"]].to_numpy().tolist() == [["row", 2]]
    with pytest.raises(InputError, match="2 rows that share their well .* A01 of plate 007; say level: sites or cells"):
        entered(pd.concat([table(), table().iloc[:1].assign(Cells_Area=9)]))


def test_rows_without_a_well_are_counted(entered):
    frame, ledger = entered(table().assign(well=["A01", "A02", "nowhere", "", "A05", "A06"]))
    assert len(frame) == 4
    assert ledger["count"].tolist() == [2]


def test_cells_stream_in_pieces_that_make_up_the_table(tmp_path):
    random = np.random.default_rng(0)
    n = 1000
    frame = pd.DataFrame(random.normal(size=(n, 3)), columns=["Cells_A", "Cells_B", "Nuclei_C"])
    frame.insert(0, "plate", "p")
    frame.insert(1, "well", random.choice(["A01", "B02"], n))
    frame.insert(2, "compound", "c")
    frame.insert(3, "ImageNumber", random.integers(1, 5, n))
    frame.insert(4, "ObjectNumber", np.arange(n))
    frame["Nuclei_Rare"] = [np.nan] * (n - 1) + [1.5]
    for ending in (".csv", ".parquet"):
        write(frame, tmp_path / f"cells{ending}")
        block = representation(
            table=str(tmp_path / f"cells{ending}"),
            level="cells",
            metadata={"Plate": "plate", "Well": "well", "Perturbation": "compound"},
        )
        pieces = list(read_pieces(block, "cells", Ledger("x"), chunk_bytes=1))
        assert len(pieces) == 10
        enter(block, "cells", tmp_path / "all.parquet", Ledger("x"))
        whole = pq.read_table(tmp_path / "all.parquet").to_pandas()
        features = ["Cells_A", "Cells_B", "Nuclei_C", "Nuclei_Rare"]
        assert feature_columns(whole) == features
        np.testing.assert_array_equal(whole[features], frame[features].astype(np.float32))
        assert list(whole["Metadata_ObjectNumber"]) == list(range(n))
        assert whole["Cells_A"].dtype == np.float32


def test_text_late_in_a_table_is_named_by_its_row(tmp_path):
    frame = pd.concat([table().iloc[:1]] * 300, ignore_index=True).assign(Cells_Count=range(300))
    frame["Cells_Area"] = frame["Cells_Area"].astype(object)
    frame.loc[250, "Cells_Area"] = "bad"
    path = tmp_path / "cells.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(InputError, match="'bad' in row 251"):
        list(read_pieces(representation(table=str(path), metadata=MAPPING), "cells", Ledger("x"), chunk_bytes=1))


def test_several_files_enter_as_one(tmp_path):
    write(table(), tmp_path / "a1.csv")
    write(table().assign(plate="008", Cells_More=1.0), tmp_path / "a2.csv")
    block = representation(table=str(tmp_path / "a*.csv"), metadata=MAPPING)
    ledger = Ledger("enter")
    enter(block, "wells", tmp_path / "all.parquet", ledger)
    frame = read_wells(tmp_path / "all.parquet")
    assert frame.groupby("Metadata_Plate").size().to_dict() == {"007": 6, "008": 6}
    assert feature_columns(frame) == ["Cells_Area", "Cells_Count"]
    assert "Cells_More" in ledger.frame()["reason"].iloc[0]
    assert sources.files(block) == [str(tmp_path / "a1.csv"), str(tmp_path / "a2.csv")]


def test_treatments_need_no_well(entered):
    frame, ledger = entered(
        table().drop(columns=["plate", "well"]), "treatments", metadata={"Perturbation": "compound"}
    )
    assert len(frame) == 5
    assert ledger["count"].tolist() == [1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "0 bytes"), (b"\x1f\x8b\x08\x00garbage", "cannot be read"), (b"PAR1 no table PAR1", "cannot be read")],
)
def test_damaged_files_are_one_sentence(tmp_path, content, sentence):
    for name in ("t.csv", "t.csv.gz", "t.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}"):
            enter(representation(table=str(tmp_path / name), metadata=MAPPING), "wells", tmp_path / "o", Ledger("x"))
    with pytest.raises(InputError, match=sentence):
        enter(representation(table=str(tmp_path / "t.parquet"), metadata=MAPPING), "wells", tmp_path / "o", Ledger("x"))


def test_a_truncated_gzip_is_one_sentence(tmp_path):
    whole = gzip.compress(table(6).to_csv(index=False).encode() * 50)
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="t.csv.gz"):
        enter(representation(table=str(tmp_path / "t.csv.gz"), metadata=MAPPING), "wells", tmp_path / "o", Ledger("x"))


def test_a_representation_names_one_source():
    for block in (representation(), representation(table="a.csv", folders="b")):
        with pytest.raises(InputError, match="one of them"):
            sources.files(block)
    with pytest.raises(InputError, match="no file matches"):
        sources.files(representation(table="/nowhere/*.csv"))
