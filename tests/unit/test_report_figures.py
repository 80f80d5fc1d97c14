"""Figures show what their tables hold: heatmaps, illumination, maps, scores, run times."""

import numpy as np
import pandas as pd
import pytest
import report_study

from phenoloom.core.tables import read_table
from phenoloom.profiles.similarities import with_similarity
from phenoloom.report import embedding, illumination, plates, run_times, scores, style, summary
from phenoloom.report.gallery import Gallery, read_gallery


@pytest.fixture
def gallery(tmp_path):
    """An empty folder of figures."""
    return Gallery(tmp_path / "figures")


def counted(layout, **tables):
    """Counts per well of a layout."""
    return summary.count_wells(layout, **tables)


def test_a_heatmap_draws_its_data(gallery, monkeypatch):
    drawn = []
    panel = plates._panel
    monkeypatch.setattr(plates, "_panel", lambda axes, grid, *rest: drawn.append(grid) or panel(axes, grid, *rest))
    wells = report_study.layout(["P1"], 24).assign(Cells=np.arange(24.0))
    wells.loc[3, "Cells"] = np.nan
    plates.heatmaps(gallery, wells, "Cells", "cells", "Cells", "How.", "cells")
    data = read_table(gallery.folder / "cells_1.parquet")
    assert np.array_equal(drawn[0].ravel(), data["Cells"], equal_nan=True)
    assert drawn[0].shape == (4, 6) and np.isnan(drawn[0][0, 3])
    assert "n = 23 wells on 1 plate" in gallery.entries[0].caption


def test_grids_have_the_shape_of_the_plate():
    assert plates.as_grid(["A01"], [5.0]).shape == (2, 3)
    grid = plates.as_grid(["P24", "A1", "A01"], [1.0, 2.0, 4.0])
    assert grid.shape == (16, 24) and grid[15, 23] == 1 and grid[0, 0] == 3
    assert np.isnan(plates.as_grid(["B02"], [np.inf])).all()


def test_many_plates_make_pages_and_all_are_written(gallery):
    names = [f"P{number}" for number in range(1, 27)]
    wells = report_study.layout(names, 6).assign(Cells=1.0)
    plates.heatmaps(gallery, wells, "Cells", "cells", "Cells", "How.", "cells", per_page=12)
    assert [entry.page for entry in gallery.entries] == [0, 1, 2]
    drawn = [read_table(gallery.folder / f"cells_{page}.parquet")["Metadata_Plate"].nunique() for page in (1, 2, 3)]
    assert drawn == [12, 12, 2]
    assert "Page 3 of 3" in gallery.entries[2].caption


def test_plates_are_in_natural_order():
    wells = pd.DataFrame({"Metadata_Batch": ["b", "b", "a10", "a9"], "Metadata_Plate": ["P10", "P9", "x", "y"]})
    assert plates.order_plates(wells) == ["y", "x", "P9", "P10"]


@pytest.mark.parametrize("column", ["Cells", "Images"])
def test_nothing_finite_gives_words_and_no_figure(gallery, column):
    wells = counted(report_study.layout(["P1"], 6))
    plates.heatmaps(gallery, wells, column, "x", "Title", "How.", "label")
    assert gallery.entries == [] and gallery.notes == ["Title: nothing to show because no well has a value."]


def test_a_dataset_without_wells_and_one_with_odd_wells_are_survived(gallery):
    empty = summary.summarize([])[1]
    plates.dataset_maps(gallery, empty, pd.DataFrame(columns=["Metadata_Well"]), [])
    assert gallery.entries == [] and len(gallery.notes) == 1
    odd = report_study.layout(["P1"], 6)
    odd["Metadata_Well"] = [f"nowhere {number}" for number in range(6)]
    quality = pd.DataFrame(columns=["Metadata_Plate", "Metadata_Well", "Metadata_Channel"])
    plates.dataset_maps(gallery, counted(odd), quality, [])
    assert gallery.entries == [] and "6 wells not drawn" in gallery.notes[1]


def test_names_with_mathematics_and_markup_are_drawn_as_they_are(gallery):
    wells = report_study.layout([r"$\frac{1}$ <&> x^2_"], 6).assign(Cells=1.0)
    plates.heatmaps(gallery, wells, "Cells", "cells", "Cells", "How.", "cells")
    drawing = (gallery.folder / "cells_1.svg").read_text(encoding="utf-8")
    assert r"$\frac{1}$ &lt;&amp;&gt; x^2_" in drawing


