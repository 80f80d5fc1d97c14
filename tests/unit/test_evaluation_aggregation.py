"""A learned aggregation beside averages: average precision by plate, joined over plates, by mechanism and compound."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from phenoloom.core.errors import InputError
from phenoloom.evaluation import aggregation, aggregation_tables
from phenoloom.evaluation.aggregation import PLATE, SIDE, average_precision_of_wells, shared_wells
from phenoloom.profiles.similarities import with_similarity

OPTIONS = {"label": "Treatment", "samples": "all"}
HOSTILE = 'x"; rm | <b>'
SIDES = {"P1": "train", "P 2": "validation", HOSTILE: "test", "P4": "test"}


def wells(sides=SIDES, replicates=2, compounds=6, signal=1.0, seed=0, dim=8):
    """Wells of plates: compounds whose profile holds their mechanism and themselves, and two controls a plate."""
    rng = np.random.default_rng(seed)
    own, shared = rng.normal(size=(compounds, dim)), rng.normal(size=(compounds, dim))
    rows, values = [], []
    for plate, side in sides.items():
        names = [*np.repeat(np.arange(compounds), replicates), -1, -1]
        for place, number in enumerate(names):
            row = {"Metadata_Batch": "b1" if plate < "P2" else "b2", "Metadata_Plate": plate}
            row |= {"Metadata_Well": f"A{place + 1:02d}", "Metadata_Perturbation": f"c{number}"}
            row |= {"Metadata_MoA": f"m{number // 2}", "Metadata_Control": "", "Metadata_PlateSide": side}
            row["Metadata_CompoundSide"] = "validation" if number == 0 else "train"
            if number < 0:
                row |= {"Metadata_Perturbation": "DMSO", "Metadata_MoA": "", "Metadata_Control": "negative"}
                row["Metadata_CompoundSide"] = ""
            rows.append(row)
            centre = 0 if number < 0 else own[number] + shared[number // 2]
            values.append(signal * centre + rng.normal(size=dim))
    table = pd.DataFrame(rows)
    return pd.concat([table, pd.DataFrame(values, columns=[f"F{number}" for number in range(dim)])], axis=1)


def scored(profiles, options=OPTIONS):
    """Wells and queries of profiles, the first of which is the learned one."""
    shared = shared_wells(profiles, next(iter(profiles)), options)
    return shared, average_precision_of_wells(shared)


def tables(profiles, options=OPTIONS):
    """Tables of plates and strata."""
    shared, queries = scored(profiles, options)
    plates = aggregation_tables.plate_table(queries, shared.left_out)
    return plates, aggregation_tables.stratum_table(plates, next(iter(profiles)), seed=1, n_bootstrap=200)


PROFILES = {"learned": wells(signal=1.2, seed=1), "mean": wells(signal=0.5, seed=2)}


def expected(table, plate, compounds=None, mechanism=False):
    """Mean average precision of one plate by scikit-learn, one query after the other."""
    own = table[(table["Metadata_Plate"] == plate) & (table["Metadata_Control"] == "")].reset_index(drop=True)
    values = own.filter(like="F").to_numpy()
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    name, of_compound = own["Metadata_MoA" if mechanism else "Metadata_Perturbation"], own["Metadata_Perturbation"]
    found = {}
    for row in range(len(own)):
        others = (own.index != row) & ((of_compound != of_compound[row]) | (not mechanism))
        same = (name == name[row])[others]
        if compounds is None or own["Metadata_CompoundSide"][row] == compounds:
            score = average_precision_score(same, (unit @ unit[row])[others])
            found.setdefault(of_compound[row], []).append(score)
    return np.mean([np.mean(scores) for scores in found.values()])


@pytest.mark.parametrize(("task", "mechanism"), [("replicates", False), ("MoA", True)])
@pytest.mark.parametrize("compounds", ["all", "train", "validation"])
def test_plates_have_the_mean_average_precision_of_scikit_learn(task, mechanism, compounds):
    plates, _ = tables(PROFILES)
    chosen = plates[(plates["task"] == task) & (plates["compounds"] == compounds)]
    assert len(chosen) == 2 * len(SIDES) and set(chosen["candidates"]) == {PLATE}
    for row in chosen.itertuples():
        stratum = None if compounds == "all" else compounds
        due = expected(PROFILES[row.profile], row.plate, stratum, mechanism)
        assert row.mean_average_precision == pytest.approx(due)
        assert row.plate_side == SIDES[row.plate]
        assert row.n_compounds == {"all": 6, "train": 5, "validation": 1}[compounds]


def test_strata_are_welchs_test_of_the_plates():
    plates, strata = tables(PROFILES)
    (row,) = strata.query(
        "task == 'replicates' and plate_side == 'test' and compounds == 'all' and batch == 'all batches'"
    ).itertuples()
    of_side = plates.query("task == 'replicates' and plate_side == 'test' and compounds == 'all'")
    values = {name: part["mean_average_precision"] for name, part in of_side.groupby("profile")}
    test = stats.ttest_ind(values["learned"], values["mean"], equal_var=False)
    assert (row.welch_t, row.pvalue) == pytest.approx((test.statistic, test.pvalue))
    assert row.difference == pytest.approx(values["learned"].mean() - values["mean"].mean())
    assert row.relative == pytest.approx(row.difference / values["mean"].mean())
    assert row.low <= row.difference <= row.high and (row.n_plates, row.n_compounds) == (2, 6)
    single = strata[(strata["plate_side"] == "train") & (strata["batch"] == "all batches")]
    assert len(single) and single[["welch_t", "pvalue", "low", "high"]].isna().all(axis=None)


def test_plates_that_are_all_alike_have_no_p_value():
    alike = pd.DataFrame(
        {"profile": ["learned"] * 2 + ["mean"] * 2, "mean_average_precision": [1, 1, 0.6, 0.6 + 1e-16]}
    )
    alike[["task", "candidates", "plate_side", "compounds", "batch"]] = "replicates", "plate", "test", "all", ""
    alike["plate"], alike["n_compounds"] = ["a", "b"] * 2, 3
    rows = aggregation_tables.stratum_table(alike, "learned", seed=0)
    assert rows["pvalue"].isna().all() and rows["difference"].tolist() == pytest.approx([0.4, 0.4])


def test_a_better_profile_wins_and_an_equal_one_does_not():
    _, strata = tables(PROFILES)
    assert (strata.query("task == 'replicates' and compounds == 'all'")["difference"] > 0).all()
    _, same = tables({"learned": PROFILES["mean"], "mean": PROFILES["mean"]})
    assert (same["difference"] == 0).all() and not (same["pvalue"] < 0.5).any()


def test_only_wells_that_all_have_are_compared_and_the_rest_is_counted():
    fewer = PROFILES["mean"].drop(index=[0, 1, 12])  # two wells of c0 and a control of the first plate
    plates, _ = tables({"learned": PROFILES["learned"], "mean": fewer})
    first = plates[(plates["plate"] == "P1") & (plates["task"] == "replicates") & (plates["compounds"] == "all")]
    assert set(first["n_left_out"]) == {2} and set(first["n_compounds"]) == {5}
    assert set(plates.loc[plates["plate"] != "P1", "n_left_out"]) == {0}
    assert plates[(plates["plate"] == "P1") & (plates["compounds"] == "validation")].empty


def test_order_of_rows_and_missing_features_change_nothing():
    shuffled = PROFILES["mean"].sample(frac=1, random_state=3).assign(F_empty=np.nan)
    pd.testing.assert_frame_equal(tables(PROFILES)[0], tables({"learned": PROFILES["learned"], "mean": shuffled})[0])


def test_a_profile_of_similarities_is_compared_by_these():
    table = PROFILES["mean"]
    values = table.filter(like="F").to_numpy()
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    fused = with_similarity(table.filter(like="Metadata_"), unit @ unit.T).sample(frac=1, random_state=1)
    due, found = (tables({"learned": PROFILES["learned"], "mean": one})[0] for one in (table, fused))
    pd.testing.assert_frame_equal(due, found)


def test_where_plates_have_no_replicates_wells_of_all_plates_are_candidates():
    sides = {f"P{number}": "train" for number in range(4)} | {"Q1": "test", "Q2": "test"}
    table = wells(sides, replicates=1, signal=2.0)
    shared, queries = scored({"learned": table})
    replicates = queries[queries["task"] == "replicates"]
    assert set(replicates["candidates"]) == {SIDE} and len(replicates) == 36
    assert set(queries.loc[queries["task"] == "MoA", "candidates"]) == {PLATE}
    plates = aggregation_tables.plate_table(queries, shared.left_out)
    assert set(plates.loc[plates["task"] == "replicates", "plate"]) == set(sides)
    # A plate of another side is no candidate: without one, test wells find nothing.
    _, alone = scored({"learned": table[table["Metadata_Plate"] != "Q2"]})
    assert "test" not in set(alone.loc[alone["task"] == "replicates", "plate_side"])


def test_a_few_doubled_wells_do_not_make_plates_of_single_ones_candidates():
    table = wells({"P1": "train", "P2": "train"}, replicates=1, compounds=10)
    twin = table.iloc[[0]].assign(Metadata_Well="H12")
    _, queries = scored({"learned": pd.concat([table, twin], ignore_index=True)})
    assert set(queries.loc[queries["task"] == "replicates", "candidates"]) == {SIDE}


def test_wells_that_samples_leave_out_are_of_the_test():
    table = wells({"P1": "train"}, replicates=4)
    table["Metadata_Concentration"] = np.where(np.arange(len(table)) % 4 < 2, 10.0, 3.3)
    options = {"label": "Treatment", "samples": "Metadata_Concentration == 10"}
    shared, queries = scored({"learned": table}, options)
    of_dose = dict(zip(table["Metadata_Well"], table["Metadata_Concentration"], strict=True))
    assert {(of_dose[well], side) for well, side in zip(queries["well"], queries["plate_side"], strict=True)} == {
        (10.0, "train"),
        (3.3, "test"),
    }
    assert len(aggregation_tables.plate_table(queries, shared.left_out)) == 2 * 2 * 3


def test_mechanisms_count_compounds_alike_and_name_the_pairs_that_are_found_best():
    table = PROFILES["learned"].drop(index=[0])
    _, queries = scored({"learned": table, "mean": PROFILES["mean"]})
    mechanisms = aggregation_tables.mechanism_table(queries)
    (row,) = mechanisms.query("plate_side == 'train' and mechanism == 'm0' and profile == 'learned'").itertuples()
    own = queries.query("task == 'MoA' and plate_side == 'train' and label == 'm0' and profile == 'learned'")
    due = own.groupby("compound")["average_precision"].mean().mean()
    assert row.mean_average_precision == pytest.approx(due) and (row.n_compounds, row.n_profiles) == (2, 3)
    compounds = aggregation_tables.compound_table(queries)
    pairs = aggregation_tables.best_pairs(compounds, "learned", 2)
    assert len(pairs) == 2 and pairs["mean_average_precision"].is_monotonic_decreasing
    assert {(row.first, row.second) for row in pairs.itertuples()} <= {("c0", "c1"), ("c2", "c3"), ("c4", "c5")}


def test_several_mechanisms_of_a_compound_and_none_are_survived():
    table = wells({"P1": "train"})
    several = table.assign(Metadata_MoA=table["Metadata_MoA"].replace({"m0": "m0|m1", "m2": ""}))
    _, queries = scored({"learned": several})
    assert set(queries.loc[queries["task"] == "MoA", "label"]) == {"m0", "m1"}
    shared, queries = scored({"learned": table.assign(Metadata_MoA="")})
    assert set(queries["task"]) == {"replicates"}
    assert aggregation_tables.mechanism_table(queries).empty
    compounds = aggregation_tables.compound_table(queries)
    assert aggregation_tables.best_pairs(compounds, "learned", 15).empty


def test_profiles_without_a_common_well_give_empty_tables():
    away = PROFILES["mean"].assign(Metadata_Plate=PROFILES["mean"]["Metadata_Plate"] + " again")
    shared, queries = scored({"learned": PROFILES["learned"], "mean": away})
    assert queries.empty and list(queries.columns) == aggregation.COLUMNS
    plates = aggregation_tables.plate_table(queries, shared.left_out)
    strata = aggregation_tables.stratum_table(plates, "learned", seed=0)
    assert plates.empty and strata.empty and shared.left_out["P1"] == 12
    assert aggregation_tables.mechanism_table(queries).empty and aggregation_tables.compound_table(queries).empty


def test_sizes_are_those_of_the_files(tmp_path):
    paths = [tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "wells.parquet"]
    for path, size in zip(paths, (300, 500, 40), strict=True):
        path.write_bytes(b"x" * size)
    table = aggregation_tables.size_table([("learned", "cell arrays", paths[:2]), ("mean", "wells", paths[2:])], 2)
    assert table["bytes"].tolist() == [800, 40] and table["bytes_per_plate"].tolist() == [400, 20]


def test_a_well_that_stands_twice_is_an_error_that_names_it():
    doubled = pd.concat([PROFILES["mean"], PROFILES["mean"].iloc[[3]]], ignore_index=True)
    with pytest.raises(InputError, match="the profile mean has well A04 of plate P1 twice"):
        shared_wells({"learned": PROFILES["learned"], "mean": doubled}, "learned", OPTIONS)
