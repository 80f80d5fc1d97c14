"""The report opens offline, shows no markup that came from metadata, and copes with what is missing."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import report_study
from PIL import Image

from phenoloom.core.tables import read_table
from phenoloom.report import contents, page
from phenoloom.report.page import Picture


class Reader(HTMLParser):
    """Collects tags, ids, links and sources, and checks that tags close in order."""

    VOID = {"meta", "img", "br", "line", "circle", "link", "hr", "input"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.ids, self.links, self.sources, self.scripts, self.texts = [], [], [], [], [], []
        self.open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.sources += [attributes["src"]] if "src" in attributes else []
        assert not [name for name in attributes if name.startswith("on")], attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open and self.open[-1] == "script" else self.texts).append(data)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """(folder of results, config, text of the report, its Reader)."""
    results, config = report_study.build(tmp_path_factory.mktemp("report"))
    text = (results / "report.html").read_text(encoding="utf-8")
    return results, config, text, Reader(text)


def test_nothing_of_the_metadata_becomes_markup(study):
    _, _, text, reader = study
    assert reader.tags.count("script") == 1
    assert "alert(1)" not in "".join(reader.scripts)
    assert report_study.HOSTILE in "".join(reader.texts)
    assert "<b>alert" not in text and "Протеасома <b>" not in text
    assert not reader.open


def test_the_only_script_is_the_one_that_the_policy_allows(study):
    _, _, text, reader = study
    digest = base64.b64encode(hashlib.sha256("".join(reader.scripts).encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_everything_is_inside_the_file(study):
    _, _, text, reader = study
    assert reader.sources and all(source.startswith("data:image/") for source in reader.sources)
    assert all(link.startswith("#") for link in reader.links)
    assert "@import" not in text and not re.search(r"url\((?!data:)", text)
    assert "link" not in reader.tags and "iframe" not in reader.tags


def test_every_anchor_leads_somewhere_and_is_unique(study):
    reader = study[3]
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) for name in reader.ids)


def test_numbers_are_those_of_the_tables(study):
    results, _, text, reader = study
    plates = pd.concat(read_table(results / name / "summary" / "plates.parquet") for name in ("plates1", "screen"))
    tiles = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    assert dict(tiles)["Plates"] == "4"
    assert dict(tiles)["Cells"] == f"{int(plates['Cells'].sum()):,}"
    assert dict(tiles)["Sites"] == "24"
    assert dict(tiles)["Coverage"] == "91.7 %"  # one of twelve sites of each plate is excluded and not measured


def test_differences_between_profiles_stand_beside_their_reference(study):
    texts = study[3].texts
    start = texts.index("Differences between profiles")
    words = " ".join(texts[start:])
    assert words.index("dino/tvn") < words.index("cellprofiler/default") < words.index("0.01")
    assert "Difference to plates1/cellprofiler/default" in words
    assert f"no unit of {report_study.HOSTILE}" in words


def test_empty_parts_say_why(study):
    texts = "".join(study[3].texts)
    assert "Nothing to show because this dataset has no wells." in texts
    assert "nothing to show because there is no well without missing values" in texts
    assert "Nuclei_AreaShape_Aera: nothing to show" in texts and "the nearest name is Nuclei_AreaShape_Area" in texts
    assert "nothing: it has no plates or wells to count." in texts


def test_warnings_ledger_and_config_are_there(study):
    texts = "".join(study[3].texts)
    assert "dose_response of plates1/cellprofiler/default gave no value for share monotone" in texts
    assert "63 entries in all" in texts and "and 59 like it" in texts
    assert "The first 40 of 60 entries." in texts
    assert "study: made-up" in texts
    assert "30 more scores of dose_response" in texts


def test_plates_that_the_study_leaves_out_are_warned_of(study):
    config = {"datasets": {"screen": {"exclude_plates": ["P1", "P2"]}, "other": {"exclude_plates": []}}}
    assert contents.exclusion_warnings(config) == [
        ("caution", "screen: 2 plates left out by the study's config (P1, P2).")
    ]
    assert "left out by exclude_plates in the study's config" in "".join(study[3].texts)


def test_same_inputs_give_the_same_bytes(study, tmp_path):
    results, _, text, _ = study
    again, _ = report_study.build(tmp_path)
    assert (again / "report.html").read_text(encoding="utf-8") == text
    first = {path.relative_to(results): path.read_bytes() for path in (results / "figures").rglob("*.*")}
    second = {path.relative_to(again): path.read_bytes() for path in (again / "figures").rglob("*.*")}
    assert first.keys() == second.keys()
    assert [str(name) for name in first if name.suffix != ".parquet" and first[name] != second[name]] == []


def test_a_small_budget_leaves_pictures_out_and_says_so(study, tmp_path):
    results, config, text, _ = study
    limited = {**config, "report": {**config["report"], "megabytes": 1.55}}
    report_study.write_report(results, limited, tmp_path / "small.html", tmp_path / "log")
    small = (tmp_path / "small.html").read_text(encoding="utf-8")
    assert len(small) < len(text) - 100_000
    assert len(re.findall("data:image", small)) < len(re.findall("data:image", text))
    assert "not in this page, to keep it small" in small and "not in this page" not in text
    Reader(small)


def test_first_pages_go_in_before_second_ones(tmp_path):
    pictures = [_picture(tmp_path, "a", 0), _picture(tmp_path, "b", 1), _picture(tmp_path, "c", 0)]
    size = len(page.data_uri(pictures[0].path, "chart"))
    assert page.embed(pictures, 2 * size) == 1
    assert [bool(picture.uri) for picture in pictures] == [True, False, True]


def _picture(folder, name, number):
    (folder / f"{name}.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
    return Picture(name, name, "", name, name, number, 10, 10, "chart", folder / name)


def test_slugs_of_different_names_differ():
    names = ["a", "a b", "a-b", "a_b", "ä", "<script>", ""]
    assert len({page.slug(name) for name in names}) == len(names)
    assert all(re.fullmatch(r"s-[A-Za-z0-9_-]*", page.slug(name)) for name in names)


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "–"), (None, "–"), (12345.0, "12,345"), (-1.4, "−1.40"), (0.0123, "0.0123"), (0.001, "0.00100")],
)
def test_numbers_read_well(value, text):
    assert page.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "100 %"), (0.99996, "> 99.9 %"), (0.00001, "< 0.1 %"), (0.0, "0 %"), (0.917, "91.7 %"), (None, "–")],
)
def test_shares_never_round_to_all_or_nothing(value, text):
    assert page.percent(value) == text


def test_a_bar_is_drawn_only_on_its_scale():
    assert page.bar(0.5, float("nan"), 2.0, 0.1) == {"value": 50.0, "low": None, "high": 100.0, "null": 10.0}
    assert page.bar(-1.4, 0, 0, 0) is None and page.bar(float("nan"), 0, 0, 0) is None


def test_reasons_that_differ_in_paths_and_numbers_are_one_group():
    groups = contents.ledger_groups(report_study.ledger_rows().frame())
    assert [(group["stage"], group["rows"], group["severity"]) for group in groups] == [
        ("index", 60, "lost"),
        ("cellprofiler", 1, "lost"),
        ("cellprofiler", 1, "flagged"),
    ]


def test_dropped_rows_are_summed_by_reason():
    names = ["kind", "name", "plate", "step", "reason", "count"]
    rows = [("feature", f"F{number}", "", "select", "constant", 1) for number in range(5)]
    table = pd.DataFrame([*rows, ("cell", "", "P", "filter", "border", 7)], columns=names)
    features, cells = contents.dropped_groups({("d", "r", "p"): table})
    assert (features["count"], features["examples"], features["more"]) == (5, ["F0", "F1", "F2"], 2)
    assert (cells["count"], cells["examples"]) == (7, [])


def test_versions_that_differ_are_both_shown():
    rows = contents.version_rows(
        {"numpy": "2.0"}, [{"numpy": "1.9"}], {"cp": {"numpy": "1.2", "cellprofiler": "4.2.8.1"}}
    )
    assert rows == [
        ("numpy", "1.9 and 2.0", "recorded in the tables"),
        ("cellprofiler", "4.2.8.1", "pinned in cp"),
    ]


def test_pins_are_read_from_an_environment_file():
    text = "dependencies:\n  - python=3.9\n  - conda-forge::numpy=1.2.3=py39\n  - pip:\n    - cellprofiler==4.2.8.1\n"
    assert contents.environment_pins(text) == {"python": "3.9", "numpy": "1.2.3", "cellprofiler": "4.2.8.1"}


def test_a_chart_with_many_colours_keeps_the_rare_ones_of_its_legend(tmp_path):
    """A dot of 100 pixels among noise in all shades of others."""
    pixels = np.random.default_rng(0).integers(120, 256, (400, 400, 3)).astype(np.uint8)
    pixels[:, :, 0] = 230
    pixels[10:20, 10:20] = (0, 114, 178)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    shown = np.asarray(Image.open(io.BytesIO(page._small_png(tmp_path / "a.png"))).convert("RGB"))
    assert np.abs(shown[15, 15].astype(int) - (0, 114, 178)).max() < 30
