"""The rate that sizes jobs: which sites are measured, what goes first, and the command from images to batches."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from cellprofiler_runs import ROOT, draw_nuclei, launcher
from phenoloom.__main__ import main
from phenoloom.cellprofiler import batches, rate
from phenoloom.config.loading import complete
from phenoloom.config.study import Study
from phenoloom.core.errors import InputError
from phenoloom.ingest import geometry

PLATE = [(f"{row}{column:02d}", site) for row in "ABCD" for column in range(1, 7) for site in (1, 2)]


def test_sites_are_spread_over_plates_rows_and_columns_and_the_same_each_time():
    sites = [(plate, *pair) for plate in ("P1", "P2", "P3", "P4") for pair in PLATE]
    chosen = rate.choose(sites, 4)
    assert [plate for plate, _, _ in chosen] == ["P1", "P2", "P3", "P4"]
    assert len({well[0] for _, well, _ in chosen}) >= 3
    assert len({well[1:] for _, well, _ in chosen}) >= 2
    assert rate.choose(sites[::-1], 4) == chosen


@pytest.mark.parametrize(("count", "number", "due"), [(1, 4, 1), (3, 4, 3), (4, 4, 4), (9, 4, 4)])
def test_no_more_sites_are_measured_than_there_are_and_none_twice(count, number, due):
    sites = [("P1", *pair) for pair in PLATE[: count - 1]] + [("P2", "A01", 1)]
    chosen = rate.choose(sites, number)
    assert len(chosen) == len(set(chosen)) == due


@pytest.fixture
def study(tmp_path):
    """Return study(seconds): a study of one plate of 24 wells with a typed rate or none, results in tmp_path."""

    def make(seconds):
        block = {
            "simulate": {"batches": 1, "plates_per_batch": 1},
            "channels": {"DNA": {}},
            "features": {"cellprofiler": {"pipeline": "x", "minutes_per_job": 4, "seconds_per_site": seconds}},
        }
        return Study(complete({"study": "s", "datasets": {"d": block}}), str(tmp_path))

    (tmp_path / "d").mkdir()
    return make


def test_what_is_typed_goes_first_then_what_was_measured_then_the_default(study, tmp_path):
    assert study(None).seconds_per_site("d") == batches.DEFAULT_SECONDS == 60
    [plate] = study(None).plates("d")
    assert len(study(None).batches("d", plate)) == 6
    rate.write_rate(tmp_path / "d", {"seconds_per_site": 20.0})
    assert study(None).seconds_per_site("d") == 20
    assert len(study(None).batches("d", plate)) == 2
    assert study(40).seconds_per_site("d") == 40
    assert study(40).batch_size("d") == geometry.batch_size(study(40).dataset("d"), tmp_path / "d") == 6


@pytest.mark.parametrize("text", ["", "[]", '{"seconds_per_site": 0}', '{"seconds_per_site": null}'])
def test_a_damaged_rate_is_said(study, tmp_path, text):
    (tmp_path / "d/rate.json").write_text(text)
    with pytest.raises(InputError, match="rate.json holds no measured rate"):
        study(None).batch_size("d")


def stand_in(folder, costs, ledger=()):
    """A script that answers as the rule's script does, and keeps the index that it got."""
    path = folder / "script.py"
    path.write_text(
        "import shutil, sys\n"
        "given = dict(zip(sys.argv[1:], sys.argv[2:]))\n"
        f"shutil.copy(given['--index'], {str(folder / 'index.parquet')!r})\n"
        f"open(given['--costs'], 'w').write({json.dumps(costs)!r})\n"
        f"open(given['--ledger'], 'w').write({''.join(json.dumps(row) + chr(10) for row in ledger)!r})\n"
    )
    return path


def rows(plates=("P1", "P2")):
    places = [(plate, well, site) for plate in plates for well, site in PLATE]
    columns = {"dataset": "d", "batch": "b", "channel": "DNA", "path": "x", "page": 0, "width": 9, "height": 8}
    return pd.DataFrame(places, columns=["plate", "well", "site"]).assign(**columns)


def block(pipeline):
    return complete(
        {
            "study": "s",
            "datasets": {"d": {"simulate": {}, "channels": {"DNA": {}}, "features": {"cellprofiler": pipeline}}},
        }
    )["datasets"]["d"]["features"]["cellprofiler"]


def cost(seconds, peak):
    return {"plate": "P1", "well": "A01", "site": 1, "seconds": seconds + 1, "cpu_seconds": seconds, "peak_mb": peak}


def test_the_first_site_does_not_count_and_the_mean_is_rounded(tmp_path):
    script = stand_in(tmp_path, [cost(100, 300), cost(10, 500), cost(12.44, 400)])
    pipeline = block({"pipeline": str(ROOT / "resources/pipelines/translocation.cppipe")})
    found = rate.measure(rows(), pipeline, ["DNA", "GFP"], script, number=3)
    assert (found["seconds_per_site"], found["cpu_seconds"], found["wall_seconds"]) == (11, 11.22, 12.22)
    assert found["peak_mb"] == 500 and len(found["sites"]) == 2 and found["lost"] == []
    assert not found["first_included"]
    assert found["pipeline_digest"] == batches.pipeline_digest(pipeline["pipeline"])
    asked = pd.read_parquet(tmp_path / "index.parquet")
    assert len(asked) == 4 and set(asked["plate"]) == {"P1", "P2"}


