"""The label that a network learned from is scored on held-out wells only, or the reader is warned."""

from phenoloom.evaluation import weak_labels

REPLICATES = {"metric": "mean_average_precision", "level": "wells", "positives": "Treatment", "samples": ""}


def model(hold_out="Plate", label="Treatment", epochs=10):
    return {"kind": "ws_dino", "label": label, "split": {"hold_out": hold_out}, "train": {"epochs": epochs}}


def test_wells_that_a_network_learned_from_are_left_out_of_its_own_label():
    assert weak_labels.scored_when_held_out(model(), REPLICATES)
    assert not weak_labels.scored_when_held_out(model(label="MoA"), REPLICATES)
    assert not weak_labels.scored_when_held_out(model(epochs=0), REPLICATES)
    assert not weak_labels.scored_when_held_out({"kind": "dino", "split": {}, "train": {"epochs": 1}}, REPLICATES)
    assert weak_labels.held_out_only("") == "Metadata_Split == 'test'"
    assert weak_labels.held_out_only("a == 1 or b == 2") == "(a == 1 or b == 2) and Metadata_Split == 'test'"


def test_where_nothing_was_held_out_the_reader_is_warned():
    config = {"models": {"ws": model("none"), "held": model()}, "evaluation": {"replicates": REPLICATES}}
    ((severity, text),) = weak_labels.warnings(config)
    assert severity == "caution" and text.startswith("replicates of ws: the network learned from Treatment")


def test_a_learned_aggregation_that_is_asked_for_its_label_on_wells_that_taught_it_is_a_caution():
    asked = {"metric": "mean_average_precision", "positives": "Treatment"}
    config = {
        "profiles": {"learned": [{"deep_sets": {"label": "Treatment"}}], "plain": [{"aggregate": {}}]},
        "evaluation": {"all": asked, "apart": {**asked, "samples": "Metadata_Split == 'test'"}},
    }
    ((severity, sentence),) = weak_labels.warnings(config)
    assert severity == "caution" and sentence.startswith("all of the profile learned")
