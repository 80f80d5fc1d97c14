"""The learned metrics against scikit-learn, metric-learn and the publications' definitions."""

import functools

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis
from sklearn.preprocessing import StandardScaler

from phenoloom.metric_learning import kernel_regression, large_margin, local_fisher, neighbourhood_components
from phenoloom.metric_learning.chain import METHODS
from phenoloom.metric_learning.learning import fit_metric, starting_components, unit_of_distance
from phenoloom.metric_learning.objectives import value, value_and_gradient

OPTIONS = {method: {"method": method, "label": "Label", "n": None, **METHODS[method]} for method in METHODS}


@pytest.fixture(scope="module")
def wine():
    values, codes = load_wine(return_X_y=True)
    return StandardScaler().fit_transform(values), codes


@pytest.fixture(scope="module")
def digits():
    """1,000 training and 797 held-out images of digits in 20 principal components."""
    values, codes = load_digits(return_X_y=True)
    train, test, of_train, of_test = train_test_split(values, codes, train_size=1000, stratify=codes, random_state=0)
    pca = PCA(20).fit(train)
    return pca.transform(train), of_train, pca.transform(test), of_test


@pytest.fixture(scope="module")
def metric_learn():
    """metric-learn 0.7.0, whose calls of scikit-learn's validation use a keyword that was renamed."""
    oracle = pytest.importorskip("metric_learn")
    import metric_learn._util as checks

    for name in ("check_array", "check_X_y"):
        setattr(checks, name, with_new_keyword(getattr(checks, name)))
    return oracle


def with_new_keyword(check):
    @functools.wraps(check)
    def renamed(*given, **options):
        if "force_all_finite" in options:
            options["ensure_all_finite"] = options.pop("force_all_finite")
        return check(*given, **options)

    return renamed


