"""CellProfiler output that others left, partly broken: the good sites become cells, the bad ones ledger rows."""

import gzip
import shutil

import numpy as np
import pandas as pd
import pytest

from phenoloom.cells import outputs
from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger


def join(paths, target, compartments=None):
    ledger = Ledger("enter", dataset="d")
    count = outputs.join_outputs(paths, target, ledger, compartments)
    cells = pd.read_parquet(target)
    assert count == len(cells)
    return cells, ledger.frame()


def test_good_sites_are_joined_and_bad_ones_listed(shared_data, tmp_path):
    folder = shared_data("cellprofiler_output_malformed")
    cells, ledger = join([folder], tmp_path / "c.parquet")
    wells = cells.groupby(["Metadata_Well", "Metadata_Site"], observed=True).size()
    assert wells.to_dict() == {("A01", 1): 10, ("A01", 2): 10, ("B01", 1): 10, ("B01", 2): 10, ("J21", 2): 1}
    reasons = sorted(ledger["reason"])
    assert len(reasons) == 2
    assert "E17-4" in reasons[0] and "empty (0 bytes)" in reasons[0]
    assert "N23-5" in reasons[1] and "without rows" in reasons[1]
    assert set(ledger["severity"]) == {"lost"}


def test_values_are_those_of_the_files(shared_data, tmp_path):
    folder = shared_data("cellprofiler_output_malformed") / "J21-2"
    cells, ledger = join([folder], tmp_path / "c.parquet")
    assert ledger.empty and len(cells) == 1
    for name in ("Cells", "Cytoplasm", "Nuclei"):
        stored = pd.read_csv(folder / f"{name}.csv")
        for column in ("AreaShape_Area", "AreaShape_FormFactor"):
            assert cells[f"{name}_{column}"][0] == np.float32(stored[column][0])


def test_a_folder_of_nothing_but_broken_sites_is_an_error(shared_data, tmp_path):
    folder = shared_data("cellprofiler_output_malformed")
    with pytest.raises(InputError, match="none of the CellProfiler outputs"):
        join([folder / "E17-4", folder / "N23-5"], tmp_path / "c.parquet")
    with pytest.raises(InputError, match="correct the path"):
        join([tmp_path], tmp_path / "c.parquet")


def test_one_folder_of_many_sites_gives_the_same_cells_in_blocks(shared_data, tmp_path, monkeypatch):
    source = shared_data("cellprofiler_output_malformed")
    good = ["A01-1", "A01-2", "B01-1", "B01-2", "J21-2"]
    merged = tmp_path / "merged"
    merged.mkdir()
    for name in ("Image", "Cells", "Cytoplasm", "Nuclei"):
        frames = [pd.read_csv(source / site / f"{name}.csv") for site in good]
        for number, frame in enumerate(frames, start=11):
            frame["ImageNumber"] = number
        whole = pd.concat(frames, ignore_index=True)
        whole.to_csv(merged / f"{name}.csv", index=False)
        with open(merged / f"{name}.csv", "rb") as file, gzip.open(merged / f"{name}.csv.gz", "wb") as packed:
            shutil.copyfileobj(file, packed)
        (merged / f"{name}.csv").unlink()
    apart, _ = join([source / site for site in good], tmp_path / "apart.parquet")
    together, ledger = join([merged], tmp_path / "together.parquet")
    assert ledger.empty
    pd.testing.assert_frame_equal(apart[together.columns], together)
    monkeypatch.setattr(outputs, "BLOCK_BYTES", 200_000)
    pieces, _ = outputs.read_outputs([merged], Ledger("enter"))
    assert len(pieces) > 1
    blocks, _ = join([merged], tmp_path / "blocks.parquet")
    pd.testing.assert_frame_equal(together, blocks)


def test_a_jump_site_has_109_cells(shared_data, tmp_path):
    cells, ledger = join([shared_data("jump_site_csv")], tmp_path / "c.parquet")
    assert len(cells) == 109 and ledger.empty
    assert cells["Metadata_Plate"].astype(str).unique().tolist() == ["BR00116991"]
    assert len([name for name in cells if not name.startswith("Metadata_")]) > 5900


@pytest.mark.parametrize(
    "break_it, words",
    [
        (lambda folder: (folder / "Nuclei.csv").unlink(), "no table of Nuclei"),
        (lambda folder: (folder / "Image.csv").write_text("ImageNumber\n1\n1\n"), "image number twice"),
        (lambda folder: (folder / "Cells.csv").write_text("a,b\n1,2\n"), "without ImageNumber"),
        (lambda folder: (folder / "Cells.csv").write_bytes(b"\xff\xfe\x00\x01" * 50), "Cells"),
        (lambda folder: (folder / "Image.csv").write_text("Plate\nP\n"), "without ImageNumber"),
    ],
)
def test_each_kind_of_damage_is_one_sentence(shared_data, tmp_path, break_it, words):
    source = shared_data("cellprofiler_output_malformed")
    shutil.copytree(source / "A01-1", tmp_path / "in" / "A01-1")
    shutil.copytree(source / "A01-2", tmp_path / "in" / "A01-2")
    for path in (tmp_path / "in").rglob("*"):
        path.chmod(0o755)
    break_it(tmp_path / "in" / "A01-2")
    names = ["Cells", "Cytoplasm", "Nuclei"]
    cells, ledger = join([tmp_path / "in"], tmp_path / "c.parquet", names)
    assert len(cells) == 10
    assert len(ledger) == 1 and words in ledger["reason"][0] and "A01-2" in ledger["reason"][0]
