"""A learned aggregation in a study, from a table of single cells to the evaluation beside averages."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from test_reruns import jobs

import finished_study

CONFIG = "sets.yaml"
RESULTS = "results/sets"
PROFILES = f"{RESULTS}/d/profiles/cells"


def cells():
    """Cells of three plates whose compounds differ in the sign of a correlation, by dose, and not in any mean."""
    rng, parts = np.random.default_rng(0), []
    for plate in ("P1", "P 2", "P3"):
        for number, name in enumerate(["DMSO", *(f"c{compound}" for compound in range(5))] * 2):
            rho = 0.0 if name == "DMSO" else np.linspace(-0.95, 0.95, 5)[int(name[1])]
            values = rng.normal(size=(120, 4))
            values[:, 1] = rho * values[:, 0] + np.sqrt(1 - rho**2) * values[:, 1]
            values = (values - values.mean(axis=0)) / values.std(axis=0)
            frame = pd.DataFrame(values, columns=[f"Cells_{letter}" for letter in "abcd"])
            keys = {"Metadata_Plate": plate, "Metadata_Well": f"{'AB'[number // 6]}{number % 6 + 1:02d}"}
            keys |= {"Metadata_Perturbation": name, "Metadata_MoA": "" if name == "DMSO" else f"m{int(name[1]) // 2}"}
            parts.append(frame.assign(**keys))
    return pd.concat(parts, ignore_index=True)


def config():
    learned = {"test_plates": ["P3"], "validation_compounds": ["c4"], "epochs": 40, "phi": 64, "rho": [32, 64]}
    learned |= {"sets": {"cells": [60, 10]}, "memory_mb": 1500}
    return {
        "study": "sets",
        "datasets": {
            "d": {
                "representations": {
                    "cells": {"table": "cells.parquet", "level": "cells", "controls": {"negative": ["DMSO"]}},
                }
            }
        },
        "profiles": {
            "average": [{"aggregate": {"operation": "mean"}}],
            "learned": [{"normalize": {"method": "standardize", "samples": "all"}}, {"deep_sets": learned}],
        },
        "evaluation": {
            "replicates": {
                "metric": "mean_average_precision",
                "samples": "Metadata_Plate == 'P3'",
                "against": ["cells/average"],
                "permutations": 5,
                "bootstrap": 50,
            },
        },
    }


def due(folder):
    """Rules that a dry run lists."""
    found = jobs(finished_study.command(folder, "snakemake", "--dry-run", "all", "--configfile", CONFIG))
    return {rule for rule, _ in found} - {"all"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The study after a whole run."""
    folder = tmp_path_factory.mktemp("sets") / "work"
    finished_study.checkout(folder)
    cells().to_parquet(folder / "cells.parquet")
    (folder / CONFIG).write_text(yaml.safe_dump(config(), sort_keys=False))
    finished_study.command(folder, "phenoloom", "run", CONFIG, "all", "--cores", "2")
    return folder


def test_wells_say_who_taught(folder):
    wells = pd.read_parquet(folder / PROFILES / "learned/wells.parquet")
    assert len(wells) == 36 and wells.filter(like="DeepSets_").shape[1] == 64
    sides = wells.astype({"Metadata_Split": str}).groupby("Metadata_Split")["Metadata_Perturbation"].agg(set)
    assert sides["train"] == {"c0", "c1", "c2", "c3"} and sides["validation"] == {"c4"}
    assert set(wells.loc[wells["Metadata_Plate"] == "P3", "Metadata_Split"].astype(str)) == {"test"}
    card = json.loads((folder / PROFILES / "learned/deep_sets/card.json").read_text())
    assert card["data"]["train wells"] == 16 and card["training"]["best_epoch"] >= 1


def test_it_sees_on_a_held_out_plate_what_the_average_does_not(folder):
    table = pd.read_parquet(folder / RESULTS / "comparison.parquet")
    (row,) = table[(table["profile"] == "learned") & (table["label"] == "mean average precision")].itertuples()
    assert row.against_profile == "average" and row.difference > 0.2


