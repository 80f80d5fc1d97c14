"""A chain is split at aggregate, and what cannot work is said before anything runs."""

import pytest
import yaml
from jsonschema import Draft202012Validator

from phenoloom.config.schema import SCHEMAS
from phenoloom.profiles.chain import after_aggregate, before_aggregate, learned, parse, problems
from profile_options import chain

SCHEMA = yaml.safe_load((SCHEMAS / "profiles.schema.yaml").read_text(encoding="utf-8"))

STEPS = [
    {"filter": {"query": "Nuclei_Area > 3"}},
    {"aggregate": {"operation": "mean"}},
    {"normalize": {"method": "standardize"}},
    {"consensus": {"operation": "median"}},
]


def test_later_steps_are_no_part_of_aggregation():
    assert before_aggregate(STEPS) == STEPS[:2]
    assert after_aggregate(STEPS) == STEPS[2:]
    assert before_aggregate(STEPS[2:]) == []
    assert after_aggregate(STEPS[2:]) == STEPS[2:]


def test_defaults_are_filled_in_and_no_step_appears_by_itself():
    (step,) = chain({"normalize": {"by": "batch"}})
    assert list(step) == ["normalize"]
    assert step["normalize"]["method"] == "mad_robustize"
    assert step["normalize"]["by"] == "batch"
    assert step["normalize"]["samples"] == "Metadata_Control == 'negative'"


@pytest.mark.parametrize("name", ["default"])
def test_the_default_chain_is_valid(name):
    Draft202012Validator(SCHEMA).validate(SCHEMA["default"])
    assert [step for step, _ in parse(SCHEMA["default"][name])] == ["aggregate", "normalize", "feature_select"]


@pytest.mark.parametrize(
    "steps",
    [
        [{"agregate": {}}],
        [{"aggregate": {}, "normalize": {}}],
        [{}],
        [],
        [{"normalize": {"method": "zscore"}}],
        [{"normalize": {"samples": ""}}],
        [{"feature_select": {"operations": ["variance"]}}],
        [{"filter": {}}],
        [{"aggregate": {"operation": "max"}}],
    ],
)
def test_the_schema_rejects_what_is_no_chain(steps):
    assert not Draft202012Validator(SCHEMA).is_valid({"name": steps})


@pytest.mark.parametrize(
    ("steps", "level", "word"),
    [
        ([{"normalize": {}}], "cells", "aggregate"),
        ([{"aggregate": {}}, {"aggregate": {}}], None, "twice"),
        ([{"consensus": {}}, {"normalize": {}}], "wells", "consensus ends"),
        ([{"normalize": {"method": "spherize"}}, {"aggregate": {}}], "cells", "spherize"),
        ([{"normalize": {"by": "batch"}}, {"aggregate": {}}], "sites", "by plate"),
        ([{"feature_select": {}}, {"aggregate": {}}], "cells", "feature_select works on wells"),
        ([{"aggregate": {}}, {"fuse": {}}], "cells", "add dispersion or covariances"),
        ([{"aggregate": {"covariances": 9}}, {"fuse": {}}, {"normalize": {}}], "cells", "move normalize before it"),
        ([{"fuse": {}}, {"fuse": {}}], "wells", "move fuse before it"),
        (
            [{"aggregate": {"dispersion": "std"}}, {"fuse": {}}, {"consensus": {"operation": "modz"}}],
            None,
            "the mean of",
        ),
        ([{"fuse": {}}, {"aggregate": {"dispersion": "std"}}], None, "move aggregate before it"),
        ([{"deep_sets": {}}, {"fuse": {}}], "cells", "deep_sets makes none"),
    ],
)
def test_problems_are_said(steps, level, word):
    found = problems(steps, level)
    assert len(found) == 1
    assert word in found[0]


def test_a_chain_for_wells_needs_no_aggregate():
    assert problems([{"normalize": {"method": "spherize"}}], "wells") == []
    assert problems(STEPS, "cells") == []


@pytest.mark.parametrize("steps", [[{"a": {}}], [{"filter": {}, "normalize": {}}]])
def test_unknown_steps_are_refused(steps):
    with pytest.raises(ValueError, match="step"):
        parse(steps)


@pytest.mark.parametrize(
    ("steps", "level", "sentence"),
    [
        (["deep_sets", "aggregate"], "cells", "aggregate and deep_sets both make wells"),
        (["deep_sets", "deep_sets"], "cells", "deep_sets stands twice"),
        (["deep_sets"], "sites", "deep_sets works on cells, and there is a representation of sites"),
        (["tvn", "deep_sets"], "cells", "tvn makes sites of cells, and deep_sets works on cells"),
        (["deep_sets", "tvn"], "cells", "tvn works on sites; move it before"),
        (["feature_select", "deep_sets"], "cells", "feature_select works on wells; move it after"),
    ],
)
def test_a_learned_aggregation_stands_where_aggregate_would(steps, level, sentence):
    assert any(sentence in problem for problem in problems([{name: {}} for name in steps], level))


def test_steps_lie_before_and_after_a_learned_aggregation():
    steps = [{"normalize": {}}, {"deep_sets": {"phi": 8}}, {"feature_select": {}}]
    assert problems(steps, "cells") == [] and learned(steps) == {"phi": 8} and learned(steps[:1]) is None
    assert before_aggregate(steps) == steps[:2] and after_aggregate(steps) == steps[2:]
