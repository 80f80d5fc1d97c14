"""Which evaluation runs on which profile."""

import os
import subprocess
import sys

import pytest

from phenoloom.core.errors import InputError
from phenoloom.evaluation.plan import combinations

PROFILES = [("p1", "cellprofiler", "default"), ("p1", "ljosa", "default"), ("p2", "cellprofiler", "tvn")]


def test_no_pattern_means_all_profiles_in_order():
    assert combinations({"nsc": {}, "map": {"of": []}}, PROFILES) == [
        *(("nsc", *profile) for profile in PROFILES),
        *(("map", *profile) for profile in PROFILES),
    ]


def test_patterns_choose_by_part_and_a_profile_counts_once():
    chosen = combinations({"nsc": {"of": ["*/cellprofiler/*", "cellprofiler/default", "p1/*/default"]}}, PROFILES)
    assert chosen == [("nsc", *profile) for profile in PROFILES]
    assert combinations({"nsc": {"of": ["cellprofiler/t*"]}}, PROFILES) == [("nsc", "p2", "cellprofiler", "tvn")]


@pytest.mark.parametrize("pattern", ["p1/cellprofiler/defalt", "*", "p1/cellprofiler/default/more"])
def test_a_pattern_without_a_match_names_the_nearest(pattern):
    with pytest.raises(InputError, match=r"evaluation\.nsc\.of") as error:
        combinations({"nsc": {"of": [pattern]}}, PROFILES)
    assert "p1/cellprofiler/default" in str(error.value)


def test_no_profiles_give_no_rows():
    assert combinations({"nsc": {}}, []) == []


def test_the_plan_loads_no_heavy_library():
    code = "import sys, phenoloom.evaluation.plan; print({'numpy', 'pandas', 'scipy'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
