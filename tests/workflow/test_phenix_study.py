"""One real Opera Phenix field the whole way: its names, quality, illumination, its own pipeline, profile and report."""

import shutil

import numpy as np
import pytest
import yaml

from phenoloom.config.loading import read_config
from phenoloom.core.tables import read_table
from phenoloom.ingest.prepare import prepare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cellprofiler,
    pytest.mark.skipif(shutil.which("phenoloom-cellprofiler") is None, reason="CellProfiler is not built (make env)"),
]

CHANNELS = {"Brightfield": "ch1", "ER": "ch2", "AGP": "ch3", "Mito": "ch4", "DNA": "ch5", "RNA": "ch6"}


@pytest.fixture(scope="module")
def study(snakemake, shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("phenix")
    data = shared_data("phenix_field")
    (folder / "plates.tsv").write_text(f"batch\tplate\timages\tplatemap\n1\tBR 1\t{data}\tplatemap.tsv\n")
    (folder / "platemap.tsv").write_text("well\tperturbation\tcontrol\nC03\tDMSO\tnegative\n")
    dataset = {
        "plates": "plates.tsv",
        "channels": {name: {"source": source} for name, source in CHANNELS.items()},
        "images": {"format": "phenix"},
        # The pipeline subtracts what its authors estimated as background, so the functions keep the images' scale.
        "illumination": {"method": "gaussian", "rescale": False, "downsample": 4, "filter_size": 60},
        "features": {"cellprofiler": {"pipeline": str(data / "analysis.cppipe"), "masks": ["Cells"]}},
    }
    config = {
        "study": "phenix",
        "datasets": {"field": dataset},
        "profiles": {"raw": [{"aggregate": {"operation": "median"}}]},
        "evaluation": {},
    }
    (folder / "phenix.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.chdir(folder)
    prepare(read_config("phenix.yaml"), "results/phenix", threads=1)
    monkeypatch.undo()
    snakemake(folder, "--configfile", "phenix.yaml")
    return folder / "results/phenix"


def test_the_field_is_indexed_measured_and_corrected(study):
    index = read_table(study / "field/index/BR~201.parquet")
    assert sorted(index["channel"]) == sorted(CHANNELS)
    assert set(zip(index["well"], index["site"], strict=True)) == {("C03", 3)}
    quality = read_table(study / "field/quality/BR~201.parquet")
    slopes = quality.set_index("Metadata_Channel")["Quality_PowerLogLogSlope"]
    assert len(slopes) == 6
    # Fluorescence in focus falls off steeply with frequency; this thin brightfield plane is nearly white noise.
    assert slopes.drop("Brightfield").between(-3, -2).all() and slopes["Brightfield"] > -1
    for channel in CHANNELS:
        function = np.load(study / f"field/illumination/BR~201/{channel}.npy", allow_pickle=False)
        assert function.shape == (1080, 1080) and function.dtype == np.float32 and (function > 0).all()


def test_its_own_pipeline_gives_cells_a_profile_and_a_report(study):
    cells = read_table(study / "field/representations/cellprofiler/cells/BR~201.parquet")
    assert len(cells) >= 10
    assert sum(name.startswith("Cells_Granularity_") for name in cells) == 16 * 6
    wells = read_table(study / "field/profiles/cellprofiler/raw/wells.parquet")
    assert wells["Metadata_Well"].tolist() == ["C03"]
    assert (study / "report.html").stat().st_size > 50_000