def noisy_classes(n=240, noise=18, seed=0):
    """Three classes that differ in two dimensions; the others are louder and say nothing."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 3
    signal = np.array([[0, 0], [3, 0], [0, 3]])[codes] + 0.5 * rng.normal(size=(n, 2))
    return np.hstack([signal, 3 * rng.normal(size=(n, noise))]), codes


def accuracy(values, codes, held, held_codes, components):
    voters = KNeighborsClassifier(5).fit(values @ components.T, codes)
    return voters.score(held @ components.T, held_codes)


@pytest.mark.parametrize("method", ["nca", "lmnn", "mlkr", "lfda"])
def test_the_informative_dimensions_are_found_among_noise(method):
    values, codes = noisy_classes()
    held, held_codes = noisy_classes(seed=1)
    components, notes = fit_metric(values, codes.astype(str), {**OPTIONS[method], "n": 5}, seed=0)
    assert components.shape == (5, 20)
    assert accuracy(values, codes, held, held_codes, np.eye(20)) < 0.7
    assert accuracy(values, codes, held, held_codes, components) > 0.9
    assert np.linalg.norm(components[:, :2]) > np.linalg.norm(components[:, 2:])
    assert method in notes[-1] and "240 cells of 3 classes" in notes[-1]


@pytest.mark.parametrize("method", ["nca", "lmnn", "mlkr", "lfda"])
def test_the_same_seed_gives_the_same_bytes(method):
    values, codes = noisy_classes()
    options = OPTIONS[method] | ({"solver": "stochastic", "steps": 30} if method == "nca" else {"max_cells": 150})
    first, second = (fit_metric(values, codes.astype(str), options, seed=4)[0] for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_the_neighbourhood_score_is_scikit_learns_objective(digits):
    values, codes, *_ = digits
    values = values / unit_of_distance(values)
    start = starting_components(values, codes, 5)
    fitted = NeighborhoodComponentsAnalysis(5, init=start, max_iter=20)
    same = codes[:, None] == codes[None, :]
    fitted.n_iter_ = 0
    expected, gradient = fitted._loss_grad_lbfgs(start.ravel(), values, same, -1.0)
    found, found_gradient = value_and_gradient(
        neighbourhood_components.neighbourhood_loss(values, codes), start, len(values)
    )
    assert found == pytest.approx(expected)
    assert np.allclose(found_gradient.ravel(), gradient, rtol=1e-6, atol=1e-6)


def test_stochastic_ascent_agrees_with_scikit_learn(digits):
    values, codes, held, held_codes = digits
    unit = unit_of_distance(values)
    values, held = values / unit, held / unit
    start = starting_components(values, codes, 20)
    exact = neighbourhood_components.fit_exact(values, codes, start)
    found = neighbourhood_components.fit_stochastic(values, codes, start, seed=1)
    few = neighbourhood_components.fit_stochastic(values, codes, start, batch_size=250, references=500, seed=1)
    score = functools.partial(neighbourhood_components.neighbourhood_score, values, codes)
    assert score(start) < 0.9
    assert score(found) > score(exact) - 0.01
    assert score(few) > score(exact) - 0.02
    expected = accuracy(values, codes, held, held_codes, exact)
    assert accuracy(values, codes, held, held_codes, found) == pytest.approx(expected, abs=0.02)
    assert expected > 0.95


def test_the_regression_loss_of_one_target_is_metric_learns(wine, metric_learn):
    values, codes = wine
    start = starting_components(values, codes, 4)
    oracle = metric_learn.MLKR()
    oracle.n_iter_ = 0
    expected, gradient = oracle._loss(start.ravel(), values, codes.astype(float))
    loss = kernel_regression.regression_loss(values, codes[:, None])
    found, found_gradient = value_and_gradient(loss, start, len(values))
    assert found == pytest.approx(expected)
    assert np.allclose(found_gradient.ravel(), gradient, rtol=1e-6, atol=1e-8)


def test_kernel_regression_gets_as_far_as_metric_learn(wine, metric_learn):
    values, codes = wine
    start = starting_components(values, codes, 4)
    oracle = metric_learn.MLKR(n_components=4, init=start, max_iter=100).fit(values, codes.astype(float))
    loss = kernel_regression.regression_loss(values, codes[:, None])
    _, facts = kernel_regression.fit_kernel_regression(values, codes[:, None].astype(float), start)
    assert facts["loss"] <= value(loss, oracle.components_, len(values)) + 0.1
    assert facts["loss"] < facts["loss_before"] / 2


def test_classes_have_no_order_in_kernel_regression(wine):
    values, codes = wine
    start = starting_components(values, codes, 3)
    losses = []
    for order in ([0, 1, 2], [2, 0, 1]):
        targets = kernel_regression.one_hot(np.array(order)[codes])
        losses.append(value(kernel_regression.regression_loss(values, targets), start, len(values)))
    assert losses[0] == pytest.approx(losses[1])
    assert kernel_regression.one_hot([1, 0]).tolist() == [[0, 1], [1, 0]]


def test_the_large_margin_loss_is_metric_learns(wine, metric_learn):
    values, codes = wine
    start = starting_components(values, codes, 5)
    oracle = metric_learn.LMNN(n_neighbors=3)
    oracle.labels_ = np.arange(3)
    targets = oracle._select_targets(values, codes)
    assert np.array_equal(large_margin.target_neighbours(values, codes, 3), targets)
    sums = metric_learn.lmnn._sum_outer_products(values, targets.flatten(), np.repeat(np.arange(len(values)), 3))
    gradient, expected, active = oracle._loss_grad(values, start, sums, 3, 0.4, targets, codes)
    loss = large_margin.large_margin_loss(values, codes, targets, push=0.6)
    found, found_gradient = value_and_gradient(loss, start, len(values))
    assert active > 0
    assert found == pytest.approx(expected)
    assert np.allclose(found_gradient, gradient, rtol=1e-6, atol=1e-6)


def test_large_margin_gets_further_than_metric_learn(wine, metric_learn):
    values, codes = wine
    start = starting_components(values, codes, 13)
    oracle = metric_learn.LMNN(n_neighbors=3, init=start, learn_rate=1e-4, max_iter=500).fit(values, codes)
    targets = large_margin.target_neighbours(values, codes, 3)
    _, facts = large_margin.fit_large_margin(values, codes, start)
    reached = value(large_margin.large_margin_loss(values, codes, targets, 0.5), oracle.components_, len(values))
    assert facts["loss"] <= reached * 1.01


def test_the_large_margin_pushes_the_other_class_away():
    """Two cells of a class at distance 1, one of another at distance 2: by hand, the sign of the hinge."""
    values, codes = np.array([[0.0], [1.0], [-2.0], [-10.0]]), np.array([0, 0, 1, 1])
    targets = large_margin.target_neighbours(values, codes, 1)
    loss = large_margin.large_margin_loss(values, codes, targets, 0.5)
    # Pull: 1 + 1 + 64 + 64. Push, 1 + d(i, j) - d(i, l) > 0: cell 2 (65 - 4) + (65 - 9), cell 3 none but 65 - 100.
    assert value(loss, np.eye(1), 4) == pytest.approx(0.5 * 130 + 0.5 * (61 + 56))


def test_local_scatter_is_the_sum_over_weighted_pairs():
    """Definitions of Sugiyama 2007, written out pair by pair."""
    rng = np.random.default_rng(0)
    values, codes = rng.normal(size=(23, 3)) + 5, np.r_[np.zeros(9, int), np.ones(13, int), 2]
    between, within = np.zeros((3, 3)), np.zeros((3, 3))
    for code in range(3):
        inside = values[codes == code]
        distances = np.linalg.norm(inside[:, None] - inside[None], axis=2)
        scale = np.sort(distances, axis=1)[:, min(4, len(inside) - 1)]
        for i in range(len(inside)):
            for j in range(len(inside)):
                product = scale[i] * scale[j]
                affinity = np.exp(-(distances[i, j] ** 2) / product) if product else 0
                outer = np.outer(inside[i] - inside[j], inside[i] - inside[j]) / 2
                within += affinity / len(inside) * outer
                between += affinity * (1 / 23 - 1 / len(inside)) * outer
    for i in range(23):
        for j in range(23):
            if codes[i] != codes[j]:
                between += np.outer(values[i] - values[j], values[i] - values[j]) / 2 / 23
    found = local_fisher.scatters(values, codes, 4)
    assert np.allclose(found[0], between) and np.allclose(found[1], within)


def test_for_one_gaussian_per_class_local_fisher_finds_fishers_direction():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    codes = np.arange(2000) % 2
    values = rng.multivariate_normal([0, 0, 0], [[1, 0.8, 0], [0.8, 1, 0], [0, 0, 4]], size=2000)
    values[:, 0] += 3 * codes
    expected = LinearDiscriminantAnalysis(solver="eigen").fit(values, codes).scalings_[:, 0]
    found = local_fisher.fit_local_fisher(values, codes, 1, neighbours=2000)[0][0]
    assert abs(found @ expected) / np.linalg.norm(found) / np.linalg.norm(expected) > 0.99


def test_local_fisher_keeps_a_class_of_two_clusters_apart_from_the_one_between():
    """What Fisher's own criterion cannot: the class means are the same."""
    rng = np.random.default_rng(0)
    codes = np.arange(600) % 3 // 2
    values = np.column_stack([np.array([-6, 6, 0])[np.arange(600) % 3] + rng.normal(size=600), rng.normal(size=600)])
    found = local_fisher.fit_local_fisher(values, codes, 1)[0][0]
    assert abs(found[0]) > 5 * abs(found[1])


