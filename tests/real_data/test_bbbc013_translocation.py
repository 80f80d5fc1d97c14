"""FKHR-GFP moves into the nucleus with the dose: CellProfiler's ratio on the real plate, by our own pipeline.

The feature was named before anyone looked: the median over a well's cells of Nuclei_Math_NuclearToCytoplasmicGFP.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from cellprofiler_runs import ROOT, run_script, write_index
from phenoloom.cells.table import write_plate
from phenoloom.core.ledger import Ledger

pytestmark = [pytest.mark.cellprofiler, pytest.mark.slow]

FEATURE = "Nuclei_Math_NuclearToCytoplasmicGFP"


@pytest.fixture(scope="module")
def wells(shared_data, tmp_path_factory):
    """Ratio, dose and control of the 96 wells."""
    folder = tmp_path_factory.mktemp("bbbc013")
    data = shared_data("bbbc013")
    layout = pd.read_csv(data / "1049_Metadata.csv", dtype={"Column": str})
    layout["well"] = layout["Row"] + layout["Column"]
    sites = {}
    for file in (data / "images").glob("*.tif"):
        channel, _, row, column = file.stem.split("-")
        name = {"Channel1": "GFP", "Channel2": "DNA"}[channel]
        sites.setdefault((f"{row}{column}", 1), {})[name] = file
    assert len(sites) == 96
    index = write_index(folder / "index.parquet", sites)
    pipeline = ROOT / "resources" / "pipelines" / "translocation.cppipe"
    output, ledger, _ = run_script(folder, index, pipeline, ["GFP", "DNA"])
    assert ledger == []
    (folder / "none.jsonl").write_text("")
    paths = folder / "cells.parquet", folder / "images.parquet"
    write_plate([output], [folder / "none.jsonl"], paths, {}, 1, Ledger("cells"))
    cells = pd.read_parquet(paths[0], columns=["Metadata_Well", FEATURE])
    assert cells[FEATURE].notna().all() and len(cells) > 10_000
    ratio = cells.groupby(cells["Metadata_Well"].astype(str))[FEATURE].median()
    return layout.assign(ratio=layout["well"].map(ratio))


def test_controls_are_separated(wells):
    negative = wells.loc[wells["SBS_Controls"] == -1, "ratio"]
    positive = wells.loc[wells["SBS_Controls"] == 1, "ratio"]
    assert (len(negative), len(positive)) == (16, 8)
    z_prime = 1 - 3 * (negative.std() + positive.std()) / abs(positive.mean() - negative.mean())
    assert z_prime >= 0.64


@pytest.mark.parametrize("rows", ["ABCD", "EFGH"])
def test_the_ratio_rises_with_the_dose_of_each_compound(wells, rows):
    compound = wells[wells["Row"].isin(list(rows))]
    by_dose = compound.groupby("SBS_Doses")["ratio"].mean()
    assert spearmanr(by_dose.index, by_dose).statistic > 0.9
    assert np.all(np.diff(by_dose.loc[2:6]) > 0), "rises without a break between the plateaus"
    assert by_dose.iloc[-1] > 4 * by_dose.iloc[0]
