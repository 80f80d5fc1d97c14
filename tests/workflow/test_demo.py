"""The demo study from beginning to end: what was planted is what is found, and nothing else."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from phenoloom.core.provenance import read_origin
from phenoloom.core.tables import feature_columns, read_table
from phenoloom.simulate import vignetting

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    shutil.which("phenoloom-cellprofiler") is None, reason="the CellProfiler environment is not built (make env)"
)

#: The feature that each mechanism was planted to change, and the direction.
READOUTS = {
    "nuclear size": ("Nuclei_AreaShape_Area", 1),
    "elongation": ("Cells_AreaShape_Eccentricity", 1),
    "cell count": ("Metadata_Count_Cells", -1),
    "RNA translocation": ("Nuclei_Math_NuclearToCytoplasmicRNA", 1),
    "ER intensity": ("Cells_Intensity_MeanIntensity_ER", 1),
}


@pytest.fixture(scope="module")
def demo(snakemake, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    snakemake(folder)
    return folder


@pytest.fixture(scope="module")
def scores(demo):
    return read_table(demo / "results/demo/evaluation.parquet").set_index(["evaluation", "label"])


@pytest.fixture(scope="module")
def truth(demo):
    return read_table(demo / "results/demo/plates1/truth.parquet")


@pytest.mark.parametrize(
    ("evaluation", "label", "least"),
    [
        ("nsc", "accuracy", 0.9),
        ("nscb", "accuracy", 0.9),
        ("moa", "mean average precision", 0.9),
        ("percent_matching", "share matching", 0.8),
        ("percent_replicating", "share replicating", 0.6),
    ],
)
def test_planted_mechanisms_are_recovered_and_shuffled_labels_give_chance(scores, evaluation, label, least):
    row = scores.loc[evaluation, label]
    assert row["value"] >= least
    assert row["null"] <= 0.35
    assert row["low"] > row["null"]


def test_planted_actives_are_active_and_planted_inactives_are_not(demo, truth):
    found = read_table(demo / "results/demo/evaluation/activity/plates1/cellprofiler/default.parquet")
    keys = ["Metadata_Perturbation", "Metadata_Concentration"]
    planted = truth[truth["Metadata_Control"] != "negative"].drop_duplicates(keys)
    both = planted.merge(found, on=keys, validate="one_to_one")
    assert len(both) == 33
    assert both.loc[both["Truth_Active"], "unit"].tolist() == both.loc[both["active"], "unit"].tolist()


@pytest.mark.parametrize("mechanism", READOUTS)
def test_effects_grow_with_dose(demo, truth, mechanism):
    feature, direction = READOUTS[mechanism]
    wells = read_table(demo / "results/demo/plates1/profiles/cellprofiler/raw/wells.parquet")
    wells = wells.merge(truth[["Metadata_Plate", "Metadata_Well", "Truth_Dose", "Truth_Effect"]])
    controls = wells[wells["Metadata_Control"] == "negative"].groupby("Metadata_Plate")[feature].median()
    wells["relative"] = direction * (wells[feature] / wells["Metadata_Plate"].map(controls) - 1)
    treated = wells[wells["Truth_Effect"] == mechanism]
    means = treated.groupby(["Metadata_Perturbation", "Truth_Dose"])["relative"].mean().unstack()
    assert len(means) == 2
    assert ((means[1] > 0) & (means[2] > means[1])).all(), means


def test_planted_vignetting_is_recovered_up_to_scale_and_offset(demo):
    """Fluorescence, where the light varies by a third; correcting must leave less unevenness than there was."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    options = config["datasets"]["plates1"]["simulate"]
    before, after = [], []
    for plate, batch in (("B1P1", "batch1"), ("B2P1", "batch2")):
        for channel in ("ER", "RNA", "AGP", "Mito"):
            function = np.load(demo / f"results/demo/plates1/illumination/{plate}/{channel}.npy", allow_pickle=False)
            planted = vignetting(options, batch, channel, function.shape)
            design = np.column_stack([function.ravel(), np.ones(function.size)])
            fit, *_ = np.linalg.lstsq(design, planted.ravel(), rcond=None)
            before.append(np.median(np.abs(planted / planted.mean() - 1)))
            after.append(np.median(np.abs(design @ fit / planted.ravel() - 1)))
    assert np.mean(after) < 0.75 * np.mean(before), (before, after)


