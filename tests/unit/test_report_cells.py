"""Figures and sections of single cells: what is drawn, what is said, and what a study without plates shows."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_study
import tifffile
from sklearn.feature_selection import f_classif
from test_anndata_file import CHAINS, OPTIONS, cells, study, without_umap  # noqa: F401 - a fixture
from test_report_page import Reader

import event_sample
from phenoloom.core.errors import InputError
from phenoloom.core.ledger import SCHEMA, Ledger
from phenoloom.core.tables import feature_columns, write_table
from phenoloom.evaluation.clustering import clusters
from phenoloom.metric_learning.transform import arrays_of
from phenoloom.report import cell_gallery, cell_scores, contents, samples
from phenoloom.report import cells as figures
from phenoloom.report.anndata_file import read_maps, write_anndata
from phenoloom.report.assembly import CellDataset, page
from phenoloom.report.chains import chain_of, in_order, leading
from phenoloom.report.gallery import Gallery, read_gallery
from phenoloom.report.page import Section

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = report_study.HOSTILE
OF = {name: chain_of(steps) for name, steps in CHAINS.items()}


@pytest.fixture(autouse=True)
def same_environment():
    """What a job sets for its threads is gone after a test: numba takes no other number once it has some."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def gallery(tmp_path):
    return Gallery(tmp_path / "figures")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """obs and maps of cells with a profile of each kind."""
    folder = tmp_path_factory.mktemp("maps")
    tables, profiles, _ = study(folder)
    write_anndata(folder / "c.h5ad", tables, profiles, ["BF", "DNA"], OPTIONS, 1)
    return read_maps(folder / "c.h5ad")[:2]


def test_a_chain_says_what_it_is():
    assert OF["none"].words == "no metric, held out" and OF["lfda"].words == "LFDA, held out"
    assert OF["shuffled"].words == "no metric on shuffled Label, transductive"
    assert in_order({name: OF[name] for name in ("shuffled", "lfda", "none")}) == ["none", "lfda", "shuffled"]
    assert leading(OF) == "lfda" and leading({}) is None


def test_maps_hold_every_cell_of_every_profile_with_its_own_colour(gallery, maps):
    obs, xy = maps
    figures.add_maps(gallery, obs, xy, OF, "Label", "d/classical")
    gallery.write()
    entries, notes = read_gallery(gallery.folder)
    assert [entry.name for entry in entries] == ["maps_by_label_1", "maps_by_leiden_1"] and notes == []
    data = pd.read_parquet(gallery.folder / "maps_by_label_1.parquet")
    assert data["Profile"].value_counts().tolist() == [len(obs)] * 3
    own = data[data["Profile"] == "shuffled"].set_index(["Metadata_Sample", "Metadata_Event"])["Colour"]
    index = pd.MultiIndex.from_arrays([obs["Sample"].astype(object), obs["Event"]])
    assert own.loc[index].tolist() == obs["Label_shuffled"].astype(object).fillna("").tolist()
    assert "fitted on" in entries[0].caption and f"n = {len(obs)}" in entries[0].caption
    assert (gallery.folder / "maps_by_label_1.svg").stat().st_size < 1_000_000


def test_a_t_sne_has_figures_of_its_own(gallery, maps):
    obs, xy = maps
    turned = {name: points[:, ::-1] for name, points in xy["umap"].items()}
    figures.add_maps(gallery, obs, {**xy, "tsne": turned}, OF, "Label", "d/classical")
    names = ["maps_by_label_1", "tsne_by_label_1", "maps_by_leiden_1", "tsne_by_leiden_1"]
    assert [entry.name for entry in gallery.entries] == names
    assert gallery.entries[1].caption.startswith("t-SNE") and gallery.entries[1].title.endswith("t-SNE")
    one, other = (pd.read_parquet(gallery.folder / f"{name}.parquet") for name in names[:2])
    assert one["X"].tolist() == other["Y"].tolist()


