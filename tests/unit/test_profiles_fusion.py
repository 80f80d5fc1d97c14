"""Averages, dispersions and covariances of cells, fused to a similarity that evaluations read as such."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import median_abs_deviation, norm

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import write_table
from phenoloom.evaluation.evaluate import evaluate
from phenoloom.evaluation.units import units
from phenoloom.profiles.aggregation import aggregate_segments, aggregate_table
from phenoloom.profiles.covariances import Projection, upper_covariances
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.feature_selection import select_features
from phenoloom.profiles.fusion import affinity, fuse, fused
from phenoloom.profiles.profiling import profile
from phenoloom.profiles.scaling import normalize_wells, scale_block
from phenoloom.profiles.similarities import OWN, similarity_of, with_similarity
from phenoloom.profiles.storage import read_wells, write_double
from profile_options import chain

HOSTILE = 'x"; rm -rf ~ #<script>µ'


def wells_of(values, perturbations, plates="p1"):
    """Wells (n rows) with the metadata that every table of wells has."""
    metadata = {"Metadata_Batch": "b1", "Metadata_Plate": plates}
    metadata |= {"Metadata_Well": [f"{'ABCDEFGH'[place // 12]}{place % 12 + 1:02d}" for place in range(len(values))]}
    metadata |= {"Metadata_Perturbation": perturbations, "Metadata_Concentration": np.nan, "Metadata_Unit": ""}
    metadata |= {"Metadata_MoA": "", "Metadata_Control": ""}
    return pd.concat([pd.DataFrame(metadata, index=range(len(values))), values], axis="columns")


def options_of(step):
    ((_, options),) = chain(step)[0].items()
    return options


@pytest.fixture
def aggregated(tmp_path):
    """Return a function that writes cells as Parquet and aggregates them: (wells, ledger, dropped)."""

    def run(frame, *steps, **given):
        write_table(tmp_path / "cells.parquet", frame)
        ledger, dropped = Ledger("aggregate"), Dropped()
        wells = aggregate_table(tmp_path / "cells.parquet", chain(*steps), ledger, dropped, **given)
        return wells, ledger.frame(), dropped.frame()

    return run


def correlated_cells(plate="p1", compounds=3, wells=4, n=150, seed=0, features="abcd"):
    """Cells whose compounds differ in the correlations of their features and in no mean or deviation."""
    mixing = np.random.default_rng(99).normal(size=(compounds, len(features), len(features)))
    rng, parts = np.random.default_rng(seed), []
    for number in range(compounds * wells):
        values = rng.normal(size=(n, len(features))) @ mixing[number % compounds]
        values /= np.linalg.norm(mixing[number % compounds], axis=0)
        frame = pd.DataFrame(values, columns=[f"Cells_{letter}" for letter in features])
        keys = {"Metadata_Plate": plate, "Metadata_Well": f"A{number + 1:02d}"}
        parts.append(frame.assign(**keys, Metadata_Perturbation=f"{HOSTILE}{number % compounds}"))
    return pd.concat(parts, ignore_index=True)


# Dispersion


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dispersions_are_those_of_pandas_and_scipy(dtype):
    rng = np.random.default_rng(0)
    block = rng.normal(1e3, 5, (4, 30)).astype(dtype)
    block[rng.random(block.shape) < 0.2] = np.nan
    block[1, 10:20] = np.nan
    block[2, 11:20] = np.nan
    starts = np.array([0, 10, 20, 30])
    groups = pd.DataFrame(block.T.astype(float)).groupby(np.repeat([0, 1, 2], 10))
    np.testing.assert_allclose(aggregate_segments(block, starts, "std"), groups.std().T, rtol=1e-10)
    expected = groups.agg(lambda part: median_abs_deviation(part, nan_policy="omit", scale=1 / 1.4826)).T
    np.testing.assert_allclose(aggregate_segments(block, starts, "mad"), expected, rtol=1e-9)


def test_dispersions_stand_beside_averages(aggregated):
    cells = correlated_cells(n=20)
    wells, ledger, _ = aggregated(cells, {"aggregate": {"operation": "mean", "dispersion": "std"}})
    own = cells.groupby("Metadata_Well")[["Cells_a", "Cells_b"]]
    np.testing.assert_allclose(wells[["Cells_a", "Cells_b"]], own.mean(), atol=1e-6)
    np.testing.assert_allclose(wells[["Cells_a__Std", "Cells_b__Std"]], own.std(), rtol=1e-6)
    assert ledger.empty


def test_a_well_of_one_cell_has_no_dispersion_and_is_listed(aggregated):
    cells = correlated_cells(n=20)
    cells = cells[(cells["Metadata_Well"] != "A02") | ~cells.duplicated("Metadata_Well")]
    step = {"aggregate": {"dispersion": "mad"}}
    wells, ledger, dropped = aggregated(cells, step)
    assert len(wells) == 11 and "A02" not in set(wells["Metadata_Well"])
    assert "1 cells, fewer than the 2" in ledger["reason"].item()
    assert dropped.query("kind == 'well'")["name"].tolist() == ["A02"]
    assert len(aggregated(cells, {"aggregate": {}})[0]) == 12


def test_a_feature_that_takes_anothers_name_is_said(aggregated):
    cells = correlated_cells(n=5).assign(Cells_a__Std=1.0)
    with pytest.raises(InputError, match="Cells_a__Std"):
        aggregated(cells, {"aggregate": {"dispersion": "std"}})


@pytest.mark.parametrize("patterns", [["*_Orientation", "Nuclei_*"], None])
def test_a_block_list_takes_a_dispersion_with_its_feature(patterns):
    listed = "Cells_AreaShape_Orientation" if patterns else "Nuclei_Correlation_Manders_AGP_DNA"
    values = pd.DataFrame(
        {name: [1.0, 2.0, 4.0] for name in ("Cells_Area", "Cells_Area__Std", listed, f"{listed}__Std")}
    )
    options = options_of({"feature_select": {"operations": ["blocklist"], "blocklist": patterns}})
    kept = select_features(wells_of(values, ["a", "b", "c"]), options, Dropped())
    assert [name for name in kept if not name.startswith("Metadata_")] == ["Cells_Area", "Cells_Area__Std"]


# Mean absolute deviation


def test_the_mean_absolute_deviation_scales_before_and_after_aggregation():
    values = pd.DataFrame({"a": [1.0, 2, 3, 10], "b": [5.0, 5, 5, 5], "c": [0, np.nan, 4.0, 8.0]})
    options = options_of({"normalize": {"method": "mean_absolute_deviation", "samples": "all"}})
    ledger = Ledger("normalize")
    wells = normalize_wells(wells_of(values, ["x"] * 4), options, ledger, Dropped())
    np.testing.assert_allclose(wells["a"], (values["a"] - 2.5) / 2.5)  # deviations 1.5, 0.5, 0.5, 7.5
    np.testing.assert_allclose(wells["c"], (values["c"] - 4) / (8 / 3))
    assert (wells["b"] == 0).all()
    assert "b among them: step normalize leaves them centred but not scaled" in ledger.frame()["reason"].item()
    block = scale_block(values.to_numpy().T, np.full(4, True), [np.arange(4)], options)
    np.testing.assert_allclose(block.T, wells[["a", "b", "c"]])


def test_a_reference_scales_each_plate_by_its_own():
    values = pd.DataFrame({"a": [0.0, 2, 8, 0, 20, 30]})
    frame = wells_of(values, ["DMSO", "DMSO", "x"] * 2, plates=["p1"] * 3 + ["p2"] * 3)
    step = {"normalize": {"method": "mean_absolute_deviation", "samples": "Metadata_Perturbation == 'DMSO'"}}
    wells = normalize_wells(frame, options_of(step), Ledger("normalize"), Dropped())
    np.testing.assert_allclose(wells["a"], [-1, 1, 7, -1, 1, 2])


# Covariances


def test_covariances_are_those_of_numpy():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (5, 40))
    np.testing.assert_allclose(upper_covariances(values), np.cov(values)[np.triu_indices(5)])
    values[rng.random(values.shape) < 0.2] = np.nan
    values[4, 1:] = np.nan
    found = upper_covariances(values)
    expected = np.ma.cov(np.ma.masked_invalid(values[:4]), allow_masked=True)
    np.testing.assert_allclose(found[~np.isnan(found)], expected[np.triu_indices(4)])
    assert np.isnan(found).sum() == 5


def test_a_projection_keeps_inner_products():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 60 * 61 // 2))
    other = 0.5 * one + other
    projections = [Projection([f"f{number}" for number in range(60)], 2000, seed) for seed in range(10)]
    found = np.mean([[project(one) @ project(other), project(one) @ project(one)] for project in projections], axis=0)
    np.testing.assert_allclose(found, [one @ other, one @ one], rtol=0.05)


def test_a_projection_is_of_names_and_seed(aggregated):
    step = {"aggregate": {"covariances": 50}}
    cells = correlated_cells(n=30)
    wells, _, _ = aggregated(cells, step)
    names = [f"Covariance_{number + 1:04d}" for number in range(50)]
    other = cells[[*cells.columns[:4][::-1], *cells.columns[4:]]].assign(Metadata_Plate="p 2")
    np.testing.assert_allclose(aggregated(other, step)[0][names], wells[names], rtol=1e-4, atol=1e-6)
    assert not np.allclose(aggregated(cells, step, seed=1)[0][names], wells[names])
    names_of_one = Projection(["a", "b"], 50).matrix.toarray()
    lacking = Projection(["b"], 50).matrix.toarray()
    np.testing.assert_array_equal(names_of_one[:, 2], lacking[:, 0])


def test_wells_that_do_not_fit_in_memory_together_have_the_same_covariances(aggregated):
    cells = correlated_cells(n=30)
    cells.loc[::7, "Cells_c"] = np.nan
    cells.loc[cells["Metadata_Well"] == "A03", "Cells_d"] = np.nan
    steps = {"normalize": {"method": "standardize", "samples": "all"}}, {"aggregate": {"covariances": 20}}
    whole, _, dropped = aggregated(cells, *steps)
    parts, _, _ = aggregated(cells, *steps, block_bytes=1200)
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-5)
    (row,) = dropped.query("kind == 'value'").itertuples()
    assert (row.name, row.count) == ("Cells_d", 1) and whole.filter(like="Covariance").notna().all(axis=None)


def test_features_can_be_kept_out_of_covariances(aggregated):
    cells = correlated_cells(n=30)
    step = {"aggregate": {"covariances": 20, "blocklist": ["Cells_[cd]"]}}
    wells, _, dropped = aggregated(cells, step)
    expected, _, _ = aggregated(cells.drop(columns=["Cells_c", "Cells_d"]), {"aggregate": {"covariances": 20}})
    pd.testing.assert_frame_equal(wells, expected)
    assert dropped["name"].tolist() == ["Cells_c", "Cells_d"]
    with pytest.raises(InputError, match="all 4 features"):
        aggregated(cells, {"aggregate": {"blocklist": ["*"]}})


def test_too_many_features_for_covariances_are_said():
    with pytest.raises(InputError, match="blocklist"):
        Projection([f"f{number}" for number in range(3001)], 10)


# Fusion


def by_hand(networks, neighbours, iterations):
    """Similarity network fusion as Wang et al. write it, pair by pair."""
    n = len(networks[0])

    def normalised(network):
        full = [
            [0.5 if i == j else network[i][j] / (2 * sum(network[i][k] for k in range(n) if k != i)) for j in range(n)]
            for i in range(n)
        ]
        return [[(full[i][j] + full[j][i]) / 2 for j in range(n)] for i in range(n)]

    def local(network):
        rows = []
        for i in range(n):
            near = sorted((j for j in range(n) if j != i), key=lambda j: -network[i][j])[:neighbours] + [i]
            total = sum(network[i][j] for j in near)
            rows.append([network[i][j] / total if j in near else 0 for j in range(n)])
        return np.array(rows)

    kernels, status = [local(one) for one in networks], [np.array(normalised(one)) for one in networks]
    for _ in range(iterations):
        others = [sum(status[:v] + status[v + 1 :]) / (len(status) - 1) for v in range(len(status))]
        status = [
            np.array(normalised(kernel @ other @ kernel.T)) for kernel, other in zip(kernels, others, strict=True)
        ]
    return sum(status) / len(status)


@pytest.mark.parametrize("views", [2, 3])
def test_networks_are_fused_as_written(views):
    rng = np.random.default_rng(1)
    networks = [one + one.T for one in rng.random((views, 6, 6))]
    result = fused([one.copy() for one in networks], 2, 4)
    np.testing.assert_allclose(result, by_hand(networks, 2, 4))
    np.testing.assert_allclose(result, result.T)
    np.testing.assert_allclose(np.diag(result), 0.5)
    order = rng.permutation(6)
    np.testing.assert_allclose(fused([one[order][:, order] for one in networks], 2, 4), result[order][:, order])


def test_an_affinity_is_a_normal_density():
    distances = np.array([[0, 1.0, 2], [1, 0, 4], [2, 4, 0]])
    found = affinity(distances, 1, 0.5)
    assert found[0, 1] == pytest.approx(norm.pdf(1, scale=0.5 * (1 + 1 + 1) / 3))
    assert found[1, 2] == pytest.approx(norm.pdf(4, scale=0.5 * (1 + 2 + 4) / 3))
    assert np.isfinite(affinity(np.zeros((3, 3)), 1, 0.5)).all()


def noisy_views(seed=0, clusters=3, each=8, noise=2.2, features=30):
    """Wells of three clusters in two noisy kinds of statistics."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(clusters), each)
    views = [
        rng.normal(size=(clusters, features))[labels] + noise * rng.normal(size=(len(labels), features))
        for _ in range(2)
    ]
    names = [f"Cells_{number}" for number in range(features)]
    values = [pd.DataFrame(views[0], columns=names), pd.DataFrame(views[1], columns=[f"{name}__Std" for name in names])]
    return wells_of(pd.concat(values, axis="columns"), [f"{HOSTILE}{label}" for label in labels]), names