def test_drawings_hold_no_date_and_no_script(gallery):
    wells = report_study.layout([report_study.HOSTILE + "--><script>alert(2)</script>"], 6).assign(Cells=1.0)
    plates.heatmaps(gallery, wells, "Cells", "cells", "Cells", "How.", "cells")
    drawing = (gallery.folder / "cells_1.svg").read_text(encoding="utf-8")
    assert "<script" not in drawing and "<dc:date>" not in drawing
    from defusedxml.ElementTree import fromstring

    assert fromstring(drawing).tag.endswith("svg")


def test_illumination_numbers_are_those_of_the_function(gallery, tmp_path):
    function = report_study.vignette(300)
    function[0, 0] = np.nan
    np.save(tmp_path / "f.npy", function)
    small, numbers = illumination.read_function(tmp_path / "f.npy")
    assert max(small.shape) <= illumination.SIDE
    assert numbers["Maximum"] == pytest.approx(np.nanmax(function))
    assert numbers["Range"] == pytest.approx(np.nanquantile(function, 0.99) / np.nanquantile(function, 0.01), rel=1e-5)
    illumination.function_maps(gallery, {("P", "DNA"): (small, numbers)}, ["DNA", "ER"])
    illumination.function_ranges(gallery, {("P", "DNA"): (small, numbers)}, ["DNA", "ER"])
    data = read_table(gallery.folder / "functions_1.parquet")
    values = data["Value"].to_numpy().reshape(small.shape)
    assert np.allclose(values, small / numbers["Median"], equal_nan=True)
    assert read_table(gallery.folder / "function_range.parquet")["Range"][0] == pytest.approx(numbers["Range"])


def test_a_flat_and_a_broken_function_are_drawn_too(gallery, tmp_path):
    functions = {}
    for name, function in {"flat": np.ones((40, 60)), "broken": np.full((40, 60), np.nan)}.items():
        np.save(tmp_path / "f.npy", function.astype(np.float32))
        functions["P", name] = illumination.read_function(tmp_path / "f.npy")
    illumination.function_maps(gallery, functions, list(dict(functions.keys()).values()) + ["flat", "broken"])
    illumination.function_ranges(gallery, functions, ["flat", "broken"])
    assert len(gallery.entries) == 2
    illumination.function_maps(gallery, {}, [])
    assert "none were estimated" in gallery.notes[0]


def test_maps_leave_out_what_is_missing_and_say_so():
    values = np.random.default_rng(0).normal(size=(40, 6))
    values[:, 0] = np.nan
    values[3, 1] = np.inf
    values[:, 2] = 7
    block, rows, notes = embedding.usable_values(values)
    assert block.shape == (39, 4) and 3 not in rows
    assert notes == ["1 feature with more than 5 % missing values left out", "1 well with missing values left out"]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_wells_give_principal_components(gallery, n):
    table = report_study.profiles(report_study.layout(["P1"], 6)).head(n)
    features = [name for name in table if not name.startswith("Metadata_")]
    embedding.add_maps(gallery, table, features, 1, "d/r/p")
    data = read_table(gallery.folder / "umap.parquet")
    centred = table[features] - table[features].mean()
    distances = np.linalg.norm(centred.to_numpy()[:1] - centred.to_numpy(), axis=1)
    if n < 4:  # two dimensions hold all distances of three points
        shown = data[["X", "Y"]].to_numpy()
        assert np.allclose(np.linalg.norm(shown[:1] - shown, axis=1), distances, rtol=1e-4)
    assert "too few for UMAP" in gallery.entries[0].caption


@pytest.mark.parametrize("n", [0, 1])
def test_no_map_without_two_wells(gallery, n):
    table = report_study.profiles(report_study.layout(["P1"], 6)).head(n)
    embedding.add_maps(gallery, table, [name for name in table if not name.startswith("Metadata_")], 1, "d/r/p")
    assert gallery.entries == [] and "nothing to show" in gallery.notes[0]
    embedding.add_maps(gallery, table[["Metadata_Plate"]], [], 1, "d/r/p")
    assert len(gallery.notes) == 2


def test_features_in_different_units_are_brought_to_one(gallery):
    values = np.random.default_rng(0).normal(size=(50, 6))
    assert not embedding.mixed_units(values)
    assert embedding.mixed_units(values * [1, 1, 1, 1, 1, 1e4])


