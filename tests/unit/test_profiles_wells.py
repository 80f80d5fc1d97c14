"""Steps on wells do what pycytominer does, and say what they leave out and why."""

import numpy as np
import pandas as pd
import pytest
from pycytominer import feature_select, normalize
from pycytominer.cyto_utils import modz

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import feature_columns, read_table, write_table
from phenoloom.profiles.consensus import treatments
from phenoloom.profiles.dropped import Dropped, read_dropped
from phenoloom.profiles.feature_selection import REASONS, select_features
from phenoloom.profiles.harmony import harmonize
from phenoloom.profiles.profiling import profile, wells_of_table
from phenoloom.profiles.scaling import normalize_wells
from phenoloom.profiles.storage import read_wells, write_double
from profile_options import chain

HOSTILE = 'x"; rm -rf ~ #<script>|\n{a}'


def wells(plates=("p1", "p2"), per_plate=12, features=6, seed=5):
    """Wells of two batches; the first third of each plate are negative controls."""
    random = np.random.default_rng(seed)
    rows = []
    for number, plate in enumerate(plates):
        for well in range(per_plate):
            control = well < max(1, per_plate // 3)
            rows.append(
                {
                    "Metadata_Batch": f"b{number + 1}",
                    "Metadata_Plate": plate,
                    "Metadata_Well": f"A{well + 1:02d}",
                    "Metadata_Perturbation": "DMSO" if control else [HOSTILE, "compound"][well % 2],
                    "Metadata_Concentration": np.nan if control else 1.0 + well % 4 // 2,
                    "Metadata_Unit": "" if control else "uM",
                    "Metadata_Control": "negative" if control else "",
                    "Metadata_MoA": "" if control else ["moa <b>", "other"][well % 2],
                    "Metadata_Count_Cells": 10 + well,
                }
            )
    frame = pd.DataFrame(rows)
    values = random.normal(3, 2, (len(frame), features))
    return pd.concat([frame, pd.DataFrame(values, columns=[f"Cells_F{n}" for n in range(features)])], axis=1)


def options(name, **given):
    return chain({name: given})[0][name]


def normalized(frame, **given):
    ledger, dropped = Ledger("profile"), Dropped()
    return normalize_wells(frame, options("normalize", **given), ledger, dropped), ledger.frame(), dropped.frame()


@pytest.mark.parametrize("method", ["standardize", "robustize", "mad_robustize", "spherize"])
@pytest.mark.parametrize("samples", ["all", "Metadata_Control == 'negative'"])
def test_normalisation_is_pycytominers_per_plate(method, samples):
    frame = wells(per_plate=30)
    ours, ledger, _ = normalized(frame, method=method, samples=samples)
    features = feature_columns(frame)
    for plate, part in frame.groupby("Metadata_Plate"):
        expected = normalize(part, features=features, method=method, samples=samples)
        np.testing.assert_array_equal(ours.loc[ours["Metadata_Plate"] == plate, features], expected[features])
    assert ledger.empty


def test_whitening_by_fewer_wells_than_features_is_said():
    _, ledger, _ = normalized(wells(per_plate=12), method="spherize", by="plate")
    assert "4 reference wells of plate p1 span at most 3 of 6 dimensions" in ledger["reason"][0]
    assert ledger["plate"].tolist() == ["p1", "p2"] and ledger["count"].tolist() == [3, 3]
    assert normalized(wells(per_plate=12), method="spherize", by="dataset")[1].empty


def test_groups_are_plates_batches_or_everything():
    frame = wells(plates=("p1", "p2", "p3")).assign(Metadata_Batch=["b1"] * 24 + ["b2"] * 12)
    frame.loc[frame["Metadata_Plate"] == "p2", "Cells_F0"] += 100
    means = {
        by: normalized(frame, method="standardize", samples="all", by=by)[0]
        .groupby("Metadata_Plate")["Cells_F0"]
        .mean()
        for by in ("plate", "batch", "dataset")
    }
    np.testing.assert_allclose(means["plate"], 0, atol=1e-12)
    np.testing.assert_allclose(means["batch"][["p1", "p2"]].sum(), 0, atol=1e-12)
    np.testing.assert_allclose(means["batch"]["p3"], 0, atol=1e-12)
    assert means["dataset"]["p3"] < -0.5
    np.testing.assert_allclose(means["dataset"].sum(), 0, atol=1e-12)


def test_a_plate_without_negative_controls_goes_to_the_ledger():
    frame = wells()
    frame.loc[frame["Metadata_Plate"] == "p2", "Metadata_Control"] = ""
    ours, ledger, dropped = normalized(frame)
    assert set(ours["Metadata_Plate"]) == {"p1"}
    assert ledger[["plate", "unit", "count", "severity"]].to_numpy().tolist() == [["p2", "well", 12, "lost"]]
    assert "plate p2 has 0 wells with Metadata_Control == 'negative'" in ledger["reason"].iloc[0]
    assert (dropped["kind"] == "well").sum() == 12


def test_no_plate_with_negative_controls_is_an_error():
    with pytest.raises(
        InputError, match="no well with Metadata_Control == 'negative' on any plate .* mark the controls"
    ):
        normalized(wells().assign(Metadata_Control=""))


def test_a_plate_of_one_well_has_no_missing_values():
    for method in ("standardize", "robustize", "mad_robustize"):
        ours, ledger, _ = normalized(wells(per_plate=1), method=method)
        assert np.isfinite(ours[feature_columns(ours)]).all(axis=None)
        assert len(ledger) == 2
        assert set(ledger["severity"]) == {"flagged"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: frame.assign(Cells_F1=np.nan), "missing values"),
        (lambda frame: frame.assign(Cells_F1=1.0), "constant"),
        (lambda frame: frame.iloc[[0, 1, 1, 1, *range(12, 60)]].reset_index(drop=True), "rank"),
        (
            lambda frame: frame.assign(Metadata_Control=["negative"] + [""] * 29 + ["negative"] + [""] * 29),
            "at least 2",
        ),
    ],
)
def test_a_whitening_that_cannot_be_fitted_is_one_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence):
        normalized(change(wells(per_plate=30)), method="spherize", samples="Metadata_Control == 'negative'", by="plate")


