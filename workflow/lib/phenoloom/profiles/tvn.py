"""Typical variation normalisation (TVN): sites are whitened by how those of the negative controls vary."""

from dataclasses import dataclass

import numpy as np

from phenoloom.core.errors import InputError
from phenoloom.core.files import atomic

#: Features after a whitening by principal axes, which are no features of the representation any more.
AXIS = "TVN_{:04d}"


@dataclass(frozen=True)
class Whitening:
    """Axes (k, d) in which typical variation is uncorrelated, its standard deviation (k,) along each, its mean (d,).

    samples: sites it was fitted on. directions: d. dimensions: in how many directions those sites vary.
    """

    mean: np.ndarray
    components: np.ndarray
    scales: np.ndarray
    samples: int
    dimensions: int

    @property
    def directions(self):
        """Number of features."""
        return len(self.mean)

    def transform(self, values, method="PCA"):
        """Whiten rows of (n, d): coordinates (n, k) along the axes for `PCA`, turned back to (n, d) for `ZCA`.

        Both have the same distances and angles; only `ZCA` has axes that several whitenings share.
        """
        along = (values - self.mean) @ self.components.T / self.scales
        return along @ self.components if method == "ZCA" else along


class Scatter:
    """Mean and scatter of rows (n, d) that come in parts, as the triangular factor of all rows and a column of ones.

    The factor is as exact as a decomposition of all rows at once, where a sum of squares would lose half the digits.
    """

    def __init__(self, n_features):
        self.n_features = n_features
        self.samples = 0
        self._shift = None
        self._waiting, self._factor = [], np.empty((0, n_features + 1))

    def add(self, values):
        """Take in rows (n, d), finite float64."""
        if not len(values):
            return
        if self._shift is None:
            self._shift = values.mean(axis=0)
        self.samples += len(values)
        self._waiting.append(np.column_stack([np.ones(len(values)), values - self._shift]))
        if sum(map(len, self._waiting)) > self.n_features:
            self._reduce()

    def whitening(self, kept, epsilon=0.0):
        """Whitening of the features `kept` (indices) by all rows so far, at least two.

        epsilon: added to each variance. With 0 the directions without variance are left out, for nothing says on which
        scale they are. Raises InputError when no direction varies.
        """
        self._reduce()
        factor = np.linalg.qr(self._factor[:, [0, *(np.asarray(kept) + 1)]], mode="r")
        mean = self._shift[kept] + factor[0, 1:] / factor[0, 0]
        _, singular, axes = np.linalg.svd(factor[1:, 1:])
        deviations = np.zeros(len(kept))
        deviations[: len(singular)] = singular / np.sqrt(self.samples - 1)
        limit = deviations.max(initial=0) * max(self.samples, len(kept)) * np.finfo(float).eps
        dimensions = int((deviations > limit).sum())
        if not dimensions:
            raise InputError(
                f"step tvn: the {self.samples} control sites are all the same, so that nothing varies; choose others"
            )
        n_axes = len(kept) if epsilon else dimensions
        largest = np.abs(axes).argmax(axis=1)
        axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]  # else their signs are the library's whim
        scales = np.sqrt(np.where(deviations > limit, deviations, 0)[:n_axes] ** 2 + epsilon)
        return Whitening(mean, axes[:n_axes], scales, self.samples, dimensions)

    def _reduce(self):
        if self._waiting:
            self._factor = np.linalg.qr(np.concatenate([self._factor, *self._waiting]), mode="r")
            self._waiting = []


