"""Neighbourhood components analysis: CPU seconds and k-NN accuracy of scikit-learn's against the stochastic one.

Run with the main environment's Python and the library on the path, on one core:

    OMP_NUM_THREADS=1 PYTHONPATH=workflow/lib python benchmarks/metric_learning.py compare  # 1,000, 2,000, 4,000 x 30
    OMP_NUM_THREADS=1 PYTHONPATH=workflow/lib python benchmarks/metric_learning.py full  # 20,000 x 50, ours
    OMP_NUM_THREADS=1 PYTHONPATH=workflow/lib python benchmarks/metric_learning.py others  # 4,000 x 30, LMNN MLKR LFDA

Simulated: 7 classes of three clusters each in 5 dimensions, the others louder and without a class. Accuracy: 15 nearest
neighbours on as many cells again. Score: the objective on the fitted cells, the mean probability that a neighbour has
the class of the cell.
"""

import argparse
import time

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from phenoloom.metric_learning.chain import METHODS
from phenoloom.metric_learning.learning import fit_metric, starting_components, unit_of_distance
from phenoloom.metric_learning.neighbourhood_components import fit_exact, fit_stochastic, neighbourhood_score

CLASSES, CLUSTERS, SIGNAL = 7, 3, 5


def simulated(cells, width, seed):
    """(values (2 * cells, width), codes): the first half to fit on, the second to ask."""
    rng = np.random.default_rng(seed)
    centres = 2.5 * rng.normal(size=(CLASSES * CLUSTERS, SIGNAL))
    cluster = rng.integers(0, CLASSES * CLUSTERS, size=2 * cells)
    signal = centres[cluster] + rng.normal(size=(2 * cells, SIGNAL))
    return np.hstack([signal, 2 * rng.normal(size=(2 * cells, width - SIGNAL))]), cluster % CLASSES


def report(name, values, codes, fit, score=True):
    """Print a row: CPU seconds of the fit, accuracy on the second half, score on the first."""
    cells = len(values) // 2
    started = time.process_time()
    components = fit(values[:cells], codes[:cells])
    seconds = time.process_time() - started
    voters = KNeighborsClassifier(15).fit(values[:cells] @ components.T, codes[:cells])
    accuracy = voters.score(values[cells:] @ components.T, codes[cells:])
    unit = unit_of_distance(values[:cells])
    mean = ""
    if score:
        components = components / unit if name == "none" else components
        mean = f"{neighbourhood_score(values[:cells], codes[:cells], components):.3f}"
    print(f"| {name} | {cells:,} x {values.shape[1]} | {seconds:.1f} | {accuracy:.3f} | {mean} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["compare", "full", "others"])
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("| method | cells x features | CPU s | accuracy | score |\n|---|---|---|---|---|")

    def by(fit, **options):
        def fitted(values, codes):
            unit = unit_of_distance(values)
            start = starting_components(values, codes, values.shape[1])
            return fit(values / unit, codes, start, **options) / unit

        return fitted

    if given.what == "compare":
        for cells in (1_000, 2_000, 4_000):
            values, codes = simulated(cells, 30, given.seed)
            report("none", values, codes, lambda values, codes: np.eye(values.shape[1]))
            report("scikit-learn", values, codes, by(fit_exact))
            report("stochastic", values, codes, by(fit_stochastic, seed=given.seed))
    elif given.what == "full":
        values, codes = simulated(20_000, 50, given.seed)
        report("none", values, codes, lambda values, codes: np.eye(values.shape[1]), score=False)
        report("stochastic", values, codes, by(fit_stochastic, seed=given.seed), score=False)
    else:
        values, codes = simulated(4_000, 30, given.seed)
        for method in ("lmnn", "mlkr", "lfda"):
            options = {"method": method, "label": "Label", "n": None, **METHODS[method]}
            report(method, values, codes, lambda x, y, o=options: fit_metric(x, y.astype(str), o, given.seed)[0])


if __name__ == "__main__":
    main()
