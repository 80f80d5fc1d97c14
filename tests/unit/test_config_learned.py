"""Blocks of tensors and models: what cannot work is one sentence that names the place."""

import copy

import pytest

from phenoloom.config.loading import complete
from phenoloom.config.study import Study
from phenoloom.core.errors import InputError

SMALL = {
    "study": "s",
    "datasets": {
        "d": {
            "simulate": {"channels": ["DNA", "ER"]},
            "channels": {"DNA": {}, "ER": {}},
            "tensors": {"fields": {"items": "fields"}},
        }
    },
    "models": {
        "first": {"kind": "dino", "dataset": "d", "tensor": "fields", "split": {"hold_out": "Plate"}},
        "second": {"kind": "ws_dino", "label": "Treatment", "dataset": "d", "tensor": "fields"},
    },
}


def changed(*changes):
    """The small config with values at paths such as `models.first.weights`."""
    config = copy.deepcopy(SMALL)
    for path, value in changes:
        block = config
        *parts, last = path.split(".")
        for part in parts:
            block = block.setdefault(part, {})
        block[last] = value
    return config


def test_a_preset_lies_beneath_what_the_study_gives():
    model = complete(changed(("models.first.preset", "ws_dino_bbbc021"), ("models.first.train", {"batch": 8})))[
        "models"
    ]
    assert model["first"]["head"]["out"] == 384 and model["first"]["train"]["batch"] == 8
    assert model["first"]["train"]["epochs"] == 400


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([("models.first.dataset", "e")], "models.first: dataset: there is no 'e'"),
        ([("models.first.tensor", "field")], "tensor: there is no 'field'; did you mean 'fields'"),
        ([("models.first.channels", ["RNA"])], "channels: there is no 'RNA'"),
        ([("models.first.snapshots", [200])], "epoch 200 comes after the last, 100"),
        ([("models.first.views.global_size", 100)], "views.global_size: 100 is no multiple of the patch, 16"),
        ([("models.first.views.local_scale", [0.5, 0.1])], "views.local_scale: the first must not be above the second"),
        ([("models.first.network.architecture", "pixels")], "pixels have nothing to learn; set 0"),
        ([("datasets.d.tensors.cells", {"items": "crops", "size": [8, 8]})], "the dataset lacks"),
        ([("datasets.d.tensors.fields.percentiles", [50, 50])], "the first must be below the second"),
    ],
)
def test_what_cannot_work_is_one_sentence(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        complete(changed(*changes))


def test_a_model_starts_from_another_one_of_the_study():
    split = ("models.second.split", {"hold_out": "Plate"})
    study = Study(complete(changed(("models.second.weights", "first"), split)), [])
    assert study.starts_from("second") == "first" and study.starts_from("first") is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([("models.second.weights", "first")], "models.second: weights: first has another split; both need the same"),
        ([("models.first.weights", "first")], "weights: first starts from first; let one of them start from none"),
        (
            [("models.second.split", {"hold_out": "Plate"}), ("models.first.weights", "second")],
            "second has learned from the labels Treatment; start from one without labels",
        ),
        (
            [("models.first.split", {"hold_out": "Well"}), ("models.second.split", {"hold_out": "Well"})]
            + [("models.second.weights", "first")],
            "first has another split: what is drawn follows the weak label",
        ),
        (
            [("models.third", {**SMALL["models"]["second"], "shuffle_labels": True, "weights": "second"})],
            "models.third: weights: second has learned from the labels Treatment",
        ),
        (
            [
                ("models.third", {"kind": "pretrained", "dataset": "d", "tensor": "fields", "weights": "a/b"}),
                ("models.first.weights", "third"),
            ],
            "third is not trained here; give the weights that it takes over",
        ),
    ],
)
def test_weights_of_another_model_that_would_leak_or_go_round_are_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        complete(changed(*changes))