class Fit:
    """Whitenings of the groups of `by` that are fitted over the control sites of all tables of a dataset."""

    def __init__(self, features, options):
        """features: names that every table has. options: of the step tvn."""
        self.features = list(features)
        self.options = options
        self._incomplete = np.zeros(len(self.features), dtype=bool)
        self._scatters = {}

    def add(self, values, groups):
        """Take in the control sites of one table: values (n, d) with features in order, groups (n,) their names.

        A feature that any control site lacks counts as left out from then on.
        """
        missing = np.isnan(values).any(axis=0)
        self._incomplete |= missing
        values = np.where(missing, 0.0, values)
        for group in sorted(set(groups)):
            scatter = self._scatters.setdefault(group, Scatter(len(self.features)))
            scatter.add(values[np.asarray(groups) == group])

    def result(self):
        """Fitted of all groups with at least `minimum_samples` control sites (two at least); maybe of none.

        Raises InputError when no feature is complete.
        """
        kept = np.flatnonzero(~self._incomplete)
        if self.features and not len(kept):
            raise InputError(
                f"step tvn: each of the {len(self.features)} features has missing values among the control sites; "
                "choose other samples, or filter cells without a value before"
            )
        found = {group: scatter.samples for group, scatter in sorted(self._scatters.items())}
        enough = [group for group in found if found[group] >= self.options["minimum_samples"]]
        whitenings = {group: self._scatters[group].whitening(kept, self.options["epsilon"]) for group in enough}
        names = np.array(self.features, dtype=object)
        return Fitted(list(names[kept]), list(names[self._incomplete]), whitenings, found)


@dataclass(frozen=True)
class Fitted:
    """features: names of the columns that the whitenings take. incomplete: those left out for missing values.
    whitenings: group -> Whitening. found: group -> number of control sites, of groups with too few too.
    """

    features: list
    incomplete: list
    whitenings: dict
    found: dict

    def columns(self, method):
        """Names of the whitened features."""
        if method == "ZCA" or not self.whitenings:
            return self.features
        (whitening,) = self.whitenings.values()
        return [AXIS.format(number + 1) for number in range(len(whitening.components))]

    def tell(self, ledger, options, dropped, **where):
        """Put features that were left out into `dropped`, and directions without variance into the ledger.

        where: plate of the ledger's rows, for fits of single plates.
        """
        for name in self.incomplete:
            dropped.add("feature", name, "tvn", "missing values at control sites", **where)
        for group, one in self.whitenings.items():
            missing = one.directions - one.dimensions
            if missing:
                fate = (
                    f"are divided by {np.sqrt(options['epsilon']):.3g} (epsilon)"
                    if options["epsilon"]
                    else "are left out, and with them whatever treated sites show there; more control sites or an "
                    "epsilon above 0 keep them"
                )
                of_group = f" of {group}" if group else ""
                ledger.add(
                    f"TVN: {one.samples} control sites{of_group} span {one.dimensions} of {one.directions} dimensions; "
                    f"the other {missing} {fate}",
                    severity="flagged",
                    unit="feature",
                    count=missing,
                    **where,
                )

    def write(self, path):
        """Write as plain arrays (.npz), loadable without pickles."""
        arrays = {
            "features": np.array(self.features, dtype=str),
            "incomplete": np.array(self.incomplete, dtype=str),
            "groups": np.array(list(self.found), dtype=str),
            "found": np.array(list(self.found.values()), dtype=np.int64),
        }
        for number, group in enumerate(self.found):
            one = self.whitenings.get(group)
            if one is not None:
                arrays |= {f"{name}_{number}": getattr(one, name) for name in ("mean", "components", "scales")}
                arrays[f"dimensions_{number}"] = np.int64(one.dimensions)
                arrays[f"singular_{number}"] = np.int64(one.directions - one.dimensions)
        with atomic(path) as partial, open(partial, "wb") as file:
            np.savez(file, **arrays)


def read_fitted(path):
    """What Fitted.write wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        found = dict(zip(arrays["groups"].tolist(), arrays["found"].tolist(), strict=True))
        whitenings = {
            group: Whitening(
                *(arrays[f"{name}_{number}"] for name in ("mean", "components", "scales")),
                found[group],
                int(arrays[f"dimensions_{number}"]),
            )
            for number, group in enumerate(found)
            if f"mean_{number}" in arrays
        }
        return Fitted(arrays["features"].tolist(), arrays["incomplete"].tolist(), whitenings, found)