def test_collinear_features_and_single_cells_do_not_disturb_local_fisher():
    values, codes = noisy_classes()
    plain = values @ local_fisher.fit_local_fisher(values, codes, 2)[0].T
    doubled = np.hstack([values, values])
    components, facts = local_fisher.fit_local_fisher(doubled, codes, 2)
    assert facts["rank"] == 20
    assert np.allclose(np.abs(np.corrcoef(plain.T, (doubled @ components.T).T)[:2, 2:]).max(axis=1), 1, atol=1e-2)
    first, _ = fit_metric(values, np.r_[["alone"], codes.astype(str)[1:]].astype(object), OPTIONS["lfda"])
    again, _ = fit_metric(values[1:], codes.astype(str)[1:].astype(object), OPTIONS["lfda"])
    assert np.array_equal(first, again)


def test_the_unit_of_the_features_does_not_matter(digits):
    values, codes, *_ = digits
    labels = codes.astype(str)
    one, thousand = (
        fit_metric(values[:300] * unit, labels[:300], OPTIONS["mlkr"] | {"max_iter": 5})[0] for unit in (1.0, 1000.0)
    )
    assert np.allclose(one, thousand * 1000, rtol=1e-3, atol=1e-6)


def test_fits_are_capped_and_say_so():
    values, codes = noisy_classes(600)
    for method in ("lmnn", "mlkr"):
        _, notes = fit_metric(values, codes.astype(str), OPTIONS[method] | {"max_cells": 90, "max_iter": 3})
        assert "90 of 600" in notes[0]


def test_small_classes_and_cells_without_a_label_stay_out_of_the_fit():
    values, codes = noisy_classes()
    labels = codes.astype(str).astype(object)
    labels[:3], labels[3:30] = "rare", ""
    components, notes = fit_metric(values, labels, OPTIONS["lmnn"])
    assert "rare" in notes[0] and "210 cells of 3 classes" in notes[-1]
    assert np.isfinite(components).all()


def test_repeated_cells_are_no_obstacle():
    values, codes = noisy_classes(60)
    values, labels = np.repeat(values, 8, axis=0), np.repeat(codes, 8).astype(str)
    for method in ("nca", "lmnn", "mlkr", "lfda"):
        assert np.isfinite(fit_metric(values, labels, OPTIONS[method])[0]).all()


def test_blocks_of_cells_add_up_to_the_whole(wine, monkeypatch):
    values, codes = wine
    start = starting_components(values, codes, 4)
    losses = [
        neighbourhood_components.neighbourhood_loss(values, codes),
        kernel_regression.regression_loss(values, kernel_regression.one_hot(codes)),
        large_margin.large_margin_loss(values, codes, large_margin.target_neighbours(values, codes, 3), 0.5),
    ]
    whole = [value_and_gradient(loss, start, len(values)) for loss in losses]
    monkeypatch.setattr("phenoloom.metric_learning.objectives.BLOCK_PAIRS", 10 * len(values))
    for loss, (expected, gradient) in zip(losses, whole, strict=True):
        found, found_gradient = value_and_gradient(loss, start, len(values))
        assert found == pytest.approx(expected)
        assert np.allclose(found_gradient, gradient)
