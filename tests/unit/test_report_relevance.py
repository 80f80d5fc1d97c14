"""The report's part on which cells count: what it says, and that its pictures are of the cells that it names."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import report_study
import tifffile

from phenoloom.core.errors import InputError
from phenoloom.core.tables import INDEX_SCHEMA, read_table, write_table
from phenoloom.report import relevance, relevant_cells
from phenoloom.report.gallery import Gallery, read_gallery
from phenoloom.report.page import Section
from phenoloom.report.relevant_cells import Images, add_cells, add_field, choose_wells, placed_cells

HOSTILE = 'x"; rm -rf ~ #<script>alert(1)</script>'
KEY = ("d", "cells", "learned")
PLATES, WELLS, SIZE = ("P 1", "P2"), ("A01", "B02"), 120
#: Places (row, column) of the cells of each field, object by object; the last one at the border.
PLACES = [(20, 20), (20, 80), (60, 40), (90, 100), (100, 30), (2, 117)]


def features(**strongest):
    """Table of features: two named by CellProfiler, one that never varies, 30 weak ones."""
    names = [
        "Cells_AreaShape_Area",
        "Nuclei_Intensity_MeanIntensity_DNA",
        HOSTILE,
        *(f"weak{n:02d}" for n in range(30)),
    ]
    combined = np.array([0.72, -0.74, np.nan, *np.linspace(-0.2, 0.2, 30)])
    table = {"Feature": names, "Compartment": ["Cells", "Nuclei", *[""] * 31]}
    table |= {"Category": ["AreaShape", "Intensity", *[""] * 31], "Correlation_Combined": combined}
    table |= {"Correlation_Sensitivity": combined / 2, "Correlation_Activation": combined / 3}
    return pd.DataFrame(table | {"Mean_Most": 1.2, "Mean_Least": -0.3} | strongest)


def wells(number=2, **columns):
    rows = [(plate, well, f"{HOSTILE} {well}") for plate in PLATES for well in WELLS[:number]]
    table = pd.DataFrame(rows, columns=["Metadata_Plate", "Metadata_Well", "Metadata_Perturbation"])
    table["Metadata_PlateSide"] = np.where(table["Metadata_Plate"] == "P2", "test", "train")
    return table.assign(Cells=6, Most=2, Least=3, **columns)


def test_what_relevant_cells_are_like_is_said_with_numbers():
    scored, like, categories, scores = relevance.sentences(wells(), features())
    assert scored == (
        "24 cells of 4 treated wells on 2 plates (P2, P 1) were scored: 8 are among the most relevant of their well "
        "(> 0.8), 12 among the least (< 0.2)."
    )
    assert like == (
        "The most relevant cells are larger in Cells_AreaShape_Area (r = 0.72; mean 1.2 against −0.30) and smaller in "
        "Nuclei_Intensity_MeanIntensity_DNA (r = −0.74; mean 1.2 against −0.30) than the least relevant."
    )
    assert "AreaShape 1, Intensity 1" in categories
    assert scores.startswith("Of the three scores, combined relevance goes with features most, as in the paper")


def test_it_is_said_when_another_score_is_stronger_or_nothing_is():
    text = " ".join(relevance.sentences(wells(), features(Correlation_Activation=0.9)))
    assert "activation goes with features most, where in the paper it is their combination" in text
    text = " ".join(relevance.sentences(wells(), features(Correlation_Combined=0.1)))
    assert "Relevance hardly goes with any single feature: the strongest correlation is 0.10." in text
    text = " ".join(relevance.sentences(wells(), features(Correlation_Combined=np.nan)))
    assert "Relevance goes with no feature" in text
    assert relevance.sentences(wells().iloc[:0], features())[0].startswith("No cell was scored")


def test_tables_hold_the_strongest_of_either_sign():
    rows = relevance.table_rows(features())
    assert rows["rising"][0]["feature"] == "Cells_AreaShape_Area" and rows["falling"][0]["combined"] == -0.74
    assert len(rows["rising"]) == len(rows["falling"]) == 16 and all(row["combined"] < 0 for row in rows["falling"])


def test_the_section_escapes_what_it_shows():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from phenoloom.report.page import number

    folder = Path(__file__).resolve().parents[2] / "resources" / "report"
    environment = Environment(loader=FileSystemLoader(str(folder)), autoescape=True, undefined=StrictUndefined)
    environment.filters["number"] = number
    table = features(Correlation_Combined=[0.5, 0.4, 0.9, *[0.1] * 30])
    view = relevance.relevance_view(KEY, wells(), table, Section("s-x", "x"))
    page = environment.get_template("relevance.html.j2").render(relevances=[view], figures=lambda _: "")
    assert "<script>" not in page and "&lt;script&gt;" in page and "Cells_AreaShape_Area" in page
    assert environment.get_template("relevance.html.j2").render(relevances=[]).strip() == ""


def test_charts_have_their_data(tmp_path):
    gallery = Gallery(tmp_path)
    scores = np.random.default_rng(0).random((50, 3))
    relevance.add_histograms(gallery, pd.DataFrame(scores, columns=["Combined", "Sensitivity", "Activation"]), "t")
    relevance.add_correlations(gallery, features(), HOSTILE)
    assert [entry.name for entry in gallery.entries] == ["scores", "features"]
    assert read_table(tmp_path / "scores.parquet")["Combined"].sum() == 50
    assert len(read_table(tmp_path / "features.parquet")) == 32
    relevance.add_correlations(gallery, features(Correlation_Combined=np.nan), "t")
    assert "every feature is the same" in gallery.notes[0]


def test_wells_of_test_plates_with_both_ends_come_first_each_of_another_compound():
    table = wells().assign(Most=[9, 9, 1, 2], Least=[9, 9, 9, 9])
    chosen = choose_wells(table, 3)
    assert chosen[["Metadata_Plate", "Metadata_Well"]].to_numpy().tolist() == [["P2", "B02"], ["P2", "A01"]]
    assert len(choose_wells(table.assign(Metadata_Perturbation=""), 3)) == 3


@pytest.fixture
def study(tmp_path):
    """(index, tables, masks, cells): images of two plates, in which cell n is as bright as its place in the table."""
    index, tables, masks, cells = [], {}, {}, []
    for plate in PLATES:
        rows = []
        for image, well in enumerate(WELLS, start=1):
            pixels, labels = np.full((SIZE, SIZE), 100, np.uint16), np.zeros((SIZE, SIZE), np.uint16)
            for number, (row, column) in enumerate(PLACES, start=1):
                where = np.s_[max(0, row - 5) : row + 6, max(0, column - 5) : column + 6]
                pixels[where], labels[where] = 1000 * number, number + 10
                rows.append((well, 1, image, number, row, column, number + 10))
            path = tmp_path / f"{plate}{well}.tif"
            tifffile.imwrite(path, pixels)
            told = ["d", "b", plate, well, 1, "DNA", str(path), 0, SIZE, SIZE, "uint16", path.stat().st_size, ""]
            index.append(told)
            masks.setdefault(plate, []).append(tmp_path / f"{plate}{well}.h5")
            with h5py.File(masks[plate][-1], "w") as file:
                for key, value in (("dataset", "d"), ("batch", "b"), ("plate", plate), ("well", well)):
                    file.create_dataset(f"sites/{key}", data=[value], dtype=h5py.string_dtype("utf-8"))
                file["sites/site"], file["masks/Cells/0"] = np.array([1], np.int32), labels
        names = ["Well", "Site", "ImageNumber", "ObjectNumber", "Row", "Column", "Cells_Number_Object_Number"]
        table = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in names])
        table = table.assign(Cells_Location_Center_Y=table.pop("Metadata_Row"))
        table = table.assign(Cells_Location_Center_X=table.pop("Metadata_Column"), Metadata_Plate=plate)
        tables[plate] = tmp_path / f"{plate}.parquet"
        write_table(tables[plate], table.iloc[::-1].reset_index(drop=True))
        cells.append(table.assign(Combined=np.tile([0.95, 0.9, 0.5, 0.1, 0.05, 1.0], 2)))
    keys = ["Plate", "Well", "Site", "ImageNumber", "ObjectNumber"]
    cells = pd.concat(cells, ignore_index=True)[[*(f"Metadata_{name}" for name in keys), "Combined"]]
    return pd.DataFrame(index, columns=INDEX_SCHEMA.names), tables, masks, cells


def test_cells_find_their_place_and_mask_by_their_numbers(study):
    _, tables, _, cells = study
    placed, name = placed_cells(cells.sample(frac=1, random_state=0), tables)
    assert name == "Cells" and len(placed) == 24
    for row in placed.itertuples():
        assert (row.row, row.column) == PLACES[row.Metadata_ObjectNumber - 1]
        assert row.number == row.Metadata_ObjectNumber + 10
    with pytest.raises(InputError, match="the cells have no Metadata_ImageNumber"):
        placed_cells(cells.drop(columns="Metadata_ImageNumber"), tables)


def test_tables_without_places_are_one_sentence(study, tmp_path):
    _, tables, _, cells = study
    frame = read_table(tables["P2"]).drop(columns="Cells_Location_Center_X")
    write_table(tmp_path / "none.parquet", frame)
    with pytest.raises(InputError, match="no table of cells says where Cells or Nuclei or Cytoplasm lie"):
        placed_cells(cells, tables | {"P2": tmp_path / "none.parquet"})


def test_pictures_are_of_the_cells_of_their_end(study, tmp_path, monkeypatch):
    index, tables, masks, cells = study
    placed, name = placed_cells(cells, tables)
    seen = []
    monkeypatch.setattr(
        relevant_cells,
        "_picture",
        lambda square, outline, colours, ranges, end: (
            seen.append((square["DNA"], outline, end)) or np.zeros((21, 21, 3))
        ),
    )
    gallery = Gallery(tmp_path / "figures")
    add_cells(gallery, wells(), placed, Images(index, {}, masks, {"blue": "DNA"}), name, 21, 2, 1, HOSTILE)
    assert len(gallery.entries) == 2 and not gallery.notes  # four wells on two pages
    drawn = pd.concat([read_table(tmp_path / f"figures/cells_{page}.parquet") for page in (1, 2)])
    assert drawn.groupby(["Metadata_Plate", "Metadata_Well", "End"]).size().eq(2).all() and len(drawn) == 16
    assert (drawn.loc[drawn["End"] == "most", "Combined"] > 0.8).all()
    assert (drawn.loc[drawn["End"] == "least", "Combined"] < 0.2).all()
    for square, outline, end in seen:
        number = int(square[10, 10]) // 1000
        assert square.shape == (21, 21) and number in ((1, 2, 6) if end == "most" else (4, 5))
        assert outline[10, 10] and np.array_equal(outline, square == 1000 * number)
        assert (square == 0).any() == (number == 6)  # beyond the image it is black


def test_without_masks_cells_have_no_outline_and_boxes_their_size(study, tmp_path):
    index, tables, _, cells = study
    placed, name = placed_cells(cells, tables)
    gallery, images = Gallery(tmp_path / "figures"), Images(index, {}, {}, {"blue": "DNA"})
    add_cells(gallery, wells(), placed, images, name, 21, 2, 1, "t")
    add_field(gallery, wells(), placed, images, name, 21, "t")
    assert "outline" not in gallery.entries[0].caption and len(gallery.entries) == 3


def test_the_field_has_its_cells_boxed(study, tmp_path, monkeypatch):
    index, tables, masks, cells = study
    placed, name = placed_cells(cells[cells["Metadata_Well"] == "B02"], tables)
    found = []
    draw = relevant_cells._field_figure
    monkeypatch.setattr(relevant_cells, "_field_figure", lambda *given: found.append(given) or draw(*given))
    gallery = Gallery(tmp_path / "figures")
    add_field(gallery, wells(), placed, Images(index, {}, masks, {"blue": "DNA"}), name, 21, "t")
    assert "well B02" in gallery.entries[0].caption
    assert "the 3 most relevant cells in green boxes, the 2 least relevant in purple" in gallery.entries[0].caption
    (_, boxed, boxes), data = found[0], read_table(tmp_path / "figures/field.parquet")
    assert sorted(data["Metadata_ObjectNumber"]) == [1, 2, 4, 5, 6] and boxed["most"].sum() == 3
    first = boxes[boxed["Metadata_ObjectNumber"].tolist().index(1)]
    assert first == (13.5, 13.5, 13, 13)  # the mask spans 15 to 25


def test_fields_that_cannot_be_read_are_named_and_the_others_shown(study, tmp_path):
    index, tables, masks, cells = study
    placed, name = placed_cells(cells, tables)
    Path(index.loc[0, "path"]).write_bytes(b"")
    gallery, images = Gallery(tmp_path / "figures"), Images(index[index["well"] == "A01"], {}, masks, {"blue": "DNA"})
    add_cells(gallery, wells(), placed, images, name, 21, 2, 1, "t")
    assert len(gallery.entries) == 1 and len(gallery.notes) == 3
    assert any("A01, site 1 of P 1 is not shown" in note for note in gallery.notes)
    assert any("its images are not in the index" in note for note in gallery.notes)


def drawn(tmp_path, **inputs):
    """What the rule figure_relevance writes: (entries, notes)."""
    params = {"options": {"wells": 4, "per": 2, "crop": 21}, "colours": {"red": "none"}, "channels": {"DNA": {}}}
    wildcards = dict(zip(("dataset", "representation", "profile"), KEY, strict=True))
    given = {"input": inputs, "output": {"folder": tmp_path / "out"}, "params": params, "wildcards": wildcards}
    report_study.run("figure_relevance", tmp_path / "log", **given)
    return read_gallery(tmp_path / "out")


def test_the_rule_draws_pictures_where_there_are_images(study, tmp_path):
    index, tables, masks, cells = study
    scores = {name: np.linspace(0, 1, len(cells)) for name in ("Sensitivity", "Activation")}
    for name, table in (("cells", cells.assign(**scores)), ("wells", wells()), ("features", features())):
        write_table(tmp_path / f"{name}.parquet", table)
    paths = {name: tmp_path / f"{name}.parquet" for name in ("cells", "wells", "features")}
    entries, notes = drawn(tmp_path, **paths)
    assert [entry.name for entry in entries] == ["scores", "features"] and "has no images" in notes[0]
    write_table(tmp_path / "index.parquet", index.rename(columns=str))
    encoded = {plate: tmp_path / f"{plate.replace(' ', '~20')}" for plate in PLATES}
    for plate, folder in encoded.items():
        folder.mkdir()
        tables[plate].rename(folder.with_suffix(".parquet"))
        for number, path in enumerate(masks[plate]):
            path.rename(folder / f"{number:04d}.h5")
    more = {"index": [tmp_path / "index.parquet"], "tables": [one.with_suffix(".parquet") for one in encoded.values()]}
    more["measurements"] = [path for folder in encoded.values() for path in sorted(folder.iterdir())]
    entries, notes = drawn(tmp_path, **paths, **more)
    assert [entry.name for entry in entries] == ["scores", "features", "cells_1", "field"]
    assert "no channel none" in notes[0] and "outline: Cells" in entries[2].caption


def test_the_rule_says_when_there_is_no_cell(tmp_path):
    for name, table in (("cells", pd.DataFrame({"Combined": []})), ("wells", wells()), ("features", features())):
        write_table(tmp_path / f"{name}.parquet", table)
    paths = {name: tmp_path / f"{name}.parquet" for name in ("cells", "wells", "features")}
    entries, notes = drawn(tmp_path, **paths)
    assert not entries and "no well on the chosen plates holds a compound" in notes[0]