def test_sites_that_fail_are_named_and_when_all_do_there_is_no_rate(tmp_path):
    lost = {"plate": "P1", "well": "A01", "site": "1", "severity": "lost", "reason": "is empty"}
    pipeline = block({"pipeline": str(ROOT / "resources/pipelines/translocation.cppipe")})
    found = rate.measure(rows(), pipeline, ["DNA", "GFP"], stand_in(tmp_path, [cost(1, 1)], [lost]))
    assert found["first_included"]
    assert found["lost"] == ["P1 A01 site 1: is empty"]
    with pytest.raises(InputError, match="measured none of 4 sites: is empty"):
        rate.measure(rows(), pipeline, ["DNA", "GFP"], stand_in(tmp_path, [], [lost]))


def test_plates_of_another_size_stay_out_of_the_batch(tmp_path):
    index = rows(("P1", "P2", "P3"))
    index.loc[index["plate"] == "P2", "width"] = 10
    pipeline = block({"pipeline": str(ROOT / "resources/pipelines/translocation.cppipe")})
    rate.measure(index, pipeline, ["DNA", "GFP"], stand_in(tmp_path, [cost(1, 1)]))
    assert set(pd.read_parquet(tmp_path / "index.parquet")["plate"]) == {"P1", "P3"}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Path of a config of a plate of 6 wells, no geometry, no typed rate; its folder is the working directory."""
    monkeypatch.chdir(tmp_path)
    for number, well in enumerate(("A01", "A02", "A03", "B01", "B02", "B03"), start=1):
        for channel in ("w1", "w2"):
            path = Path("images") / f"{well}_s1_{channel}.tif"
            path.parent.mkdir(exist_ok=True)
            tifffile.imwrite(path, draw_nuclei(number), photometric="minisblack")
    Path("plates.tsv").write_text("plate\timages\tplatemap\nP1\timages\tmap.tsv\n")
    Path("map.tsv").write_text("well\tperturbation\tcontrol\nA01\tDMSO\tnegative\n")
    dataset = {
        "plates": "plates.tsv",
        "channels": {"DNA": {"source": "w1"}, "GFP": {"source": "w2"}},
        "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
        "illumination": {"method": "median"},
        "features": {
            "cellprofiler": {
                "pipeline": str(ROOT / "resources/pipelines/translocation.cppipe"),
                "minutes_per_job": 0.001,
            }
        },
    }
    Path("mine.yaml").write_text(yaml.safe_dump({"study": "mine", "datasets": {"d": dataset}}))
    return tmp_path


def test_a_dataset_without_a_pipeline_has_no_rate(mine, capsys):
    assert main(["rate", "mine.yaml", "--dataset", "e"]) == 1
    assert "no dataset e with a CellProfiler pipeline; there are: d" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["rate", "mine.yaml", "--sites", "0"])


@pytest.mark.cellprofiler
def test_the_command_measures_and_groups_the_sites_anew(mine, capsys, monkeypatch):
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(launcher()).parent), os.environ["PATH"]]))
    assert main(["prepare", "mine.yaml"]) == 0
    assert json.loads(Path("results/mine/d/index/summary.json").read_text())["P1"]["sites"] == [1] * 6
    config = yaml.safe_load(Path("mine.yaml").read_text())
    config["datasets"]["d"]["features"]["cellprofiler"]["minutes_per_job"] = 1
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    assert main(["rate", "mine.yaml", "--sites", "2"]) == 0
    found = json.loads(Path("results/mine/d/rate.json").read_text())
    assert len(found["sites"]) == 2 and found["lost"] == []
    assert 0 < found["cpu_seconds"] < 60 and found["peak_mb"] > 50
    assert found["seconds_per_site"] == pytest.approx(found["cpu_seconds"], rel=0.06)
    expected = batches.assign([(well, 1) for well in "ABCDEF"], batches.batch_size(1, found["seconds_per_site"]))
    grouped = json.loads(Path("results/mine/d/index/summary.json").read_text())["P1"]["sites"]
    assert grouped == [len(batch) for batch in expected]
    assert f"{len(grouped)} CellProfiler job" in capsys.readouterr().out


def test_functions_that_exist_are_taken_and_flat_ones_stand_for_the_rest(tmp_path):
    pipeline = block({"pipeline": str(ROOT / "resources/pipelines/cytoskeleton.cppipe")})
    script = stand_in(tmp_path, [cost(1, 1)])
    text = script.read_text()
    keep = "import numpy; paths = sys.argv[sys.argv.index('--illumination') + 1:sys.argv.index('--options')]\n"
    keep += f"open({str(tmp_path / 'seen.txt')!r}, 'w').write(repr([float(numpy.load(p).mean()) for p in paths]))\n"
    script.write_text(text + keep)
    np.save(tmp_path / "f.npy", np.full((8, 9), 2, np.float32))
    np.save(tmp_path / "other.npy", np.full((4, 4), 3, np.float32))
    functions = {"DNA": tmp_path / "f.npy", "Tubulin": tmp_path / "none.npy", "Actin": tmp_path / "other.npy"}
    rate.measure(rows(), pipeline, ["DNA", "Tubulin", "Actin"], script, functions)
    assert (tmp_path / "seen.txt").read_text() == "[2.0, 1.0, 1.0]"