@pytest.mark.slow
def test_maps_are_the_same_each_time_and_part_what_is_apart():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(30, 60)) - 6, rng.normal(size=(30, 60)) + 6])
    first, second = embedding.embed(values, 3), embedding.embed(values, 3)
    assert [one.axis for one in first] == ["UMAP", "t-SNE"]
    for one, again in zip(first, second, strict=True):
        assert np.array_equal(one.xy, again.xy)
        distances = np.linalg.norm(one.xy[:, None] - one.xy[None], axis=2) + np.diag(np.full(60, np.inf))
        assert ((distances.argmin(axis=1) < 30) == (np.arange(60) < 30)).all()
        assert "first reduced to 50 principal components" in one.method


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 6, 17])
def test_maps_take_few_wells(n):
    for one in embedding.embed(np.random.default_rng(0).normal(size=(n, 8)), 1):
        assert one.method.startswith(one.axis) and np.isfinite(one.xy).all() and one.xy.shape == (n, 2)


def test_both_maps_are_figures_and_t_sne_can_be_left_out(gallery, tmp_path):
    table = report_study.profiles(report_study.layout(["P1"], 6))
    features = [name for name in table if not name.startswith("Metadata_")]
    embedding.add_maps(gallery, table, features, 1, "d/r/p")
    assert [entry.name for entry in gallery.entries] == ["umap", "tsne"]
    alone = Gallery(tmp_path / "alone", gallery.origin)
    embedding.add_maps(alone, table, features, 1, "d/r/p", perplexity=None)
    assert [entry.name for entry in alone.entries] == ["umap"]


def test_similarities_are_mapped_as_such(gallery):
    layout = report_study.layout(["P1"], 40)
    table = report_study.profiles(layout).head(40)
    metadata = table[[name for name in table if name.startswith("Metadata_")]]
    same = np.arange(40) % 2 == (np.arange(40) % 2)[:, None]
    noise = np.random.default_rng(0).uniform(0, 0.01, (40, 40))
    wells = with_similarity(metadata, np.where(same, 0.04, 0.02) + noise + noise.T)
    features = [name for name in wells if name.startswith("Similarity_")]
    embedding.add_maps(gallery, wells, features, 1, "d/r/fusion")
    assert [entry.name for entry in gallery.entries] == ["umap", "tsne"]
    assert "of the similarities between 40 wells" in gallery.entries[0].caption
    for name in ("umap", "tsne"):
        xy = read_table(gallery.folder / f"{name}.parquet")[["X", "Y"]].to_numpy()
        distances = np.linalg.norm(xy[:, None] - xy[None], axis=2) + np.diag(np.full(40, np.inf))
        assert (distances.argmin(axis=1) % 2 == np.arange(40) % 2).mean() > 0.9
    embedding.add_maps(gallery, wells.head(4), features, 1, "d/r/fusion")
    assert len(gallery.entries) == 2 and "only 4 wells, too few" in gallery.notes[0]


def test_categories_keep_their_look_and_the_rest_is_grey():
    values = ["b"] * 3 + ["a"] * 2 + ["c"] + ["", None, np.nan]
    first = style.categories(values, 2)
    assert [name for name, _, _ in first] == ["a", "b"]
    assert len({(colour, marker) for _, colour, marker in style.categories(list("abcdefghijklmnopqrstuv"))}) == 21


def test_the_confusion_matrix_counts_evaluated_rows_only(gallery):
    details = report_study.neighbour_details(report_study.profiles(report_study.layout(["P1", "P2"], 24)))
    labels, counts = scores.confusion_matrix(details)
    assert counts.sum() == details["evaluated"].sum() < len(details)
    assert np.trace(counts) == (details["hit"] & details["evaluated"]).sum()
    scores.add_details(gallery, details, "nsc", "d", "r", "p")
    data = read_table(gallery.folder / "confusion--nsc--d--r--p.parquet")
    assert data["Count"].to_numpy().reshape(len(labels), -1).tolist() == counts.tolist()


@pytest.mark.parametrize("kind", ["precision", "nsc", "energy", "similarity"])
def test_evaluations_without_a_value_give_words(gallery, kind):
    unit = {"unit": ["a"], "note": ["too few"]}
    frames = {
        "precision": {**unit, "mean_average_precision": [np.nan], "qvalue": [np.nan], "significant": [False]},
        "nsc": {**unit, "label": ["x"], "neighbour_label": [None], "evaluated": [False], "hit": [False]},
        "energy": {**unit, "energy_distance": [np.nan], "qvalue": [np.nan], "active": [False]},
        "similarity": {**unit, "median_similarity": [np.nan], "threshold": [np.nan], "matching": [False]},
    }
    scores.add_details(gallery, pd.DataFrame(frames[kind]), kind, "d", "r", "p")
    scores.add_details(gallery, pd.DataFrame(frames[kind]).iloc[:0], kind, "d", "r", "p")
    assert gallery.entries == [] and len(gallery.notes) == 2
    assert all("nothing to show because" in note for note in gallery.notes)