def precision(table, **options):
    options = {
        "metric": "mean_average_precision",
        "positives": "Perturbation",
        "permutations": 5,
        "bootstrap": 20,
    } | options
    return evaluate(table, {**options, "null_size": 100}).summary[0]["value"]


def test_two_noisy_views_retrieve_better_together():
    gains = []
    for seed in range(5):
        wells, names = noisy_views(seed)
        both = fuse(wells, options_of({"fuse": {}}), Dropped())
        alone = [wells.drop(columns=[f"{name}__Std" for name in names]), wells.drop(columns=names)]
        gains.append(precision(both) - max(precision(one, distance="correlation") for one in alone))
    assert min(gains) > 0 and np.mean(gains) > 0.05


def test_features_that_a_well_lacks_are_no_part_of_the_fusion():
    wells, names = noisy_views()
    expected = fuse(wells.drop(columns=names[0]), options_of({"fuse": {}}), Dropped())
    dropped = Dropped()
    wells.loc[3, names[0]] = np.nan
    pd.testing.assert_frame_equal(fuse(wells, options_of({"fuse": {}}), dropped), expected)
    assert dropped.frame()["name"].tolist() == [names[0]]
    wells.loc[4, names] = np.nan
    with pytest.raises(InputError, match="complete features of dispersion only"):
        fuse(wells, options_of({"fuse": {}}), Dropped())