def test_without_labels_or_maps_it_is_said(gallery, maps):
    obs, xy = maps
    figures.add_maps(
        gallery, obs.drop(columns="Label"), {"umap": {"none": xy["umap"]["none"]}}, {"none": OF["none"]}, "Label", "t"
    )
    figures.add_maps(gallery, obs, {}, {}, "Label", "t")
    assert [entry.name for entry in gallery.entries] == ["maps_by_leiden_1"]
    assert "no sample has such a column" in gallery.notes[0] and "nothing to show" in gallery.notes[1]


def test_separation_is_the_f_statistic_and_alike_features_are_drawn_once():
    table = cells("one", 60, 3)
    labels = table["Metadata_Label"].to_numpy(object)
    values = table[feature_columns(table)].to_numpy(np.float64)[:, 1:]
    values = np.column_stack([values, np.ones(60), 2 * values[:, 2], np.full(60, np.nan)])
    found = figures.separation(values, labels)
    known = labels != ""
    np.testing.assert_allclose(found[:4], f_classif(values[known][:, :4], labels[known].astype(str))[0])
    assert np.isnan(found[[4, 6]]).all()
    names = [f"f{number}" for number in range(7)]
    chosen = figures.separating(values, names, labels, number=7)
    assert len({"f2", "f5"} & set(chosen)) == 1 and not {"f4", "f6"} & set(chosen)
    assert np.isnan(figures.separation(values, np.full(60, "one"))).all()


def test_histograms_show_the_scaling_of_the_profile(gallery, tmp_path):
    _, profiles, whole = study(tmp_path)
    scaled = figures.scaled_features(profiles["lfda"][1], whole)
    training = pd.read_parquet(profiles["lfda"][0])["Metadata_Split"].astype(str).to_numpy() == "train"
    np.testing.assert_allclose(scaled[training].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[training].std(ddof=0), 1, atol=1e-6)
    table, labels = whole[feature_columns(whole)], whole["Metadata_Label"].to_numpy(object)
    figures.add_histograms(gallery, table, labels, [], scaled, "t", "Label")
    assert "chosen because they part these labels" in gallery.entries[0].caption
    data = pd.read_parquet(gallery.folder / "histograms.parquet")
    assert set(data["Scaling"]) == {"before", "after"}
    figures.add_histograms(gallery, table, labels, ["Cells_AreaShape_Area_DNA", "Aera"], None, "t", "Label")
    assert "there is no feature Aera" in gallery.notes[0] and len(gallery.entries) == 2
    figures.add_histograms(gallery, table, np.full(len(table), ""), [], None, "t", "Label")
    assert "do not have two values" in gallery.notes[1]


def stacks(folder, n=12, channels=2):
    """A stack whose pixels say which cell and channel they are of, and obs of its cells in another order."""
    stack = np.zeros((n, channels, 8, 10), np.float32)
    stack += 10 * np.arange(n, dtype=np.float32)[:, None, None, None] + np.arange(channels)[None, :, None, None]
    np.save(folder / "s.npy", stack)
    obs = pd.DataFrame({"Sample": "s", "Event": np.arange(n) * 3, "ObjectNumber": np.arange(n) + 1})
    return {"s": folder / "s.npy"}, obs.sample(frac=1, random_state=0)


