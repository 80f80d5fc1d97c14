"""Montages: which fields are shown, and that their pixels are those of the images."""

import numpy as np
import pandas as pd
import pytest
import report_study

from phenoloom.core.tables import read_index, read_table
from phenoloom.report import montage
from phenoloom.report.gallery import Gallery
from phenoloom.report.spacing import spread


def sites_of(layout, n=3):
    """n imaged sites of every well."""
    place = layout[["Metadata_Plate", "Metadata_Well"]]
    return pd.concat([place.assign(Metadata_Site=site) for site in range(1, n + 1)], ignore_index=True)


def test_controls_come_first_and_mechanisms_take_turns():
    layout = report_study.layout(["P1", "P2"], 96, n=15)
    fields = montage.choose_fields(layout, sites_of(layout), set(), 7, 3)
    shown = fields.drop_duplicates("Metadata_Perturbation")
    assert shown["Metadata_Control"].tolist() == ["negative", "positive", "", "", "", "", ""]
    assert shown["Metadata_MoA"].tolist()[2:] == sorted(report_study.MOAS, key=montage.natural)
    assert fields.groupby("Metadata_Perturbation").size().max() == 3


def test_fields_are_of_the_highest_dose_and_of_different_wells():
    layout = report_study.layout(["P1", "P2"], 384, n=5)
    fields = montage.choose_fields(layout, sites_of(layout), set(), 10, 4)
    highest = layout.groupby("Metadata_Perturbation")["Metadata_Concentration"].max()
    treated = fields[fields["Metadata_Control"] != "negative"]
    assert (treated["Metadata_Concentration"] == treated["Metadata_Perturbation"].map(highest)).all()
    few = layout[layout["Metadata_Perturbation"] == report_study.HOSTILE].head(1)
    ladder = pd.concat([few.assign(Metadata_Concentration=dose, Metadata_Well=f"A0{dose}") for dose in (1, 2, 3)])
    shown = montage.choose_fields(ladder, sites_of(ladder, 2), set(), 1, 5)
    assert shown["Metadata_Concentration"].tolist() == [3, 3, 2, 2, 1]
    same = layout.assign(Metadata_Concentration=1.0)
    fields = montage.choose_fields(same, sites_of(same), set(), 10, 4)
    for _, own in fields[fields["Metadata_Perturbation"] != "taxol"].groupby("Metadata_Perturbation"):
        assert not own.duplicated(["Metadata_Plate", "Metadata_Well"]).any()
        assert own["Metadata_Plate"].nunique() == 2


def test_the_choice_depends_on_names_only_and_never_takes_excluded_sites():
    layout = report_study.layout(["P1"], 96, n=5)
    sites = sites_of(layout)
    first = montage.choose_fields(layout, sites, set(), 6, 2)
    shuffled = montage.choose_fields(
        layout.sample(frac=1, random_state=1), sites.sample(frac=1, random_state=2), set(), 6, 2
    )
    place = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
    assert first[place].to_numpy().tolist() == shuffled[place].to_numpy().tolist()
    excluded = set(first[place].itertuples(index=False, name=None))
    second = montage.choose_fields(layout, sites, excluded, 6, 2)
    assert not excluded & set(second[place].itertuples(index=False, name=None))


def test_no_known_perturbation_gives_no_fields():
    layout = report_study.layout(["P1"], 6).assign(Metadata_Perturbation="")
    assert montage.choose_fields(layout, sites_of(layout), set(), 6, 2).empty


def test_pixels_are_divided_by_the_function_and_cropped_at_the_centre(tmp_path, write_tiff):
    import tifffile

    path = write_tiff(tmp_path / "a.tif", (40, 60))
    image, function = tifffile.imread(path), np.linspace(1, 2, 40 * 60, dtype=np.float32).reshape(40, 60)
    row = {"path": str(path), "page": 0, "width": 60, "height": 40, "dtype": "uint16", "channel": "DNA"}
    pixels = montage.field_pixels(pd.DataFrame([row]), {"DNA": function}, 20)
    assert np.allclose(pixels["DNA"], (image / function)[10:30, 20:40], rtol=1e-5)
    with pytest.raises(ValueError, match="not the size"):
        montage.field_pixels(pd.DataFrame([row]), {"DNA": function[1:]}, 20)


def test_each_channel_shines_in_its_colour():
    pixels = {"DNA": np.array([[1.0, 0.0]]), "ER": np.array([[0.0, np.nan]])}
    picture = montage.composite(pixels, {"blue": "DNA", "green": "ER"}, {"DNA": (0, 1), "ER": (0, 1)})
    assert picture[0, 0].tolist() == pytest.approx(montage.COLOURS["blue"])
    assert picture[0, 1].tolist() == [0, 0, 0]


def test_colours_are_chosen_by_name_and_kind():
    kinds = {"Brightfield": "brightfield"}
    assert montage.automatic_colours(["Mito", "Brightfield", "AGP", "Hoechst"], kinds) == {
        "blue": "Hoechst",
        "green": "AGP",
        "magenta": "Mito",
    }
    assert montage.automatic_colours(["Brightfield"], kinds) == {"grey": "Brightfield"}
    assert montage.automatic_colours([], {}) == {}