def test_wells_that_cannot_be_fused_are_said(monkeypatch):
    wells, names = noisy_views()
    flat = wells.copy()
    flat.loc[2, names] = 7.0
    with pytest.raises(InputError, match="1 wells, A03 of plate p1 among them"):
        fuse(flat, options_of({"fuse": {}}), Dropped())
    with pytest.raises(InputError, match="3 to 20,000 wells and there are 2"):
        fuse(wells.iloc[:2], options_of({"fuse": {}}), Dropped())
    monkeypatch.setattr("phenoloom.profiles.fusion.MOST_WELLS", 10)
    with pytest.raises(InputError, match="3 to 10 wells and there are 24"):
        fuse(wells, options_of({"fuse": {}}), Dropped())


STEPS = [
    {"normalize": {"method": "standardize", "samples": "all"}},
    {"aggregate": {"operation": "mean", "covariances": 60}},
    {"normalize": {"method": "mean_absolute_deviation", "samples": "all"}},
    {"fuse": {}},
]


@pytest.fixture
def profiles(aggregated, tmp_path):
    """(fused wells, treatments, average wells) of two plates whose compounds differ in a correlation only."""
    found = {}
    for name, steps in {"fusion": STEPS, "average": [STEPS[0], {"aggregate": {"operation": "mean"}}]}.items():
        cut = next(number for number, step in enumerate(steps) if "aggregate" in step) + 1
        tables = []
        for number, plate in enumerate(("p1", HOSTILE)):
            wells, _, _ = aggregated(correlated_cells(plate, seed=number, features="abcdefghijkl"), *steps[:cut])
            write_double(tmp_path / "wells.parquet", wells)
            tables.append(read_wells(tmp_path / "wells.parquet"))
        found[name] = profile(tables, chain(*steps[cut:]), Ledger("profile"), Dropped())
    return *found["fusion"], found["average"][0]


