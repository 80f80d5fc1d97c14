"""The plan of a run: units of work, rates, corrections by what was measured, time on a number of cores, words."""

import json

import pyarrow as pa
import pytest

from phenoloom.config.loading import complete
from phenoloom.config.study import Study
from phenoloom.core.errors import InputError
from phenoloom.core.tables import write_arrow
from phenoloom.planning import comparison, jobs, rates, schedule, table
from phenoloom.planning.work import RULES, Work
from phenoloom.record.events import Run, read_run
from phenoloom.record.jobs import Benchmark


@pytest.fixture
def study(tmp_path):
    """Two plates of twelve wells with two sites, 500 x 400 pixels, two channels; wells of a table that entered."""
    simulate = {"batches": 1, "plates_per_batch": 2, "wells": 12, "sites": 2, "width": 500, "height": 400}
    simulate |= {"negative_controls": 2, "positive_controls": 0, "inactive_compounds": 1}
    (tmp_path / "published.csv").write_text("x" * 2_000_000)
    config = {
        "study": "s",
        "datasets": {
            "d": {
                "simulate": {**simulate, "channels": ["DNA", "ER"], "mechanisms": ["nuclear size"]},
                "channels": {"DNA": {}, "ER": {}},
                "images": {"format": "pattern", "pattern": "{well}_s{site}_{channel}.tif"},
                "features": {"cellprofiler": {"pipeline": "p.cppipe", "minutes_per_job": 1, "seconds_per_site": 10}},
                "representations": {"old": {"table": str(tmp_path / "published.csv"), "level": "wells"}},
            }
        },
        "profiles": {"default": [{"aggregate": {"operation": "median"}}]},
        "evaluation": {"nsc": {"metric": "nsc"}, "replicates": {"metric": "mean_average_precision"}},
    }
    return Study(complete(config), str(tmp_path / "results"))


def job(rule, threads=1, mem_mb=500, gpu=0, inputs=(), outputs=("out",), benchmark=None, **wildcards):
    return jobs.Job(rule, wildcards, threads, mem_mb, gpu, list(inputs), list(outputs), benchmark)


def rate(unit, fixed, per_unit, largest=1e9):
    return rates.Rate(unit, fixed, per_unit, largest)


def took(seconds, cpu=None, mb=None):
    return jobs.Done(seconds, cpu, None, mb)


@pytest.mark.parametrize(
    ("unit", "of", "units"),
    [
        ("image", job("index", dataset="d", plate="B1P1", batch="0001"), 6 * 2),
        ("image", job("plate_index", dataset="d", plate="B1P1"), 24 * 2),
        ("image", job("dataset_summary", dataset="d"), 2 * 24 * 2),
        ("image megapixel", job("illumination_d", plate="B1P1"), 24 * 2 * 0.2),
        ("function megapixel", job("illumination_d", plate="B1P1"), 2 * 0.2),
        ("field megapixel", job("figure_montage", dataset="d"), 4 * 3 * 2 * 0.2),
        ("pipeline second", job("cellprofiler", dataset="d", plate="B1P1", batch="0001"), 60),
        ("well", job("aggregate", dataset="d", plate="B1P1", representation="cellprofiler", profile="default"), 12),
        ("well", job("profile", dataset="d", representation="cellprofiler", profile="default"), 24),
        ("well", job("profile", dataset="d", representation="old", profile="default"), None),
        ("MB of tables", job("enter", dataset="d", representation="old", level="wells"), 2),
        ("evaluation", job("evaluation_table"), 4),
        ("batch", job("ledger"), 8),
        ("plate", job("report"), 2),
    ],
)
def test_the_work_of_a_job_is_known_before_it_runs(study, unit, of, units):
    assert Work(study).units(of, unit) == (units if units is None else pytest.approx(units))


def test_pairs_of_an_evaluation_are_those_of_its_level(study):
    places = {"dataset": "d", "representation": "cellprofiler", "profile": "default"}
    work = Work(study)
    assert work.units(job("evaluate", evaluation="replicates", **places), "million pairs") == 24**2 / 1e6
    treatments = work.units(job("evaluate", evaluation="nsc", **places), "million pairs")
    assert 0 < treatments < 24**2 / 1e6
    assert work.kind(job("evaluate", evaluation="nsc", **places)) == "evaluate nsc"


