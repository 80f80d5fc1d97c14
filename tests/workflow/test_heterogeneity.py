"""The study of simulated cells that differ and keep their means: what is planted is found, by what can see it only."""

import shutil

import numpy as np
import pandas as pd
import pytest

import finished_study
from finished_study import ROOT

pytestmark = pytest.mark.slow

STUDY = "config/studies/heterogeneity_demo.yaml"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Folder of the results after a whole run."""
    folder = tmp_path_factory.mktemp("heterogeneity") / "work"
    finished_study.checkout(folder)
    (folder / STUDY).parent.mkdir(parents=True)
    shutil.copy(ROOT / STUDY, folder / STUDY)
    finished_study.command(folder, "phenoloom", "run", STUDY, "all", "--cores", "2", timeout=3000)
    return folder / "results/heterogeneity_demo"


@pytest.fixture(scope="module")
def scores(results):
    """{(evaluation, profile): row of its mean average precision}."""
    table = pd.read_parquet(results / "evaluation.parquet")
    rows = table[table["label"] == "mean average precision"]
    return {(row.evaluation, row.profile): row for row in rows.itertuples()}


@pytest.mark.parametrize("evaluation", ["replicates_seen", "replicates_unseen", "moa_test"])
def test_compounds_part_under_the_learned_profile_and_not_under_the_average(scores, evaluation):
    learned, average = scores[evaluation, "learned"], scores[evaluation, "average"]
    assert learned.pvalue < 0.05 and learned.low > average.high + 0.2
    assert abs(average.value - average.null) < 0.05


@pytest.mark.parametrize("evaluation", ["replicates_seen", "replicates_unseen", "moa_test"])
def test_labels_in_random_order_teach_nothing(scores, evaluation):
    shuffled = scores[evaluation, "learned_shuffled"]
    assert abs(shuffled.value - shuffled.null) < 0.08


def test_every_kind_of_effect_is_learned_of_unseen_compounds_too(results):
    table = pd.read_parquet(results / "evaluation/moa_test/cells/simulated/learned.parquet")
    unseen = table[table["Metadata_Perturbation"].str.endswith(" B")]
    assert len(unseen) == 6 and (unseen["mean_average_precision"] > 0.5).all()


def test_the_tables_say_who_was_seen_and_the_page_that_it_helps(results):
    strata = pd.read_parquet(results / "cells/profiles/simulated/learned/aggregation/strata.parquet")
    assert {"train", "validation", "all"} == set(strata["compounds"])
    test = strata[(strata["plate_side"] == "test") & (strata["reference"] == "average")]
    assert (test["difference"] > 0.2).all() and np.isfinite(test["pvalue"]).all()
    assert "It helps." in (results / "report.html").read_text(encoding="utf-8")
