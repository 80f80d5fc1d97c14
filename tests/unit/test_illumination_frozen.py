"""Illumination functions that a study declares: checked before they are used, put in place, taken away again."""

import numpy as np
import pytest

from phenoloom.config.loading import complete
from phenoloom.core.errors import InputError
from phenoloom.core.names import encode
from phenoloom.illumination import frozen

PLATE = encode("plate 1")
SHAPE = (6, 8)


def function(low=1.0, shape=SHAPE):
    return np.linspace(low, low + 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


@pytest.fixture
def place(tmp_path):
    """Return settle(pattern or None) for one plate with the channels DNA and ER, whose sources lie in `frozen`."""
    for channel, low in (("DNA", 1.0), ("ER", 2.0)):
        path = tmp_path / "frozen" / PLATE / f"{channel}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, function(low))

    def settle(pattern=str(tmp_path / "frozen/{plate}/{channel}.npy")):
        return frozen.settle(tmp_path / "results", pattern, {PLATE: SHAPE}, ["DNA", "ER"])

    return settle


def test_declared_functions_are_put_in_place_once(place, tmp_path):
    assert place() == 2
    target = tmp_path / "results" / PLATE / "DNA.npy"
    assert target.read_bytes() == (tmp_path / "frozen" / PLATE / "DNA.npy").read_bytes()
    assert target.with_suffix(".png").is_file()
    before = target.stat().st_mtime_ns
    assert place() == 0
    assert target.stat().st_mtime_ns == before


def test_a_changed_source_and_a_changed_target_are_noticed(place, tmp_path):
    place()
    np.save(tmp_path / "frozen" / PLATE / "DNA.npy", function(3.0))
    assert place() == 1
    np.save(tmp_path / "results" / PLATE / "ER.npy", function(9.0))
    assert place() == 1
    np.testing.assert_array_equal(np.load(tmp_path / "results" / PLATE / "ER.npy"), function(2.0))


def test_estimated_functions_that_are_the_same_stay_and_others_are_estimated_again(place, tmp_path):
    results = tmp_path / "results" / PLATE
    results.mkdir(parents=True)
    np.save(results / "DNA.npy", function(1.0))  # as frozen
    np.save(results / "ER.npy", function(7.0))
    untouched = (results / "DNA.npy").stat().st_mtime_ns
    assert place() == 1
    assert (results / "DNA.npy").stat().st_mtime_ns == untouched
    assert frozen.unsettled(tmp_path / "results", None)
    assert frozen.released(tmp_path / "results", PLATE) == 0
    assert place(None) == 1
    assert (results / "DNA.npy").is_file() and not (results / "ER.npy").exists()
    assert not frozen.unsettled(tmp_path / "results", None)
    assert frozen.released(tmp_path / "results", PLATE) == 1
    assert place(None) == 0


def test_functions_that_were_never_replaced_need_no_new_estimate(place, tmp_path):
    results = tmp_path / "results" / PLATE
    results.mkdir(parents=True)
    np.save(results / "DNA.npy", function(1.0))
    np.save(results / "ER.npy", function(2.0))
    assert place() == 0
    assert place(None) == 0
    assert frozen.released(tmp_path / "results", PLATE) == 0
    assert (results / "ER.npy").is_file()


def test_another_pattern_must_be_settled_first(place, tmp_path):
    assert frozen.unsettled(tmp_path / "results", "a/{channel}.npy")
    assert not frozen.unsettled(tmp_path / "results", None)
    place()
    assert frozen.unsettled(tmp_path / "results", "a/{channel}.npy")
    assert not frozen.unsettled(tmp_path / "results", str(tmp_path / "frozen/{plate}/{channel}.npy"))


def test_a_function_of_float64_is_stored_as_float32(place, tmp_path):
    np.save(tmp_path / "frozen" / PLATE / "DNA.npy", np.asfortranarray(function().astype(np.float64)))
    place()
    stored = np.load(tmp_path / "results" / PLATE / "DNA.npy")
    assert stored.dtype == np.float32 and stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, function())


def with_pixel(value):
    broken = function()
    broken[2, 3] = value
    return broken


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"not an array", "is no array as .npy"),
        (np.array([{"a": 1}]), "is no array as .npy"),
        (function(shape=(8, 6)), "is 6x8 pixels where the images of plate plate 1, channel DNA are 8x6"),
        (function()[None], "where the images of plate plate 1, channel DNA are 8x6"),
        (with_pixel(np.nan), "holds NaN or infinity"),
        (with_pixel(0), "is not above 0 everywhere"),
        (with_pixel(-1), "is not above 0 everywhere"),
    ],
)
def test_a_function_that_cannot_be_used_is_one_sentence_and_nothing_changes(place, tmp_path, content, words):
    place()
    path = tmp_path / "frozen" / PLATE / "DNA.npy"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    before = {file: file.read_bytes() for file in (tmp_path / "results").rglob("*") if file.is_file()}
    with pytest.raises(InputError) as error:
        place()
    text = str(error.value)
    assert text.startswith("1 declared illumination function cannot be used:\n  ")
    assert words in text and str(path) in text and "take 'functions' out" in text
    assert {file: file.read_bytes() for file in (tmp_path / "results").rglob("*") if file.is_file()} == before


def test_functions_in_the_results_themselves_are_refused(place, tmp_path):
    place()
    with pytest.raises(InputError, match="lies in the results themselves"):
        place(str(tmp_path / "results/{plate}/{channel}.npy"))


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"functions": "a/{plat}/{channel}.npy"}, "has the field {plat}; there are {plate} and {channel}"),
        ({"functions": "a/{plate}.npy"}, "lacks the field {channel}"),
        ({"functions": "a/{plate.npy"}, "is no pattern of paths"),
        ({"functions": "a/{channel}.npy", "method": "none"}, "method none corrects nothing"),
        ({"functions": "a/{channel}.npy"}, None),
    ],
)
def test_the_pattern_is_checked_with_the_config(block, words):
    dataset = {
        "plates": "p.tsv",
        "channels": {"DNA": {}, "ER": {}},
        "images": {"format": "phenix"},
        "illumination": block,
    }
    config = {"study": "s", "datasets": {"d": dataset}}
    if words is None:
        assert complete(config)["datasets"]["d"]["illumination"]["functions"] == "a/{channel}.npy"
    else:
        with pytest.raises(InputError) as error:
            complete(config)
        assert "datasets.d.illumination.functions" in str(error.value) and words in str(error.value)