def test_it_is_compared_with_the_average_plate_by_plate(folder):
    tables = folder / PROFILES / "learned/aggregation"
    plates = pd.read_parquet(tables / "plates.parquet")
    assert set(plates["profile"]) == {"learned", "average"} and set(plates["plate"]) == {"P1", "P 2", "P3"}
    replicates = plates[(plates["task"] == "replicates") & (plates["compounds"] == "all")]
    assert set(replicates["candidates"]) == {"plate"} and set(replicates["n_compounds"]) == {5}
    strata = pd.read_csv(tables / "strata.csv")
    chosen = strata.query("task == 'replicates' and plate_side == 'test' and compounds == 'all'")
    assert (chosen["difference"] > 0.1).all() and set(chosen["reference"]) == {"average"}
    assert set(pd.read_parquet(tables / "mechanisms.parquet")["mechanism"]) == {"m0", "m1"}
    sizes = pd.read_parquet(tables / "sizes.parquet").set_index(["profile", "files"])["bytes"]
    arrays = (folder / PROFILES / "learned/cell_sets").glob("*.npy")
    assert sizes["learned", "cells for the network"] == sum(path.stat().st_size for path in arrays)


def test_the_page_says_whether_it_helps_and_what_it_costs(folder):
    page = (folder / RESULTS / "report.html").read_text(encoding="utf-8")
    section = page[page.index('id="s-aggregation"') : page.index('id="s-relevance"')]
    assert "On test plates it finds replicates better than average" in section
    assert "Whether it helps cannot be told from one plate." in section and "Best epoch" in section
    figures = json.loads((folder / RESULTS / "figures/d/aggregation/cells/learned/figures.json").read_text())
    names = {figure["name"] for figure in figures["figures"]}
    assert names == {"replicates_1", "mechanisms_1", "each_mechanism_1", "map", "training_1"}
    assert "sets per second" in next(one["caption"] for one in figures["figures"] if one["name"] == "training_1")
    assert section.count("<img") == len(names)


def test_cells_of_treated_wells_have_a_relevance_and_names(folder):
    scored = folder / PROFILES / "learned/relevance"
    found, wells = pd.read_parquet(scored / "cells.parquet"), pd.read_parquet(scored / "wells.parquet")
    assert len(found) == 3 * 10 * 120 and set(wells["Metadata_Perturbation"]) == {f"c{n}" for n in range(5)}
    limits = found.groupby(["Metadata_Plate", "Metadata_Well"], observed=True)[["Sensitivity", "Combined"]]
    assert (limits.min() == 0).all(axis=None) and (limits.max() == 1).all(axis=None)
    entered = pd.read_parquet(folder / f"{RESULTS}/d/representations/cells/cells/all.parquet")
    named = entered.iloc[found["Metadata_Row"]]
    for name in ("Metadata_Plate", "Metadata_Well"):
        assert named[name].astype(str).tolist() == found[name].astype(str).tolist()
    table = pd.read_parquet(scored / "features.parquet").set_index("Feature")
    expected = np.corrcoef(named["Cells_a"], found["Combined"])[0, 1]
    # Cells are standardised by plate, which these are already.
    assert table.loc["Cells_a", "Correlation_Combined"] == pytest.approx(expected, abs=1e-3)


def test_the_page_says_what_relevant_cells_are_like_and_why_there_are_no_pictures(folder):
    page = (folder / RESULTS / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="s-relevance"') : page.index('<section id="s-ledger"')]
    assert "3,600 cells of 30 treated wells on 3 plates (P1, P3, P 2) were scored" in section
    assert section.count("<img") == 2 and "d/cells/learned has no images" in section


def test_nothing_reruns_without_a_change_and_training_after_one(folder):
    assert due(folder) == set()
    changed = config()
    changed["profiles"]["learned"][1]["deep_sets"]["epochs"] = 5
    (folder / CONFIG).write_text(yaml.safe_dump(changed, sort_keys=False))
    found = due(folder)
    (folder / CONFIG).write_text(yaml.safe_dump(config(), sort_keys=False))
    assert {"deep_sets", "aggregate_learned", "profile", "evaluate"} <= found and "aggregate" not in found
    assert {"aggregation_scores", "figure_aggregation", "relevance", "figure_relevance"} <= found