def test_before_the_layout_is_made_wells_and_treatments_come_from_the_plate_maps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.tsv").write_text("well\tperturbation\tcontrol\nA01\tDMSO\tnegative\nA02\tx\t\nB01\tx\t\n")
    (tmp_path / "plates.tsv").write_text("plate\timages\tplatemap\nP1\ti\tmap.tsv\nP2\ti\tmap.tsv\n")
    dataset = {"plates": "plates.tsv", "channels": {"DNA": {}}, "images": {"format": "imagexpress"}}
    config = complete({"study": "s", "datasets": {"d": {**dataset, "geometry": {"wells": 96, "sites": 4}}}})
    config["evaluation"] = {"nsc": {"metric": "nsc", "level": "treatments"}}
    work = Work(Study(config, "results"))
    of = {"dataset": "d", "representation": "cellprofiler", "profile": "default"}
    assert work.units(job("profile", **of), "well") == 6
    assert work.units(job("evaluate", evaluation="nsc", **of), "million pairs") == pytest.approx(2**2 / 1e6)
    (tmp_path / "map.tsv").unlink()
    assert Work(Study(config, "results")).units(job("profile", **of), "well") == 2 * 96


def test_the_work_on_single_events_is_their_number(tmp_path):
    (tmp_path / "samples.tsv").write_text("sample\timages\none\ti\ntwo\tj\n")
    events = {"format": "crops", "pattern": "{event}.png"}
    dataset = {"assay": "cytometry", "samples": str(tmp_path / "samples.tsv"), "channels": {"DNA": {}}}
    dataset |= {"events": events, "features": {"classical": {}}}
    learned = [{"metric": {"method": "lfda"}}]
    config = {"study": "s", "datasets": {"d": dataset}, "cell_profiles": {"none": [{"pca": {"n": 2}}], "lfda": learned}}
    config["evaluation"] = {"clusters": {"metric": "clusters", "level": "cells"}}
    work = Work(Study(complete(config), str(tmp_path)))
    (tmp_path / "d/manifests").mkdir(parents=True)
    counted = {name: {"events": number, "height": 9, "width": 9} for name, number in (("one", 7), ("two", 4))}
    (tmp_path / "d/manifests/summary.json").write_text(json.dumps(counted))
    assert work.units(job("events", dataset="d", sample="one"), "event") == 7
    of = {"dataset": "d", "representation": "classical"}
    assert work.units(job("cell_profile", **of, profile="lfda"), "event") == 11
    assert work.units(job("anndata", **of), "cell profile of an event") == 22
    kinds = [work.kind(job("cell_profile", **of, profile=name)) for name in ("none", "lfda")]
    assert kinds == ["cell_profile", "cell_profile lfda"]
    assert work.kind(job("evaluate", evaluation="clusters", **of, profile="lfda")) == "evaluate clusters"
    assert work.holds(job("events", dataset="d", sample="two")) and not work.holds(
        job("events", dataset="d", sample="x")
    )
    assert not work.holds(job("cell_profile", **of, profile="gone"))


def test_rows_of_a_table_that_entered_are_known_once_it_did(study):
    old = job("profile", dataset="d", representation="old", profile="default")
    path = f"{study.results}/d/representations/old/wells/all.parquet"
    write_arrow(path, pa.table({"x": list(range(7))}), {})
    assert Work(study).units(old, "well") == 7


def test_jobs_of_what_the_study_no_longer_has_are_told(study):
    work = Work(study)
    assert work.holds(job("index", dataset="d", plate="B1P1", batch="0004"))
    assert not work.holds(job("index", dataset="d", plate="B1P1", batch="0005"))
    assert not work.holds(job("quality", dataset="d", plate="B1P2"))
    assert not work.holds(job("illumination_e", plate="B1P1"))
    assert not work.holds(job("profile", dataset="d", representation="new", profile="default"))
    assert not work.holds(job("evaluate", evaluation="old", dataset="d", representation="old", profile="default"))
    assert work.holds(job("aggregate", dataset="d", representation="old", profile="default", plate="all"))
    assert work.holds(job("report"))


def test_every_rule_that_is_known_has_a_shipped_rate():
    shipped = rates.read_shipped().rates
    kinds = {kind for kind, _ in shipped}
    assert {rule for rule in RULES if rule not in kinds and rule != "evaluate"} == set()
    assert {f"evaluate {name}" for name in ("nsc", "nscb", "activity", "dose_response")} <= kinds
    for quantity in rates.QUANTITIES:
        assert {kind for kind in kinds if (kind, quantity) not in shipped} == set()
    assert all(one.fixed >= 0 and one.per_unit >= 0 and one.fixed + one.per_unit > 0 for one in shipped.values())


def test_a_damaged_file_of_rates_is_one_sentence(tmp_path):
    path = tmp_path / "rates.tsv"
    path.write_text("kind\tquantity\nindex\tcpu_seconds\n")
    with pytest.raises(InputError, match=r"rates\.tsv cannot be read; restore it"):
        rates.read_shipped(path)