def test_pictures_are_of_the_cells_that_the_data_names(gallery, tmp_path):
    paths, obs = stacks(tmp_path)
    found = cell_gallery.read_cells(obs, paths, ["DNA", "ER"])
    assert [image["ER"][0, 0] for image in found] == [10 * (number - 1) + 1 for number in obs["ObjectNumber"]]
    groups = np.where(obs["ObjectNumber"] % 2, HOSTILE, "")
    kinds = {"DNA": "fluorescence", "ER": "fluorescence"}
    for name in ("a", "b"):
        cell_gallery.add_gallery(gallery, name, ("t", "s."), obs, groups, paths, kinds, 4, 7)
    data = pd.read_parquet(gallery.folder / "a_1.parquet")
    assert len(data) == 4 and data["Metadata_Event"].is_unique and (data["Metadata_Event"] // 3 % 2 == 0).all()
    caption = gallery.entries[0].caption
    assert "n = 4 cells of 1 group in 2 channels" in caption and "DNA blue, ER green" in caption
    again = Gallery(tmp_path / "again")
    cell_gallery.add_gallery(again, "a", ("t", "s."), obs, groups, paths, kinds, 4, 7)
    for ending in ("svg", "png", "parquet"):
        assert (again.folder / f"a_1.{ending}").read_bytes() == (gallery.folder / f"a_1.{ending}").read_bytes()


def test_a_line_of_pictures_shows_every_channel_in_grey():
    cell = {"BF": np.full((2, 3), 5.0), "DNA": np.zeros((2, 3))}
    kinds = {"BF": "brightfield", "DNA": "fluorescence"}
    picture = cell_gallery.strip([cell], kinds, {"blue": "DNA"}, {"BF": (0.0, 10.0), "DNA": (0.0, 1.0)}, per=2)
    assert picture.shape == (2 * 2 + cell_gallery.GAP, 2 * 3 + cell_gallery.GAP, 3)
    assert (picture[:2, :3] == 0.5).all() and (picture[-2:, :3] == 0).all() and (picture[:, 3:] == 1).all()


def test_stacks_of_other_cells_are_refused(tmp_path):
    paths, obs = stacks(tmp_path)
    with pytest.raises(InputError, match=r"s\.npy does not hold cell 13 in 2 channels"):
        cell_gallery.read_cells(obs.assign(ObjectNumber=13), paths, ["DNA", "ER"])
    with pytest.raises(InputError, match="there is no stack of sample other"):
        cell_gallery.read_cells(obs.assign(Sample="other"), paths, ["DNA", "ER"])


def ledger_of(folder, sample, **rows):
    """Path of a ledger of lost events by reason."""
    ledger = Ledger("events", dataset="d")
    for reason, number in rows.items():
        ledger.add(f"{reason} {HOSTILE}", unit="event", count=number)
    if sample == "two":
        ledger.add("the join was not checked", "flagged", unit="plate")
        ledger.add("x.fcs: $TOT is missing", "flagged", unit="file")
    path = folder / f"{sample}.ledger.parquet"
    ledger.write(path)
    return path


def counted(folder):
    """Tables of two samples of one dataset."""
    tables, ledgers = [], {}
    for number, sample in enumerate(("one", "two")):
        table = cells(sample, 40 + number, number).assign(Metadata_Batch="b<1>", Metadata_Label=["G1", HOSTILE][number])
        tables.append(folder / f"{sample}.parquet")
        write_table(tables[-1], table)
        ledgers[sample] = [ledger_of(folder, sample, empty=3, saturated=number)]
    return samples.count_samples(tables, ledgers, "Label")


def test_events_are_counted_as_found_lost_and_kept(tmp_path):
    found, labels, lost = counted(tmp_path)
    assert found[["Metadata_Sample", "Found", "Lost", "Kept"]].to_numpy().tolist() == [
        ["one", 43, 3, 40],
        ["two", 45, 4, 41],
    ]
    assert found["Unchecked"].tolist() == ["", "the join was not checked"] and found["Odd"].tolist() == [0, 1]
    assert samples.label_rows(labels) == [("G1", 40), (HOSTILE, 41)]
    rows = samples.reason_rows(lost)
    assert (rows[0]["count"], rows[0]["samples"]) == (6, ["one", "two"]) and rows[-1]["severity"] == "flagged"
    merged, _, lost = samples.count_samples([tmp_path / "one.parquet"], {}, "Label")
    assert merged["Found"].isna().all() and lost.empty
    assert samples.count_samples([], {}, "Label")[0].empty


def test_a_dataset_of_cells_is_warned_of(tmp_path):
    found, labels, _ = counted(tmp_path)
    said = " ".join(text for _, text in samples.sample_warnings("d", found, labels, 0.94))
    assert "2 samples of which less than 94 % of the events were kept (one, two)" in said
    assert "not known to be those of their events (two)" in said and "deviate from the standard (two)" in said
    assert samples.sample_warnings("d", found.iloc[:0], labels, 0.8) == [("serious", "d: it has no cells.")]
    none = samples.sample_warnings("d", found, labels.iloc[:0], 0.1)
    assert any("no cell has a label" in text for _, text in none)


def test_fillers_of_a_montage_are_no_lost_cells(tmp_path):
    tiles = np.full((3, 40, 3, 40), 7, np.uint16)
    for place, dna in ((0, 300), (1, 500)):
        tiles[0, 10:30, place, 10:30] = dna
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "DNA_1.tif", tiles.reshape(120, 120))
    events = {"format": "montage", "pattern": "{channel}_{montage}.tif", "grid": [3, 3]}
    built = event_sample.build(tmp_path, event_sample.block({"DNA": {}}, events), images=tmp_path / "images")
    pq.write_table(pa.Table.from_pandas(built.ledger, SCHEMA, preserve_index=False), tmp_path / "ledger.parquet")
    found, labels, lost = samples.count_samples(
        [built.paths["events"]], {"one": [tmp_path / "ledger.parquet"]}, "Label"
    )
    assert found[["Found", "Lost", "Kept"]].to_numpy().tolist() == [[2, 0, 2]]
    assert not any("were kept" in text for _, text in samples.sample_warnings("d", found, labels, 0.8))
    row = samples.reason_rows(lost)[0]
    assert (row["unit"], row["count"]) == ("tile", 7) and "filler" in row["reason"]