def test_what_only_covariances_tell_is_retrieved_by_the_fusion(profiles):
    wells, _, averages = profiles
    assert precision(wells) > 0.75 and precision(averages) < 0.45
    accuracy = evaluate(wells.assign(Metadata_MoA="m"), {"metric": "nsc", "label": "Perturbation", "compound": "Well"})
    assert accuracy.summary[0]["value"] > 0.8


@pytest.mark.parametrize(
    "options",
    [
        {"metric": "mean_average_precision", "null_size": 100, "permutations": 3, "neg_sameby": ["Plate"]},
        {"metric": "activity", "null_size": 100, "permutations": 3},
        {"metric": "nsc", "permutations": 5},
        {"metric": "nscb", "permutations": 5},
        {"metric": "percent_replicating", "null_size": 50, "permutations": 3},
        {"metric": "percent_matching", "null_size": 50, "permutations": 3},
    ],
    ids=lambda options: options["metric"],
)
@pytest.mark.parametrize("samples", ["", "Metadata_Well != 'A05'"])
def test_similarities_score_as_the_profiles_that_they_are_the_cosines_of(options, samples):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 6))[np.arange(48) % 12] + rng.normal(size=(48, 6))
    frame = wells_of(pd.DataFrame(values).add_prefix("Cells_"), [f"c{number % 12}" for number in range(48)])
    frame["Metadata_MoA"] = [f"m{number % 12 // 3}" for number in range(48)]
    frame["Metadata_Batch"] = [f"b{number // 24}" for number in range(48)]
    frame.loc[frame["Metadata_Perturbation"] == "c0", "Metadata_Control"] = "negative"
    metadata = frame[[name for name in frame if name.startswith("Metadata_")]]
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    options = {**options, "samples": samples}
    expected = evaluate(frame, {**options, "distance": "cosine"})
    found = evaluate(with_similarity(metadata, np.round(values @ values.T, 12)), options)
    pd.testing.assert_frame_equal(found.details, expected.details)
    assert [row["value"] for row in found.summary] == [row["value"] for row in expected.summary]
    assert "similarity of the profile itself" in found.summary[0]["note"]