def test_a_shipped_rate_grows_with_the_work(study):
    shipped = {("quality", "cpu_seconds"): rate("image megapixel", 2, 0.5)}
    estimate = rates.Estimator(Work(study), shipped)(job("quality", dataset="d", plate="B1P1"))
    assert estimate.cpu_seconds == pytest.approx(2 + 0.5 * 9.6)
    assert estimate.disk_mb is None


def test_jobs_that_ran_here_correct_the_rate_of_those_that_remain(study):
    shipped = {("quality", name): rate("image megapixel", 1, 1) for name in rates.QUANTITIES}
    done = [(job("quality", dataset="d", plate="B1P1"), took(3 * 10.6, cpu=2 * 10.6))]
    estimate = rates.Estimator(Work(study), shipped, done)(job("quality", dataset="d", plate="B1~20P2"))
    assert estimate.wall_seconds == pytest.approx(3 * 10.6)
    assert estimate.cpu_seconds == pytest.approx(2 * 10.6)
    assert estimate.disk_mb == pytest.approx(10.6)
    assert estimate.source == "measured here"


def test_rates_of_processors_are_said_where_jobs_ask_for_a_gpu(study):
    shipped = {("embed", name): rate("job", 3600, 0) for name in rates.QUANTITIES}
    one = job("embed", gpu=1, dataset="d")
    wall = schedule.schedule([one], [3600], 1)
    for done, expected in (((), True), (((one, took(60, cpu=60, mb=1)),), False)):
        lines = table.lines([one], [rates.Estimator(Work(study), shipped, done)(one)])
        said = " ".join(table.meaning(lines, wall, 1))
        assert ("rates of embed were measured on processors" in said) == expected


def test_a_rule_without_a_rate_is_said_to_have_none_and_left_out_of_the_sums(study):
    estimator = rates.Estimator(Work(study), {("quality", "cpu_seconds"): rate("job", 3600, 0)})
    known, new = job("quality", dataset="d", plate="B1P1"), job("embed", gpu=1, dataset="d")
    estimates = [estimator(one) for one in (known, new)]
    assert estimates[1] == (None, None, None, "no rate known")
    lines = table.lines([known, new], estimates)
    assert lines[-1].rule == "embed" and lines[-1].gpu_hours is None
    text = table.table(lines)
    assert "no rate known" in text and text.splitlines()[-1].split()[3] == "1.00"
    wall = schedule.schedule([known], [0], 1)
    assert any("No rate is known for" in said for said in table.meaning(lines, wall, 1))


def test_a_rule_without_a_rate_that_ran_here_takes_what_it_took_here(study):
    done = [(job("embed", dataset="d"), took(seconds, mb=4)) for seconds in (10, 30)]
    estimate = rates.Estimator(Work(study), {}, done)(job("embed", gpu=2, dataset="d"))
    assert (estimate.wall_seconds, estimate.disk_mb, estimate.source) == (20, 4, "measured here")
    assert table.lines([job("embed", gpu=2)], [estimate])[0].gpu_hours == pytest.approx(2 * 20 / 3600)


def test_the_source_of_a_rate_is_named(study, tmp_path):
    shipped = {
        ("cellprofiler", "wall_seconds"): rate("pipeline second", 5, 1),
        ("quality", "wall_seconds"): rate("image", 1, 1, largest=4),
        ("profile", "wall_seconds"): rate("well", 1, 1),
    }
    estimator = rates.Estimator(Work(study), shipped)
    batch = job("cellprofiler", dataset="d", plate="B1P1", batch="0001")
    assert estimator(batch).source == "config: 10 s a site"
    assert estimator(batch).wall_seconds == 5 + 6 * 10
    assert estimator(job("quality", dataset="d", plate="B1P1")).source == "shipped, extrapolated"
    entered = estimator(job("profile", dataset="d", representation="old", profile="default"))
    assert (entered.wall_seconds, entered.source) == (1, "shipped, size unknown")
    study.pipeline("d")["seconds_per_site"] = None
    plan = rates.Estimator(Work(Study(study.config, study.results)), shipped)
    assert plan(batch).source == "guess: 60 s a site"
    (tmp_path / "results/d").mkdir(parents=True)
    (tmp_path / "results/d/rate.json").write_text(json.dumps({"seconds_per_site": 12.0}))
    plan = rates.Estimator(Work(Study(study.config, study.results)), shipped)
    assert plan(batch).source == "make rate: 12 s a site"


def test_jobs_wait_for_what_they_read_and_for_cores():
    # a and b can run at once, c reads both; d needs two cores and nothing else
    of = [
        job("a", outputs=["a"]),
        job("b", outputs=["b"]),
        job("c", inputs=["a", "b", "image.tif"], outputs=["c"]),
        job("d", threads=2, outputs=["d"]),
    ]
    wall = schedule.schedule(of, [10, 20, 5, 3], 2)
    assert wall == (25, (10 + 20 + 5 + 2 * 3) / 2, 28)
    assert schedule.schedule(of, [10, 20, 5, 3], 100).placed == 25
    assert schedule.schedule(of, [10, 20, 5, 3], 1).placed == 38
    assert schedule.schedule([], [], 1) == (0, 0, 0)