def scores():
    """An evaluation table as `clusters` and `held_out_accuracy` write it, of the profiles of CHAINS."""
    rows = []
    for dataset, label in (("d", "d: "), ("both", "d: "), ("both", f"{HOSTILE}: ")):
        for profile, value in (("none", 0.5), ("lfda", 0.7), ("shuffled", 0.3)):
            where = {"dataset": dataset, "representation": "classical", "profile": profile, "level": "cells", "n": 90}
            numbers = {
                "value": value,
                "low": value - 0.1,
                "high": value + 0.1,
                "null": 0.2,
                "pvalue": np.nan,
                "note": "",
            }
            shape = {**where, **numbers, "evaluation": "clusters", "metric": "clusters"}
            for measure in ("purity", "entropy purity", "ARI"):
                for setting in ("resolution 1", "3 clusters matched"):
                    rows.append({**shape, "label": f"{label}{measure}, {setting}"})
            rows.append({**shape, "label": f"{label}silhouette of the labels"})
            if label == "d: ":
                own = {"evaluation": "held_out", "metric": "held_out_accuracy", "pvalue": 0.5}
                rows.append({**shape, **own, "label": "balanced accuracy"})
                rows.append({**shape, **own, "label": f"share right of {HOSTILE}"})
    return pd.DataFrame(rows)[report_study.SCORE_COLUMNS]


def test_the_table_of_methods_keeps_settings_apart_and_marks_the_best_of_true_labels():
    held, transductive = cell_scores.method_tables(scores(), OF, {"clusters": {"samples": "Metadata_Split == 'test'"}})
    assert (held["setting"], transductive["setting"]) == ("held out", "transductive")
    assert held["places"] == sorted(["d", "both", "both: d", f"both: {HOSTILE}"], key=cell_scores.style.natural)
    assert [group["measure"] for group in held["groups"]] == ["Purity", "Entropy purity", "Balanced accuracy"]
    assert "Metadata_Split == 'test'" in held["groups"][0]["cells"]
    rows = held["groups"][0]["rows"]
    assert [row["method"] for row in rows] == ["no metric", "LFDA"]
    column = held["places"].index("d")
    assert [row["values"][column]["best"] for row in rows] == [False, True]
    assert rows[0]["values"][held["places"].index("both")] is None
    assert [row["shuffled"] for row in transductive["groups"][0]["rows"]] == ["Label"]
    assert not transductive["groups"][0]["rows"][0]["values"][column]["best"]
    assert "cross-validated" in transductive["groups"][2]["cells"]
    assert cell_scores.method_tables(scores().iloc[:0], OF, {}) == []


