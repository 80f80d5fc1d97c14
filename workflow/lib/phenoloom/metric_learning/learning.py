"""A linear metric learned from labelled training cells, by the name of its method."""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestNeighbors

from phenoloom.core.errors import InputError
from phenoloom.metric_learning.kernel_regression import fit_kernel_regression, one_hot
from phenoloom.metric_learning.large_margin import fit_large_margin
from phenoloom.metric_learning.local_fisher import fit_local_fisher, with_fixed_signs
from phenoloom.metric_learning.neighbourhood_components import fit_neighbourhood_components
from phenoloom.metric_learning.objectives import limited_threads
from phenoloom.metric_learning.splits import column_name, stratified_sample, stream

#: Cells whose nearest neighbours set the unit of distance.
UNIT_CELLS = 2_000


def fit_metric(values, labels, options, seed=0, threads=1):
    """(components (n, d), notes): the learned map x @ components.T, and sentences about how it was fitted.

    values: (cells, d) finite training cells. labels: (cells,) text, '' for cells without one. These are left out,
    as are classes with too few cells for neighbours. options: those of chain.METHODS with method, n and max_cells.
    Raises InputError when fewer than two classes remain.
    """
    method = options["method"]
    notes = []
    fewest = options["neighbours"] + 1 if method == "lmnn" else 2
    usable, small = _with_enough(labels, fewest)
    if small:
        notes.append(
            f"{method}: classes with fewer than {fewest} training cells left out of the fit: {', '.join(small)}"
        )
    rows = np.flatnonzero(usable)
    names = np.unique(labels[rows].astype(str))
    if len(names) < 2:
        raise InputError(
            f"metric {method} needs at least two classes of {fewest} training cells in "
            f"{column_name(options['label'])} but found {len(names)}; choose another label column or method none"
        )
    sample = stratified_sample(labels[rows], options["max_cells"], stream(seed, "metric"), fewest)
    if len(sample) < len(rows):
        notes.append(
            f"{method}: fitted on {len(sample):,} of {len(rows):,} training cells, the same share of each class"
        )
    rows = rows[sample]
    values, codes = values[rows].astype(np.float64), np.searchsorted(names, labels[rows].astype(str))
    n_out = min(options["n"] or values.shape[1], values.shape[1])
    components, facts = _fit(method, values, codes, n_out, options, seed, threads)
    if not np.isfinite(components).all():
        raise InputError(f"metric {method} did not converge on these cells; put scale and pca before it")
    notes.append(_said(method, facts, len(rows), len(names)))
    return components, notes


def starting_components(values, codes, n_out):
    """Orthonormal axes (n_out, d) to start from: all principal axes, or, of fewer, those that tell the classes apart.

    With n_out below d the axes of linear discriminant analysis come first and principal axes of what these leave fill
    up: from the loudest axes alone the methods do not find quiet ones that matter.
    """
    centred = values - values.mean(axis=0)
    first = np.empty((0, values.shape[1]))
    if n_out < values.shape[1]:
        discriminant = LinearDiscriminantAnalysis().fit(values, codes).scalings_
        first = np.linalg.qr(discriminant)[0].T[:n_out]
    left = centred - centred @ first.T @ first
    axes = np.linalg.eigh(left.T @ left)[1].T[::-1]
    return with_fixed_signs(np.vstack([first, axes])[:n_out])


def unit_of_distance(values):
    """Median distance of a cell to its nearest neighbour that differs, among at most UNIT_CELLS cells; 1 for none.

    Margins and random neighbours know a unit of distance: in this one a cell's neighbours are its near ones.
    """
    some = values[np.linspace(0, len(values) - 1, min(len(values), UNIT_CELLS)).astype(int)]
    distances = NearestNeighbors(n_neighbors=2).fit(some).kneighbors(some)[0][:, 1]
    return float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0


def _fit(method, values, codes, n_out, options, seed, threads):
    own = {key: value for key, value in options.items() if key not in ("method", "label", "n", "max_cells")}
    if method == "lfda":
        return fit_local_fisher(values, codes, n_out, **own, threads=threads)
    with limited_threads(threads):
        unit = unit_of_distance(values)
        start = starting_components(values, codes, n_out)
    values = values / unit
    if method == "nca":
        components, facts = fit_neighbourhood_components(values, codes, start, **own, seed=seed, threads=threads)
    elif method == "lmnn":
        components, facts = fit_large_margin(values, codes, start, **own, threads=threads)
    else:
        components, facts = fit_kernel_regression(values, one_hot(codes), start, **own, threads=threads)
    return components / unit, facts


def _with_enough(labels, fewest):
    """(mask (n,) of cells of classes with enough cells, names of the classes without)."""
    names, inverse, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    enough = (counts >= fewest) & (names != "")
    return enough[inverse], [str(name) for name in names[~enough & (names != "")]]


def _said(method, facts, cells, classes):
    said = f"{method}: {cells:,} cells of {classes} classes"
    if "solver" in facts:
        return f"{said}, {facts['solver']} solver"
    if "loss" in facts:
        return f"{said}, loss {facts['loss_before']:.6g} -> {facts['loss']:.6g} in {facts['iterations']} iterations"
    return f"{said}, {facts['rank']} independent directions"