def test_jobs_are_read_from_events(tmp_path):
    event = {"event": "job", "rule": "quality", "wildcards": {"dataset": "d"}, "threads": 2, "output": ["q"]}
    listed = [
        {**event, "jobid": 1, "resources": {"mem_mb": 700, "gpu": 1}, "input": ["i"], "benchmark": "b.tsv"},
        {**event, "jobid": 2, "resources": {"mem_mb": "<TBD>"}},
        {"event": "job", "jobid": 0, "rule": "all", "output": [], "benchmark": None},
    ]
    (tmp_path / "run.jsonl").write_text("".join(json.dumps(one) + "\n" for one in listed))
    first, second, target = jobs.planned(read_run(tmp_path / "run.jsonl"))
    assert (first.threads, first.mem_mb, first.gpu, first.inputs, first.outputs) == (2, 700, 1, ["i"], ["q"])
    assert (second.mem_mb, second.gpu) == (None, 0)
    assert first.works() and not target.works()


def test_what_finished_jobs_took_is_read_from_the_last_run_that_did_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/image.tif").write_bytes(bytes(1_500_000))
    event = {"event": "job", "jobid": 1, "rule": "r", "output": ["out"], "benchmark": "b.tsv"}
    failed = {**event, "jobid": 2, "benchmark": "never.tsv"}
    runs = []
    for number, threads in enumerate((1, 3)):
        lines = [{**event, "threads": threads}, failed, {"event": "finished", "jobid": 1}]
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        runs.append(read_run(path))
    [(one, found)] = jobs.done(runs, {"b.tsv": Benchmark(0, [{"s": "4.0", "max_rss": "100", "cpu_time": "2.0"}])})
    assert one.threads == 3
    assert found == (4.0, 2.0, 100, 1.5)


@pytest.mark.parametrize(
    ("seconds", "cpu", "whole"),
    [
        ("30.5", "15.5", 30.5),  # the last look was at 15.5 s, when one core had worked all the time
        ("60.0", "45.5", 60.0),
        ("1800.0", "-", None),
        ("0.2", "0", 0.2),
        ("0.4", "-", 0.4),
    ],
)
def test_processor_time_after_the_last_look_is_added(seconds, cpu, whole):
    found = jobs.took([{"s": seconds, "cpu_time": cpu}])
    assert found.cpu_seconds == (whole if whole is None else pytest.approx(whole))


def test_of_repeats_the_mean_counts_and_a_table_without_a_time_does_not():
    assert jobs.took([{"s": "1", "max_rss": "-"}, {"s": "3", "max_rss": "50"}]) == (2, None, 50, None)
    assert jobs.took([]) is None


def test_the_table_names_each_stage_once_and_adds_up(study):
    estimator = rates.Estimator(Work(study), {("quality", "cpu_seconds"): rate("job", 1800, 0)})
    of = [job("quality", threads=2, mem_mb=memory, dataset="d", plate="B1P1") for memory in (500, 2000)]
    of += [job("cells", dataset="d", plate="B1P1"), job("cellprofiler", dataset="d", plate="B1P1", batch="0001")]
    lines = table.lines(of, [estimator(one) for one in of])
    assert [line.rule for line in lines] == ["quality", "cellprofiler", "cells"]
    assert lines[0][:5] == ("quality", "quality", 2, 2, 1.0)
    assert lines[0].memory_mb == 2000
    rows = table.table(lines).splitlines()
    assert rows[2].startswith("features") and rows[3].startswith(" ")
    assert rows[-1].split()[:4] == ["total", "4", "2", "1.00"]


def test_a_comparison_counts_only_what_is_known_of_both():
    done = [(job("quality"), took(20, cpu=10, mb=3)), (job("quality"), took(20))]
    estimates = [rates.Estimate(5, 10, None, "shipped")] * 2
    [line] = comparison.compare(done, estimates)
    assert line.cpu_seconds == (5, 10)
    assert line.wall_seconds == (20, 40)
    assert line.disk_mb == (None, None)
    text = comparison.text([line])
    assert text.splitlines()[1].split()[:2] == ["quality", "2"] and "2.00" in text


def test_the_time_of_runs_is_from_their_start_to_their_end():
    done = Run("", {"time": 100}, finished={"1": 130}, ended=140)
    killed = Run("", {"time": 200}, finished={"1": 250})
    looked = Run("", {"time": 300}, ended=400)
    assert comparison.elapsed([done, killed, looked]) == [40, 50]