def test_a_whitening_on_fewer_controls_than_features_is_pycytominers():
    frame = wells(per_plate=12, features=9)
    ours, _, _ = normalized(frame, method="spherize")
    part = frame[frame["Metadata_Plate"] == "p1"]
    expected = normalize(
        part, features=feature_columns(frame), method="spherize", samples="Metadata_Control == 'negative'"
    )
    np.testing.assert_allclose(ours.iloc[:12][feature_columns(frame)], expected[feature_columns(frame)], rtol=1e-9)
    assert np.isfinite(ours[feature_columns(ours)]).all(axis=None)


def selectable(seed=2):
    """Wells with features for every operation to drop."""
    frame = wells(per_plate=40, seed=seed)
    random = np.random.default_rng(seed)
    frame["Cells_Constant"] = 2.0
    frame["Cells_Rare"] = np.r_[1.0, np.zeros(len(frame) - 1)]
    frame["Cells_Twin"] = frame["Cells_F0"] * 2 + random.normal(0, 1e-3, len(frame))
    frame["Cells_Gaps"] = frame["Cells_F1"].where(random.random(len(frame)) > 0.3)
    frame["Cells_Wild"] = np.r_[900.0, random.normal(size=len(frame) - 1)]
    frame["Nuclei_Correlation_Manders_AGP_DNA"] = random.normal(size=len(frame))
    frame["Cells_Noisy"] = random.normal(size=len(frame)) * 50
    return frame


@pytest.mark.parametrize("operations", [[name] for name in REASONS] + [list(REASONS), list(REASONS)[::-1]])
def test_selection_keeps_what_pycytominer_keeps(operations):
    frame = selectable()
    dropped = Dropped()
    chosen = options("feature_select", operations=operations, noise_removal_stdev_cutoff=20)
    ours = select_features(frame, chosen, dropped)
    groups = (frame["Metadata_Perturbation"] + frame["Metadata_Concentration"].astype(str)).tolist()
    expected = feature_select(
        frame,
        features=feature_columns(frame),
        operation=operations,
        noise_removal_perturb_groups=groups,
        noise_removal_stdev_cutoff=20,
    )
    assert feature_columns(ours) == feature_columns(expected)
    assert len(feature_columns(ours)) < len(feature_columns(frame))
    gone = set(feature_columns(frame)) - set(feature_columns(ours))
    rows = dropped.frame()
    assert sorted(rows["name"]) == sorted(gone)
    assert set(rows["kind"]) == {"feature"}
    assert (rows["reason"] != "").all()