def test_details_of_every_metric_are_drawn(gallery):
    from phenoloom.evaluation.evaluate import evaluate

    table = report_study.profiles(report_study.layout(["P1", "P2", "P3", "P4"], 24, n=5))
    named = {"features": ["Nuclei_AreaShape_Area"]}
    quick = {"permutations": 5, "null_size": 50}
    options = {
        "mean_average_precision": quick,
        "nsc": {"permutations": 5, "bootstrap": 10},
        "percent_replicating": {**quick, "permutations": 2},
        "activity": {"method": "energy", "null_size": 50},
        "control_separation": {**named, "permutations": 5, "bootstrap": 5, "by": ""},
        "dose_response": {**named, "permutations": 20, "bootstrap": 5, "fit": True},
    }
    for metric, own in options.items():
        settings = {"metric": metric, "level": "wells", **own}
        details = evaluate(table.reset_index(drop=True), settings, 1).details
        scores.add_details(gallery, details, metric, "d", "r", "p", settings, table.reset_index(drop=True))
    assert [entry.name.split("--")[0] for entry in gallery.entries] == [
        "precision", "confusion", "similarity", "activity", "controls", "dose_1",
    ]  # fmt: skip
    doses = read_table(gallery.folder / "dose_1--dose_response--d--r--p.parquet")
    assert set(doses.loc[~doses["Control"], "Value"]) <= set(table["Nuclei_AreaShape_Area"].astype(float))


def test_only_main_scores_stand_in_the_overview(gallery):
    table = report_study.scores("d")
    scores.add_overview(gallery, table)
    shown = read_table(gallery.folder / "scores_1.parquet")
    assert shown["evaluation"].tolist() == ["mean_average_precision", "nsc"]
    scores.add_overview(gallery, table.iloc[:0])
    assert "no evaluation gave a value" in gallery.notes[0]


def test_differences_are_drawn_by_reference_and_those_without_common_units_are_not(gallery):
    table = report_study.differences("d")
    other = report_study.differences("d", (report_study.HOSTILE, "$x"))
    scores.add_differences(gallery, pd.concat([table, other]))
    assert [entry.name for entry in gallery.entries] == ["differences_1_1", "differences_2_1"]
    assert gallery.entries[1].title == f"Difference to d/{report_study.HOSTILE}/$x"
    shown = read_table(gallery.folder / "differences_1_1.parquet")
    assert shown["difference"].tolist() == [0.05, -0.25]
    scores.add_differences(gallery, table.iloc[2:])
    assert "no two have a unit in common" in gallery.notes[0]
    scores.add_differences(gallery, table.iloc[:0])
    assert len(gallery.notes) == 1 and len(gallery.entries) == 2


def test_benchmarks_are_read_by_stage(gallery, tmp_path):
    report_study.write_benchmarks(tmp_path / "benchmarks")
    jobs = run_times.read_benchmarks(tmp_path / "benchmarks", ["plates1"])
    assert len(jobs) == 4
    table = run_times.per_stage(jobs).set_index("Stage")
    assert table.loc["cellprofiler", ["Jobs", "CPU_Seconds", "Seconds", "Memory_MB"]].tolist() == [
        2,
        140.0,
        151.0,
        900.0,
    ]
    assert np.isnan(table.loc["layout", "Memory_MB"])
    run_times.add_figure(gallery, jobs)
    assert "1 job too short for a memory reading" in gallery.entries[0].caption
    run_times.add_figure(gallery, run_times.read_benchmarks(tmp_path / "nothing"))
    assert "nothing to show" in gallery.notes[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (59, "59 s"), (59.7, "1 min 00 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min"), (np.nan, "–")],
)
def test_durations_read_well(seconds, text):
    assert run_times.duration(seconds) == text


def test_a_gallery_comes_back_as_it_was_written(gallery):
    gallery.note("Ω <none>")
    plates.heatmaps(gallery, report_study.layout(["P"], 6).assign(Cells=1.0), "Cells", "c", "T", "How.", "cells")
    gallery.write()
    assert read_gallery(gallery.folder) == (gallery.entries, gallery.notes)