def test_labels_of_the_evaluation_itself_are_understood():
    table = pd.concat([cells(name, 60, number) for number, name in enumerate("ab")], ignore_index=True)
    found = clusters(table, by="Sample", resolutions=[1.0], seeds=2)
    rows = pd.DataFrame(found.summary).assign(dataset="d", profile="none", level="cells", metric="clusters")
    main = cell_scores.main_rows(rows.assign(representation="classical", evaluation="clusters"))
    assert main["place"].unique().tolist() == ["d: a", "d: b"] and len(main) == 4
    assert set(main["clusters"]) == {"2 clusters"}


def test_main_scores_of_cells_are_few_and_controls_are_no_warning():
    table = scores()
    chosen = table[contents.headline(table)]
    assert set(chosen["label"].str.replace(r"^.*: ", "", regex=True)) == {
        "purity, 3 clusters matched",
        "entropy purity, 3 clusters matched",
        "balanced accuracy",
    }
    said = [text for _, text in contents.evaluation_warnings(table, OF)]
    assert len(said) == 4 and not any("shuffled is" in text or "/shuffled" in text for text in said)
    held = {**OF, "shuffled": OF["shuffled"]._replace(setting="held out")}
    leaking = table.assign(pvalue=np.where(table["profile"] == "shuffled", 0.004, 0.001))
    found = contents.evaluation_warnings(leaking, held)
    assert [severity for severity, _ in found] == ["serious", "serious"] and "not independent" in found[0][1]


def test_comparison_and_clusterings_are_drawn_with_their_data(gallery):
    cell_scores.add_comparison(gallery, scores(), OF)
    assert len({entry.name for entry in gallery.entries}) == 4
    table = pd.concat([cells(name, 60, number) for number, name in enumerate("ab")], ignore_index=True)
    details = clusters(table, by="Sample", resolutions=[0.5, 1.0], seeds=2).details
    cell_scores.add_clusterings(gallery, {"none": details, "shuffled": details}, OF, "clusters", "d", "classical")
    assert [entry.name for entry in gallery.entries[4:]] == [f"clusters--clusters--d--classical--{one}" for one in "ab"]
    data = pd.read_parquet(gallery.folder / f"{gallery.entries[4].name}.parquet")
    assert set(data["profile"]) == {"none", "shuffled"} and set(data["unit"]) == {"a"}
    cell_scores.add_clusterings(gallery, {}, OF, "clusters", "d", "classical")
    assert "nothing to show" in gallery.notes[0]


def test_profiles_that_dropped_the_same_are_one_row():
    row = {"kind": "feature", "step": "select", "reason": "constant", "count": 2, "examples": ["x"], "more": 0}
    rows = [{"profile": f"d/classical/{name}", **row} for name in ("none", "nca")] + [{"profile": "e/c/nca", **row}]
    assert [row["profile"] for row in contents.merged_profiles(rows)] == ["d/classical/none, nca", "e/c/nca"]


