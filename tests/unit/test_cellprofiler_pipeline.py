"""What a .cppipe asks for is read from its text, and what the study lacks is said in one sentence each."""

from pathlib import Path

import pytest

from phenoloom.cellprofiler import pipeline

OWN = Path(__file__).resolve().parents[2] / "resources" / "pipelines"
CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]
HEAD = "CellProfiler Pipeline: http://www.cellprofiler.org\nVersion:5\nDateRevision:428\nModuleCount:{}\n"


@pytest.fixture
def write_pipeline(tmp_path):
    """Return a function that writes a .cppipe of (module, settings, enabled) and returns its path."""

    def write(*modules):
        text = HEAD.format(len(modules))
        for number, (name, settings, *enabled) in enumerate(modules, start=1):
            text += f"\n{name}:[module_num:{number}|show_window:False|notes:['a: b']|enabled:{(*enabled, True)[0]}]\n"
            text += "".join(f"    {key}:{value}\n" for key, value in settings)
        path = tmp_path / "p.cppipe"
        path.write_text(text, encoding="utf-8")
        return path

    return write


LOAD = ("LoadData", [("Group images by metadata?", "No"), ("Select metadata tags for grouping", "")])


@pytest.mark.parametrize("name", ["cell_painting", "cell_painting_demo"])
def test_own_pipelines_ask_for_five_channels_and_their_illumination(name):
    path = OWN / f"{name}.cppipe"
    assert pipeline.kind(path) == pipeline.LOAD_DATA
    assert sorted(pipeline.required_images(path)) == sorted(
        [f"Orig{c}" for c in CHANNELS] + [f"Illum{c}" for c in CHANNELS]
    )
    assert pipeline.illuminated_channels(path, CHANNELS) == CHANNELS
    assert pipeline.missing_channels(path, CHANNELS, objects=["Nuclei", "Cells", "Cytoplasm"]) == []


def test_translocation_asks_for_two_channels_without_illumination():
    path = OWN / "translocation.cppipe"
    assert set(pipeline.required_images(path)) == {"OrigDNA", "OrigGFP"}
    assert pipeline.illuminated_channels(path, ["GFP", "DNA"]) == []


def test_each_missing_channel_is_one_sentence_that_names_pipeline_and_mend():
    wrong = pipeline.missing_channels(OWN / "cell_painting.cppipe", ["DNA", "ER", "RNA", "AGP"])
    assert len(wrong) == 2
    assert all("Mito" in text and "cell_painting.cppipe" in text and "images." in text for text in wrong)


def test_illumination_that_the_study_does_not_compute_is_missing():
    wrong = pipeline.missing_channels(OWN / "cell_painting.cppipe", CHANNELS, illumination=False)
    assert len(wrong) == 5
    assert all("illumination" in text for text in wrong)


def test_images_are_mapped_by_config_and_by_usual_names(write_pipeline):
    path = write_pipeline(
        LOAD,
        (
            "CorrectIlluminationApply",
            [
                ("Select the input image", "origdna"),
                ("Name the output image", "CorrDNA"),
                ("Select the illumination function", "Flat"),
            ],
        ),
        ("MeasureObjectIntensity", [("Select images to measure", "CorrDNA, Green, Red")]),
    )
    images = {"Green": "GFP", "Flat": {"illumination": "DNA"}}
    sources, missing = pipeline.image_sources(path, ["DNA", "GFP"], images)
    assert sources == {"origdna": ("channel", "DNA"), "Flat": ("illumination", "DNA"), "Green": ("channel", "GFP")}
    assert missing == ["Red"]
    assert pipeline.image_sources(path, ["DNA"], {"Green": "Typo"})[1] == ["Flat", "Green", "Red"]


def test_disabled_modules_and_settings_that_are_not_in_use_ask_for_nothing(write_pipeline):
    path = write_pipeline(
        LOAD,
        ("Smooth", [("Select the input image", "Old"), ("Name the output image", "Smoothed")], False),
        (
            "OverlayOutlines",
            [
                ("Display outlines on a blank image?", "Yes"),
                ("Select image on which to display outlines", "Gone"),
                ("Name the output image", "Overlay"),
            ],
        ),
        ("SaveImages", [("Select the type of image to save", "Image"), ("Select the image to save", "Overlay")]),
        (
            "IdentifyPrimaryObjects",
            [("Select the input image", "DNA"), ("Name the primary objects to be identified", "N")],
        ),
    )
    assert pipeline.required_images(path) == ["DNA"]
    assert pipeline.identified_objects(path) == ["N"]