def test_the_samples_of_a_selection_count_alone():
    frame = selectable()
    frame["Cells_Quiet"] = np.where(frame["Metadata_Control"] == "negative", 1.0, frame["Cells_F2"])
    chosen = options("feature_select", operations=["variance_threshold"], samples="Metadata_Control == 'negative'")
    assert "Cells_Quiet" not in select_features(frame, chosen, Dropped())
    assert "Cells_Quiet" in select_features(frame, {**chosen, "samples": "all"}, Dropped())


def test_of_identical_features_the_last_stays():
    frame = wells(per_plate=40)
    frame = frame.assign(Cells_A=frame["Cells_F0"], Cells_B=frame["Cells_F0"])
    ours = select_features(frame, options("feature_select", operations=["correlation_threshold"]), Dropped())
    assert [name for name in feature_columns(ours) if name in ("Cells_F0", "Cells_A", "Cells_B")] == ["Cells_B"]


def test_a_selection_that_leaves_nothing_is_one_sentence():
    with pytest.raises(InputError, match="leaves no feature of 6 with 1 wells"):
        select_features(wells(plates=("p",), per_plate=1), options("feature_select"), Dropped())


def test_own_block_lists_are_obeyed():
    chosen = options("feature_select", operations=["blocklist"], blocklist=["Cells_F3", "Cells_Unknown"])
    ours = select_features(wells(), chosen, Dropped())
    assert "Cells_F3" not in ours
    assert len(feature_columns(ours)) == 5


@pytest.mark.parametrize("operation", ["mean", "median", "modz"])
def test_treatments_are_pycytominers_consensus_over_all_plates(operation):
    frame = wells()
    features = feature_columns(frame)
    ours = treatments(frame, options("consensus", operation=operation), Ledger("profile"))
    keys = ["Metadata_Perturbation", "Metadata_Concentration", "Metadata_Unit"]
    assert len(ours) == len(frame[keys].drop_duplicates()) == 5
    if operation == "modz":
        expected = modz(frame, keys, features=features)
    else:
        expected = getattr(frame.groupby(keys, dropna=False)[features], operation)().reset_index()
    joined = ours[keys].merge(expected, on=keys, how="left")
    np.testing.assert_allclose(ours[features], joined[features], rtol=1e-12)
    assert (ours["Metadata_Batch"] == "b1|b2").all()
    assert (ours["Metadata_Batches"] == 2).all()
    assert set(ours["Metadata_Perturbation"]) == {"DMSO", "compound", HOSTILE}
    assert dict(zip(ours["Metadata_Perturbation"], ours["Metadata_MoA"], strict=True)) == {
        "DMSO": "",
        HOSTILE: "moa <b>",
        "compound": "other",
    }
    assert ours["Metadata_Wells"].sum() == len(frame)
    assert ours["Metadata_Count_Cells"].sum() == frame["Metadata_Count_Cells"].sum()
    assert list(ours.loc[ours["Metadata_Control"] == "negative", "Metadata_Perturbation"]) == ["DMSO"]


def test_units_make_different_treatments():
    frame = wells()
    frame.loc[frame["Metadata_Plate"] == "p2", "Metadata_Unit"] = "nM"
    ours = treatments(frame, options("consensus"), Ledger("profile"))
    assert len(ours) == 10


def test_a_treatment_of_two_mechanisms_is_flagged():
    frame = wells()
    frame.loc[5, "Metadata_MoA"] = "third"
    ledger = Ledger("profile")
    ours = treatments(frame, options("consensus", by=["Perturbation"]), ledger)
    assert "other|third" in set(ours["Metadata_MoA"])
    assert ledger.frame()["severity"].tolist() == ["flagged"]


def test_wells_without_a_perturbation_are_in_no_treatment():
    frame = wells()
    frame.loc[3, "Metadata_Perturbation"] = ""
    ledger = Ledger("profile")
    ours = treatments(frame, options("consensus"), ledger)
    assert ours["Metadata_Wells"].sum() == len(frame) - 1
    assert ledger.frame()["count"].tolist() == [1]


def test_a_consensus_by_an_unknown_column_names_the_known_ones():
    with pytest.raises(InputError, match="no Metadata_Compound.*Perturbation"):
        treatments(wells(), options("consensus", by=["Compound"]), Ledger("profile"))


STEPS = [
    {"filter": {"query": "Metadata_Count_Cells > 10"}},
    {"normalize": {}},
    {"feature_select": {}},
    {"consensus": {"operation": "median"}},
]