def test_exactly_the_planted_defects_are_left_out_and_listed(demo, truth):
    ledger = read_table(demo / "results/demo/ledger.parquet")
    lost = ledger[(ledger["stage"] == "quality") & (ledger["severity"] == "lost")]
    planted = truth[truth["Truth_Defects"] != ""]
    assert len(planted) == 2
    assert set(zip(lost["plate"], lost["well"], strict=True)) == set(
        zip(planted["Metadata_Plate"], planted["Metadata_Well"], strict=True)
    )


def test_every_dropped_feature_has_a_reason(demo):
    raw = read_table(demo / "results/demo/plates1/profiles/cellprofiler/raw/wells.parquet")
    kept = read_table(demo / "results/demo/plates1/profiles/cellprofiler/default/wells.parquet")
    dropped = read_table(demo / "results/demo/plates1/profiles/cellprofiler/default/dropped.parquet")
    features = dropped[dropped["kind"] == "feature"]
    assert set(feature_columns(raw)) - set(feature_columns(kept)) == set(features["name"])
    assert (features["reason"].str.len() > 0).all()
    assert not kept[feature_columns(kept)].isna().any().any()


def test_the_report_is_one_offline_page_with_hostile_names_escaped(demo):
    page = (demo / "results/demo/report.html").read_text(encoding="utf-8")
    assert "Compound &#34;7&#34;; &lt;β&gt;" in page
    assert "<β>" not in page
    assert not re.search(r"""(?:src|href)=["']https?://""", page)
    assert len(page) < 15e6


def test_tables_tell_their_origin_without_naming_this_machine(demo):
    origin = read_origin(demo / "results/demo/plates1/profiles/cellprofiler/default/wells.parquet")
    assert origin["rule"] == "profile"
    assert origin["versions"]["pycytominer"]
    assert str(demo) not in str(origin)


def test_a_second_run_has_nothing_to_do_and_a_touched_image_changes_nothing(snakemake, demo):
    next((demo / "results/demo/plates1/images/B1P1/0001").iterdir()).touch()
    assert "Nothing to be done" in snakemake(demo, "--dry-run").stdout + snakemake(demo, "--dry-run").stderr


def test_a_changed_option_reruns_what_depends_on_it_only(snakemake, demo):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["evaluation"]["nsc"]["distance"] = "correlation"
    (demo / "changed.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = snakemake(demo, "--dry-run", "--quiet", "rules", "--configfile", "changed.yaml")
    jobs = dict(re.findall(r"^(\w+)\s+(\d+)\s*$", done.stdout + done.stderr, flags=re.M))
    assert jobs["evaluate"] == "1"
    assert not {"simulate", "index", "quality", "cellprofiler", "cells", "aggregate", "profile"} & set(jobs)


def test_snakemakes_own_report_works(snakemake, demo):
    snakemake(demo, "--report", "snakemake.html")
    assert (demo / "snakemake.html").stat().st_size > 100_000


@pytest.mark.slow
def test_a_demo_without_effects_finds_nothing(snakemake, tmp_path):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["study"] = "nothing"
    config["datasets"]["plates1"]["simulate"]["effect_scale"] = 0
    (tmp_path / "nothing.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    snakemake(tmp_path, "evaluation", "--configfile", "nothing.yaml")
    scores = read_table(tmp_path / "results/nothing/evaluation.parquet").set_index(["evaluation", "label"])
    assert scores.loc[("activity", "share active"), "value"] <= 0.1
    assert scores.loc[("nsc", "accuracy"), "value"] <= 0.4
    assert scores.loc[("moa", "share with q < 0.05"), "value"] == 0
    assert scores.loc[("percent_replicating", "share replicating"), "value"] <= 0.25
    found = pd.read_parquet(tmp_path / "results/nothing/evaluation/activity/plates1/cellprofiler/default.parquet")
    assert len(found) == 33