def test_chosen_samples_are_compared_by_their_own_similarities(profiles, tmp_path):
    wells, _, _ = profiles
    write_table(tmp_path / "wells.parquet", wells)
    wells = read_wells(tmp_path / "wells.parquet").sample(frac=1, random_state=0)
    chosen = units(wells, "Metadata_Plate != 'p1'")
    assert chosen.values.shape == (12, 12) and chosen.distance == "precomputed" and len(chosen) == 12
    rows, columns = chosen.table["Metadata_Well"], wells.set_index(["Metadata_Plate", "Metadata_Well"])
    own = columns.loc[HOSTILE].loc[rows]
    np.testing.assert_array_equal(chosen.values, own[own[OWN]].to_numpy())
    np.testing.assert_allclose(chosen.values, chosen.values.T)
    mask = np.arange(12) % 3 == 0
    np.testing.assert_array_equal(chosen.values_of(mask), chosen.values[np.ix_(mask, mask)])
    assert precision(wells, samples="Metadata_Plate != 'p1'") > 0.75


def test_treatments_are_means_of_their_wells_similarities(profiles):
    wells, treatments, _ = profiles
    names = wells["Metadata_Perturbation"].to_numpy()
    found, of_wells = similarity_of(treatments), similarity_of(wells)
    assert found.shape == (3, 3) and list(treatments["Metadata_Wells"]) == [8, 8, 8]
    for i, one in enumerate(treatments["Metadata_Perturbation"]):
        for j, other in enumerate(treatments["Metadata_Perturbation"]):
            assert found[i, j] == pytest.approx(of_wells[np.ix_(names == one, names == other)].mean())


def test_metrics_of_features_say_that_there_are_none(profiles):
    wells = profiles[0].assign(Metadata_Control=["negative", *[""] * 23])
    for options in (
        {"metric": "dose_response"},
        {"metric": "control_separation"},
        {"metric": "activity", "method": "energy"},
    ):
        with pytest.raises(InputError, match="fuse is a similarity"):
            evaluate(wells, options)
    assert len(evaluate(wells, {"metric": "activity", "null_size": 100, "permutations": 2}).details) == 3


def test_a_damaged_similarity_is_said():
    table = with_similarity(pd.DataFrame({"Metadata_Well": ["A01", "A02"]}), np.eye(2))
    with pytest.raises(InputError, match="no column Similarity_00002"):
        similarity_of(table.drop(columns="Similarity_00002"))
    table.loc[0, "Similarity_00001"] = np.nan
    with pytest.raises(InputError, match="lacks similarities"):
        similarity_of(table)