def test_a_chain_counts_everything_it_drops():
    frame = wells()
    frame["Cells_Nothing"] = np.nan
    frame.loc[4, "Cells_F2"] = np.inf
    ledger, dropped = Ledger("profile"), Dropped()
    tables = [frame.iloc[:12], frame.iloc[12:].drop(columns="Cells_F5")]
    result, _ = profile(tables, chain(*STEPS[:2]), ledger, dropped)
    rows = dropped.frame().set_index("name")
    assert rows.loc["Cells_Nothing", ["kind", "reason"]].tolist() == ["feature", "no value in any well"]
    assert rows.loc["Cells_F2", ["kind", "reason", "count"]].tolist() == ["value", "infinite, taken as missing", 1]
    assert rows.loc["Cells_F5", ["plate", "reason", "count"]].tolist() == ["p2", "the plate has no such feature", 12]
    assert rows.loc["A01", "plate"].tolist() == ["p1", "p2"]
    assert len(result) == 22
    assert np.isnan(result["Cells_F2"]).sum() == 1
    assert "2 features miss values" in ledger.frame()["reason"].iloc[-1]


@pytest.mark.parametrize("method", ["standardize", "mad_robustize"])
def test_the_order_of_rows_and_plates_is_no_matter(method, tmp_path):
    frame = selectable()
    steps = chain(STEPS[0], {"normalize": {"method": method}}, *STEPS[2:])
    parts = [frame.iloc[:40], frame.iloc[40:]]
    shuffled = [part.sample(frac=1, random_state=1) for part in parts[::-1]]
    for name, tables in (("first", parts), ("second", shuffled)):
        for level, table in zip(("wells", "treatments"), profile(tables, steps, Ledger("x"), Dropped()), strict=True):
            write_table(tmp_path / f"{name}_{level}.parquet", table)
    for level in ("wells", "treatments"):
        first, second = ((tmp_path / f"{name}_{level}.parquet").read_bytes() for name in ("first", "second"))
        assert first == second


def test_a_column_that_only_one_plates_map_has_is_empty_text_on_the_others():
    first, second = (part.copy() for _, part in wells().groupby("Metadata_Plate"))
    first["Metadata_Solvent"] = "water"
    joined, _ = profile([first, second], [], Ledger("profile"), Dropped())
    assert joined.groupby("Metadata_Plate")["Metadata_Solvent"].unique().map(list).tolist() == [["water"], [""]]


def test_hostile_names_survive_to_the_tables(tmp_path):
    frame = wells(plates=(HOSTILE, "p2"))
    result, treated = profile([frame], chain(*STEPS), Ledger("x"), Dropped())
    write_table(tmp_path / "wells.parquet", result)
    write_table(tmp_path / "treatments.parquet", treated)
    assert set(read_table(tmp_path / "wells.parquet")["Metadata_Plate"]) == {HOSTILE, "p2"}
    assert HOSTILE in set(read_table(tmp_path / "treatments.parquet")["Metadata_Perturbation"])


def test_tables_between_steps_keep_double_precision(tmp_path):
    frame = wells()
    write_double(tmp_path / "p.parquet", frame)
    pd.testing.assert_frame_equal(read_wells(tmp_path / "p.parquet"), frame, check_exact=True)


def test_wells_pass_through_aggregate_and_earlier_steps_act_on_them(tmp_path):
    frame = wells()
    write_double(tmp_path / "all.parquet", frame)
    ledger, dropped = Ledger("x"), Dropped()
    plain = wells_of_table(tmp_path / "all.parquet", chain({"aggregate": {}}), "wells", ledger, dropped)
    np.testing.assert_array_equal(plain[feature_columns(frame)], frame[feature_columns(frame)])
    steps = chain({"normalize": {"samples": "all", "by": "dataset"}}, {"aggregate": {}})
    scaled = wells_of_table(tmp_path / "all.parquet", steps, "wells", ledger, dropped)
    np.testing.assert_allclose(scaled[feature_columns(frame)].median(), 0, atol=1e-12)


def test_no_well_at_all_is_one_sentence():
    with pytest.raises(InputError, match="no plate has a well left"):
        profile([wells().iloc[:0]], chain(), Ledger("x"), Dropped())