def test_outlines_lie_inside_the_objects():
    labels = np.zeros((9, 9), int)
    labels[2:7, 2:7] = 4
    picture = montage.draw_outlines(np.zeros((9, 9, 3)), labels, (1, 1, 1))
    assert picture[2, 2:7].all() and not picture[1].any() and not picture[3:6, 3:6].any()


@pytest.fixture
def images(tmp_path):
    """Results of a dataset with images, and its layout."""
    layout = report_study.layout(["Plate <1>", "Plate 2"], 6, n=4)
    report_study.write_images(tmp_path, "d", layout, ["DNA", "ER"], size=64)
    paths = sorted((tmp_path / "d" / "index").glob("*.parquet"))
    return read_index(paths), layout


NO_SITES = pd.DataFrame(columns=["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Excluded"])
CHANNELS = {"DNA": {"kind": "fluorescence"}, "ER": {"kind": "fluorescence"}}


def test_masks_are_outlined_and_counted(images, tmp_path, monkeypatch):
    index, layout = images
    labels = np.zeros((64, 64), np.uint16)
    labels[20:30, 20:30], labels[40:44, 40:44] = 3, 8
    monkeypatch.setattr(
        montage,
        "read_masks",
        lambda paths, well, site, objects, shape, crop: {"Nuclei": labels[montage.crop_slices(shape, crop)]},
    )
    gallery = Gallery(tmp_path / "figures")
    montage.build_montage(gallery, index, layout, NO_SITES, {}, {}, CHANNELS, 2, objects=["Nuclei"], crop=48)
    data = read_table(gallery.folder / "montage_1.parquet")
    assert (data["Objects_Nuclei"] == 2).all()
    assert f"Nuclei white ({2 * len(data)})" in gallery.entries[0].caption
    assert f"n = {len(data)} fields of {data['Row'].nunique()} perturbations" in gallery.entries[0].caption
    assert not [name for name in data.columns if "path" in name.lower()]


def test_masks_come_from_the_batch_that_has_the_site(tmp_path):
    h5py = pytest.importorskip("h5py")
    from phenoloom.cellprofiler.measurements import read_mask

    labels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    for number, well in enumerate(["A01", "A02"]):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            for key in ("dataset", "batch", "plate", "well"):
                file.create_dataset(f"sites/{key}", data=np.array([well], object), dtype=h5py.string_dtype("utf-8"))
            file["sites/site"] = np.array([1], np.int32)
            file["masks/Nuclei/0"] = labels + number
    paths = [tmp_path / "0.h5", tmp_path / "1.h5"]
    assert read_mask(paths[1], "A02", 1, "Nuclei")[0, 0] == 1
    found = montage.read_masks(paths, "A02", 1, ["Nuclei", "Cells"], (64, 64), 32)
    assert list(found) == ["Nuclei"]
    assert np.array_equal(found["Nuclei"], (labels + 1)[16:48, 16:48])
    assert montage.read_masks(paths, "H12", 1, ["Nuclei"], (64, 64), 32) == {}


def test_an_unreadable_image_is_named_and_the_rest_is_shown(images, tmp_path):
    index, layout = images
    gallery = Gallery(tmp_path / "figures")
    first = montage.choose_fields(
        layout,
        index.rename(columns={"plate": "Metadata_Plate", "well": "Metadata_Well", "site": "Metadata_Site"})[
            ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
        ],
        set(),
        12,
        4,
    ).iloc[0]
    damaged = index[(index["plate"] == first["Metadata_Plate"]) & (index["well"] == first["Metadata_Well"])]
    for path in damaged["path"]:
        with open(path, "wb"):
            pass
    montage.build_montage(gallery, index, layout, NO_SITES, {}, {}, CHANNELS, 2, crop=48)
    assert len(gallery.entries) == 2
    assert any("is empty (0 bytes)" in note and first["Metadata_Well"] in note for note in gallery.notes)


def test_unknown_channels_are_said(images, tmp_path):
    index, layout = images
    gallery = Gallery(tmp_path / "figures")
    montage.build_montage(gallery, index, layout, NO_SITES, {}, {}, CHANNELS, 2, colours={"red": "Actin"}, crop=48)
    assert "has no channel Actin" in gallery.notes[0]
    assert gallery.entries[0].caption.startswith("DNA blue, ER green;")


def test_plates_are_spread():
    assert spread(list("abcdefg"), 3) == ["a", "d", "g"]
    assert spread(list("ab"), 3) == ["a", "b"]
    assert spread(list("abc"), 1) == ["a"]


def test_long_names_break_into_lines():
    assert montage._wrap("a" * 50) == "a" * 23 + "\n" + "a" * 23 + "\n" + "a" * 4
    assert max(map(len, montage._wrap(report_study.HOSTILE * 3).split("\n"))) <= 23


def test_functions_and_measurements_are_found_by_plate_and_channel(tmp_path):
    for plate in ("B1~20P4", "P1"):
        (tmp_path / plate).mkdir()
        np.save(tmp_path / plate / "DNA.npy", np.full((2, 2), len(plate)))
    paths = sorted(tmp_path.glob("*/DNA.npy"))
    assert {key: int(values[0, 0]) for key, values in montage.read_functions(paths).items()} == {
        ("B1 P4", "DNA"): 7,
        ("P1", "DNA"): 2,
    }
    assert montage.by_plate([paths[1], paths[0], paths[1]]) == {"P1": [paths[1]] * 2, "B1 P4": [paths[0]]}