def test_a_study_without_plates_has_its_report(tmp_path):
    tables = counted(tmp_path)
    config = report_study.config(title=HOSTILE)
    config |= {"datasets": {"d": {"events": {"format": "sorter", "join": {"check": True}}}, "both": {}}}
    config |= {"cell_profiles": CHAINS, "evaluation": {"clusters": {}, "held_out": {}}}
    empty = Ledger("x").frame()
    sizes = {"cells": 81, "fitted": 60, "held_out": 21, "dimensions": 3, "dropped": 0}
    dropped = pd.DataFrame([("feature", "x", "", "select", f"constant {HOSTILE}", 1)])
    dropped.columns = ["kind", "name", "plate", "step", "reason", "count"]
    names = [("d", "classical", name) for name in CHAINS]
    text = page(
        ROOT / "resources" / "report",
        config,
        [],
        Section("s-maps", "Maps"),
        {},
        dict.fromkeys(names, dropped),
        scores(),
        pd.DataFrame(),
        Section("s-evaluation-figures", "Evaluation"),
        empty,
        pd.DataFrame(),
        Section("s-run-figures", "Time and memory"),
        [],
        [
            CellDataset("d", *tables, Section("s-cells-d", "Cells"), []),
            CellDataset("both", *tables[:2], tables[2].iloc[:0], Section("s-cells-both", "Cells"), ["d", "e"]),
        ],
        dict.fromkeys(names, sizes),
    )
    reader = Reader(text)
    words = " ".join("".join(reader.texts).split())
    assert not reader.open and reader.tags.count("script") == 1 and "<b>alert" not in text
    assert HOSTILE in "".join(reader.texts)
    assert "images verified by the pulse areas" in words and "1 deviation of its FCS file" in words
    assert "Cell profiles, held out" in words and "Cell profiles, transductive" in words
    assert "Put together from d and e" in words and "d/classical/none, lfda, shuffled" in words
    assert "Plate heatmaps" not in words and "Wells" not in words
    assert set(reader.links) >= {"#s-dataset-d", "#s-cells-d"}
    assert {link.removeprefix("#") for link in reader.links if link.startswith("#")} <= set(reader.ids) | {"s-maps"}


def test_scripts_of_the_rules_do_what_they_say(tmp_path):
    tables, profiles, whole = study(tmp_path)
    (tmp_path / "stacks").mkdir()
    for sample, name in (("one", "one"), ("a/b", "a~2Fb")):
        n = (whole["Metadata_Sample"] == sample).sum()
        np.save(tmp_path / "stacks" / f"{name}.npy", np.random.default_rng(0).normal(size=(n, 2, 6, 6)).astype("f4"))
    folder = tmp_path / "profiles"
    cells_of, models = [], []
    for name, (path, transform, _) in profiles.items():
        (folder / name).mkdir(parents=True)
        cells_of.append(str(path.rename(folder / name / "cells.parquet")))
        models.append(str(folder / name / "model.npz"))
        np.savez(models[-1], **arrays_of(transform))
    options = report_study.config()["report"]["cells"] | {"max_cells": 1000, "per": 3}
    where = {"dataset": "d", "representation": "classical"}
    report_study.run(
        "anndata_file",
        tmp_path / "log",
        input={"cells": [str(path) for path in tables], "profiles": cells_of, "models": models},
        output={"file": str(tmp_path / "c.h5ad")},
        params={"chains": CHAINS, "channels": ["BF", "DNA"], "options": options, "seed": 1},
        wildcards=where,
    )
    report_study.run(
        "figure_cells",
        tmp_path / "log",
        input={
            "cells": str(tmp_path / "c.h5ad"),
            "model": models[:1],
            "stacks": [str(path) for path in sorted((tmp_path / "stacks").iterdir())],
        },
        output={"figures": str(tmp_path / "figures")},
        params={"options": options, "chains": CHAINS, "kinds": {"BF": "brightfield", "DNA": "fluorescence"}, "seed": 1},
        wildcards=where,
    )
    entries, _ = read_gallery(tmp_path / "figures")
    names = {entry.group for entry in entries}
    assert names == {"maps_by_label", "maps_by_leiden", "histograms", "cells_by_label", "cells_by_cluster"}
    assert json.loads((tmp_path / "figures" / "figures.json").read_text())["notes"] == []
    output = {name: str(tmp_path / f"{name}.parquet") for name in ("samples", "labels", "lost")}
    ledger = tmp_path / "a~2Fb.ledger.parquet"
    ledger_of(tmp_path, "a~2Fb", empty=2)
    report_study.run(
        "sample_summary",
        tmp_path / "log",
        input={"cells": [str(path) for path in tables], "ledgers": [str(ledger)]},
        output=output,
        params={"label": "Label"},
        wildcards={"dataset": "d"},
    )
    assert pd.read_parquet(output["samples"])["Found"].tolist() == [40, 37]