def test_an_account_survives_being_written(tmp_path):
    dropped = Dropped()
    dropped.add("feature", HOSTILE, "feature_select", "why", count=2)
    dropped.write(tmp_path / "dropped.parquet")
    again = Dropped()
    again.extend(read_dropped(tmp_path / "dropped.parquet"))
    assert again.rows == dropped.rows
    with pytest.raises(ValueError, match="kind"):
        dropped.add("planet", "x", "y", "z")


def test_wells_of_a_plate_are_joined_before_treatments_where_the_chain_says_so():
    frame = wells(plates=("p1", "p2", "p3"))
    frame.loc[(frame["Metadata_Plate"] == "p3") & (frame.index % 2 == 0), "Metadata_Perturbation"] = "other one"
    chosen = options("consensus", operation="median", by=["Perturbation"], first={})
    ours = treatments(frame, chosen, Ledger("profile"))
    features = feature_columns(frame)
    per_plate = frame.groupby(["Metadata_Perturbation", "Metadata_Plate"])[features].mean()
    expected = per_plate.groupby("Metadata_Perturbation").median().loc[ours["Metadata_Perturbation"]]
    np.testing.assert_allclose(ours[features], expected, rtol=1e-12)
    assert ours["Metadata_Wells"].sum() == len(frame)
    plain = treatments(frame, options("consensus", operation="median", by=["Perturbation"]), Ledger("profile"))
    assert not np.allclose(ours[features], plain[features])
    with pytest.raises(InputError, match="no Metadata_Run"):
        treatments(frame, options("consensus", first={"by": ["Run"]}), Ledger("profile"))


def batched(n=240, features=12, kinds=4, seed=2):
    """Wells of two batches apart from each other, each with the same kinds of treatment."""
    random = np.random.default_rng(seed)
    kind, batch = np.arange(n) % kinds, np.arange(n) // kinds % 2
    values = 6 * random.normal(size=(kinds, features))[kind] + random.normal(size=(n, features))
    values += np.outer(batch, 3 * random.normal(size=features))
    frame = pd.DataFrame(values, columns=[f"Embedding_dino_{number:04d}" for number in range(features)])
    frame.insert(0, "Metadata_Batch", np.array(["b1", "b2"])[batch])
    frame.insert(1, "Metadata_MoA", np.array([HOSTILE, "b", "c", "d"])[kind])
    return frame


def share_of_neighbours(frame, column):
    """Share of wells whose nearest neighbour has the same value in a metadata column."""
    from sklearn.neighbors import NearestNeighbors

    values = frame[feature_columns(frame)].to_numpy()
    nearest = NearestNeighbors(n_neighbors=2).fit(values).kneighbors(return_distance=False)[:, 0]
    return (frame[column].to_numpy() == frame[column].to_numpy()[nearest]).mean()


@pytest.mark.parametrize("n_pcs", [None, 5])
def test_harmony_mixes_batches_and_keeps_mechanisms(n_pcs):
    frame = batched()
    ledger = Ledger("profile")
    ours = harmonize(frame, options("harmonize", n_pcs=n_pcs), ledger, seed=3)
    assert share_of_neighbours(frame, "Metadata_Batch") > 0.95
    assert share_of_neighbours(ours, "Metadata_Batch") < 0.65
    assert share_of_neighbours(ours, "Metadata_MoA") > 0.95
    assert len(feature_columns(ours)) == (n_pcs or 12) and not ledger.rows
    again = harmonize(frame, options("harmonize", n_pcs=n_pcs), ledger, seed=3)
    pd.testing.assert_frame_equal(again, ours, check_exact=True)


def test_harmony_takes_as_many_wells_as_features():
    frame = batched(n=12)
    assert harmonize(frame, options("harmonize"), Ledger("profile")).shape == frame.shape


def test_harmony_of_one_batch_changes_nothing_and_says_so():
    frame, ledger = batched().assign(Metadata_Batch="b1"), Ledger("profile")
    pd.testing.assert_frame_equal(harmonize(frame, options("harmonize"), ledger), frame)
    assert "all 240 wells have the same Batch" in ledger.rows[0]["reason"]


def test_harmony_without_complete_features_or_without_its_column_is_refused():
    frame = batched()
    frame.loc[3, "Embedding_dino_0004"] = np.nan
    with pytest.raises(InputError, match="1 have missing values, Embedding_dino_0004"):
        harmonize(frame, options("harmonize"), Ledger("profile"))
    with pytest.raises(InputError, match="no Metadata_Run; by takes names out of Batch, MoA"):
        harmonize(frame, options("harmonize", by=["Run"]), Ledger("profile"))
