"""Tables: what is written is what is read, in the field's convention, and damage is one sentence."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic, write_if_changed
from phenoloom.core.provenance import read_origin
from phenoloom.core.tables import feature_columns, read_table, read_text_table, stream_table, write_table


@pytest.fixture
def cells():
    return pd.DataFrame(
        {"Metadata_Well": ["A01", "A02"], "Metadata_Site": [1, 2], "Cells_AreaShape_Area": [10.5, np.nan]}
    )


def test_features_are_float32_and_text_metadata_is_dictionary_encoded(tmp_path, cells):
    write_table(tmp_path / "cells.parquet", cells, {"rule": "test"})
    schema = pq.read_schema(tmp_path / "cells.parquet")
    assert schema.field("Cells_AreaShape_Area").type == pa.float32()
    assert pa.types.is_dictionary(schema.field("Metadata_Well").type)
    assert schema.field("Metadata_Site").type == pa.int64()
    assert feature_columns(schema) == ["Cells_AreaShape_Area"]
    assert read_origin(tmp_path / "cells.parquet") == {"rule": "test"}
    pd.testing.assert_frame_equal(read_table(tmp_path / "cells.parquet"), cells, check_dtype=False)


def test_streamed_tables_equal_those_written_at_once(tmp_path, cells):
    with stream_table(tmp_path / "streamed.parquet") as write:
        write(cells.iloc[:1])
        write(cells.iloc[1:])
    assert pq.ParquetFile(tmp_path / "streamed.parquet").num_row_groups == 2
    pd.testing.assert_frame_equal(read_table(tmp_path / "streamed.parquet"), cells, check_dtype=False)


def test_a_failing_write_leaves_no_file(tmp_path, cells):
    with pytest.raises(OSError, match="No space"), atomic(tmp_path / "table.parquet") as partial:
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_partial_table(tmp_path, cells):
    """A file-size limit stands for a full disk: the write fails, the final name stays free."""
    import resource
    import signal

    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(500, 200))).add_prefix("Cells_F_")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError):
            write_table(tmp_path / "wide.parquet", wide)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_unchanged_content_keeps_its_time_stamp(tmp_path):
    path = tmp_path / "manifest"
    assert write_if_changed(path, b"one")
    stamp = path.stat().st_mtime_ns
    assert not write_if_changed(path, b"one")
    assert path.stat().st_mtime_ns == stamp
    assert write_if_changed(path, b"two")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("noise.parquet", b"PAR1 this is no parquet file"),
        ("cut.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 5000)[:40]),
        ("latin.csv", b"compound\n\xe9\xff\n"),
    ],
)
def test_a_damaged_table_is_one_sentence_that_names_the_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read_table(tmp_path / name)


def test_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.csv does not exist"):
        read_table(tmp_path / "nowhere.csv")


def test_text_tables_keep_every_cell_as_text(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text('\ufeffwell;perturbation;concentration\n a01 ;NA;0010\nA02;"x""; rm -rf ~ #<script>";1\n', "utf-8")
    table = read_text_table(path)
    assert table["well"].tolist() == ["a01", "A02"]
    assert table["perturbation"].tolist() == ["NA", 'x"; rm -rf ~ #<script>']
    assert table["concentration"].tolist() == ["0010", "1"]