def test_metadata_of_groups_and_file_names_is_required(write_pipeline):
    path = write_pipeline(
        ("LoadData", [("Group images by metadata?", "Yes"), ("Select metadata tags for grouping", "Plate,Cycle")]),
        ("SaveImages", [("Enter single file name", r"\g<Well>_\g<Donor>")]),
    )
    assert pipeline.required_metadata(path) == ["Cycle", "Donor", "Plate", "Well"]
    fields, missing = pipeline.metadata_sources(path, {"Donor": "Batch"})
    assert fields == {"Donor": "batch", "Plate": "plate", "Well": "well"}
    assert missing == ["Cycle"]


def test_masks_of_objects_that_do_not_exist_are_said():
    wrong = pipeline.missing_channels(OWN / "translocation.cppipe", ["DNA", "GFP"], objects=["Nucleoli"])
    assert len(wrong) == 1 and "Nucleoli" in wrong[0] and "Nuclei" in wrong[0]


@pytest.mark.parametrize("text", ["", "hello\n", "\x89HDF\r\n", HEAD.format(0)])
def test_what_is_no_pipeline_is_one_sentence(tmp_path, text):
    path = tmp_path / "p.cppipe"
    path.write_text(text, encoding="utf-8")
    assert len(pipeline.missing_channels(path, ["DNA"])) == 1
    with pytest.raises(ValueError, match="p.cppipe"):
        pipeline.read_modules(path)
    with pytest.raises(ValueError, match="absent.cppipe"):
        pipeline.kind(tmp_path / "absent.cppipe")


def test_a_pipeline_must_load_its_images_in_one_way(write_pipeline):
    path = write_pipeline(LOAD, LOAD)
    with pytest.raises(ValueError, match="exactly one"):
        pipeline.kind(path)


def test_pipelines_of_others(shared_data):
    human = shared_data("example_human") / "ExampleHuman.cppipe"
    assert pipeline.kind(human) == pipeline.FILE_LIST
    assert pipeline.required_images(human) == ["DNA", "PH3", "cellbody"]
    phenix = shared_data("phenix_field") / "analysis.cppipe"
    assert pipeline.required_metadata(phenix) == ["Plate", "Site", "Well"]
    assert "IllumER" not in pipeline.required_images(phenix), "its ER is corrected by the function of AGP"
    assert len(pipeline.required_images(phenix)) == 11
    old = shared_data("bbbc013") / "ExampleSBS.cppipe"
    assert pipeline.required_images(old) == ["rawGFP", "rawDNA", "IllumDNA", "IllumGFP"]


def test_names_that_no_file_of_the_study_can_get(shared_data):
    human = shared_data("example_human") / "ExampleHuman.cppipe"
    files = ["/a/x_d0.tif", "/a/x_d2.tif"]
    assert pipeline.unmatched_images(human, files) == ["PH3"]
    assert pipeline.unmatched_images(human, [*files, "/a/x_d1.tif"]) == []
    wrong = pipeline.missing_channels(human, ["DNA"], files=files)
    assert len(wrong) == 1 and "PH3" in wrong[0] and "ExampleHuman.cppipe" in wrong[0]
    old = shared_data("bbbc013") / "ExampleSBS.cppipe"
    assert pipeline.unmatched_images(old, ["Channel1-01-A-01.tif", "Channel2-01-A-01.tif", "Channel1ILLUM.mat"]) == [
        "IllumGFP"
    ]


@pytest.mark.parametrize(
    "rule, fits",
    [
        ('and (file does contain "w1") (extension does istif)', True),
        ('or (file does eq "no") (file doesnot contain "w1")', False),
        ('and (directory does endwith "plate") (file does containregexp "s[0-9]_w1")', True),
        ('and (file does startwith "w1")', False),
        ('and (or (file does contain "nope") (file does contain "s1")) (metadata does Site "7")', True),
        ('and (file does containregexp "[")', True),
        ("", True),
    ],
)
def test_rules_of_names_and_types(rule, fits):
    assert pipeline._fits(pipeline._parse_rule(rule), "/data/plate/s1_w1.TIF") is fits
