"""Dose-response of single features: monotonicity per compound and, where it can be told, the half-effective dose."""

import numpy as np
import pandas as pd
from scipy import optimize, stats

from phenoloom.core.tables import feature_columns
from phenoloom.evaluation.features import DISTANCE_TO_CONTROLS, distance_to_controls, named_features, refuse_similarity
from phenoloom.evaluation.intervals import adjusted, exact_share
from phenoloom.evaluation.results import Result, row
from phenoloom.evaluation.units import choose, is_control, text

_FIT_COLUMNS = ["ec50", "ec50_low", "ec50_high", "hill", "bottom", "top", "r_squared"]


def spearman(doses, values, permutations=1000, seed=0):
    """Spearman's rho of each column with the dose, and its two-sided p-value by permuting the doses.

    doses: (n,) floats. values: (n, d) finite floats. Returns rho (d,), p (d,); NaN where a column or the doses are
    constant.
    """
    ranks = _standardized(stats.rankdata(values, axis=0))
    dose = _standardized(stats.rankdata(doses)[:, None])[:, 0]
    rho = dose @ ranks / len(dose)
    rng = np.random.default_rng(seed)
    larger = np.zeros(values.shape[1])
    for start in range(0, permutations, 200):
        count = min(200, permutations - start)
        shuffled = rng.permuted(np.tile(dose, (count, 1)), axis=1)
        larger += (np.abs(shuffled @ ranks / len(dose)) >= np.abs(rho) - 1e-12).sum(axis=0)
    return rho, np.where(np.isfinite(rho), (1 + larger) / (1 + permutations), np.nan)


def _standardized(ranks):
    centred = ranks - ranks.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return centred / centred.std(axis=0)


def four_parameter_logistic(log_dose, bottom, top, log_ec50, hill):
    """bottom + (top - bottom) / (1 + 10^(hill (log EC50 - log dose)))."""
    return bottom + (top - bottom) / (1 + 10 ** np.clip(hill * (log_ec50 - log_dose), -300, 300))


def fit_half_effective_dose(doses, values, confidence=0.95):
    """Fit a four-parameter logistic and say the half-effective dose only where the data tell it.

    doses: (n,) positive floats; values: (n,). Returns a dict with ec50, its interval ec50_low and ec50_high, hill,
    bottom (response to little dose), top (to much), r_squared, note. For each EC50 and slope on a grid bottom and top
    are least squares; the interval is the EC50s whose best fit is not significantly worse (profile likelihood).
    EC50 is NaN, with the reason in note, for fewer than five distinct doses, where the curve explains no more than
    chance (F test against a constant), and where the interval is not inside the tested doses.
    """
    result = dict.fromkeys(_FIT_COLUMNS, np.nan)
    if len(np.unique(doses)) < 5 or len(doses) < 6:
        return {**result, "note": "fewer than five doses: no curve fitted"}
    if np.ptp(values) == 0:
        return {**result, "note": "constant: no curve fitted"}
    log_dose = np.log10(doses)
    low, high = log_dose.min(), log_dose.max()
    places, slopes = np.linspace(low - 1, high + 1, 241), np.geomspace(0.3, 6, 40)
    residuals = np.array([_residual(log_dose, values, place, slopes) for place in places])
    best = np.unravel_index(residuals.argmin(), residuals.shape)
    found = optimize.minimize(
        lambda at: _residual(log_dose, values, at[0], np.exp(at[1:2]))[0],
        [places[best[0]], np.log(slopes[best[1]])],
        bounds=[(places[0], places[-1]), (np.log(slopes[0]), np.log(slopes[-1]))],
        method="Nelder-Mead",
    )
    (log_ec50, log_hill), residual = found.x, min(found.fun, residuals.min())
    hill = float(np.exp(log_hill))
    shape = four_parameter_logistic(log_dose, 0.0, 1.0, log_ec50, hill)
    span = np.cov(shape, values)[0, 1] / shape.var(ddof=1)
    bottom = values.mean() - span * shape.mean()
    total, freedom = np.sum((values - values.mean()) ** 2), len(values) - 4
    result |= {"hill": hill, "bottom": bottom, "top": bottom + span, "r_squared": 1 - residual / total}
    variance = max(residual / freedom, 1e-12 * total)
    if stats.f.sf((total - residual) / 3 / variance, 3, freedom) > 1 - confidence:
        return {**result, "note": "no more than chance: EC50 not told"}
    likely = residuals.min(axis=1) <= residual + variance * stats.f.ppf(confidence, 1, freedom)
    inside = [log_ec50, *places[likely]]
    if min(inside) <= low or max(inside) >= high:
        return {**result, "note": "EC50 may lie outside the tested doses: not told"}
    result |= {"ec50": 10**log_ec50, "ec50_low": 10 ** min(inside), "ec50_high": 10 ** max(inside)}
    return {**result, "note": ""}


def _residual(log_dose, values, log_ec50, slopes):
    """Sum of squares (s,) left by the best bottom and top for one EC50 and several slopes."""
    shape = four_parameter_logistic(log_dose[None, :], 0.0, 1.0, log_ec50, slopes[:, None])
    shape -= shape.mean(axis=1, keepdims=True)
    centred = values - values.mean()
    # A shape that is flat over the doses explains nothing: its sum of squares is kept above zero.
    explained = (shape @ centred) ** 2 / np.maximum((shape**2).sum(axis=1), 1e-12)
    return np.maximum(centred @ centred - explained, 0)


def dose_response(
    table,
    features=(),
    compound="Perturbation",
    dose="Concentration",
    fit=False,
    min_doses=3,
    samples="",
    threshold=0.05,
    permutations=1000,
    bootstrap=1000,
    seed=0,
):
    """Whether features rise or fall with the dose of each compound.

    table: wells (or treatments) with a numeric column `dose`; controls and rows without a dose are left out. features:
    names
    or patterns of the features that count: they alone stand in the summary; `Distance_To_Controls` (how far a well lies
    from the negative controls, over all features) may be one of them. None: the details hold all features, the summary
    the distance to the controls. Spearman's rho, p by permuting doses within the compound, q over all rows of a
    feature.
    fit: also a four-parameter logistic for the named features. Returns a Result with one row per compound and feature.
    """
    refuse_similarity(table, "dose_response")
    table = choose(table, samples)
    wanted = [name for name in features if name != DISTANCE_TO_CONTROLS]
    names = named_features(table, wanted) if wanted else ([] if features else feature_columns(table))
    named = names if features else []
    values = table[names].to_numpy(dtype=np.float64)
    notes = []
    if not features or DISTANCE_TO_CONTROLS in features:
        distance = distance_to_controls(table)
        if distance is None:
            notes.append("too few negative controls for the distance to them")
        else:
            names, values = [*names, DISTANCE_TO_CONTROLS], np.column_stack([values, distance])
            named = [*named, DISTANCE_TO_CONTROLS]
    compounds = np.where(is_control(table), "", text(table, compound))
    doses = pd.to_numeric(pd.Series(text(table, dose)), errors="coerce").to_numpy(dtype=float)
    details, left_out = [], []
    for place, name in enumerate(sorted(set(compounds) - {""})):
        rows = np.flatnonzero((compounds == name) & np.isfinite(doses))
        if len(np.unique(doses[rows])) < min_doses:
            left_out.append({"compound": name, "n_wells": len(rows), "note": f"fewer than {min_doses} doses"})
            continue
        details.extend(
            _of_compound(name, doses[rows], values[rows], names, named, fit, permutations, bootstrap, seed, place)
        )
    columns = ["compound", "feature", "n_wells", "n_doses", "rho", "low", "high", "pvalue", "qvalue", "note"]
    columns = [*columns, *(_FIT_COLUMNS if fit else [])]
    frame = pd.DataFrame(details, columns=columns)
    if len(frame):
        frame["qvalue"] = frame.groupby("feature")["pvalue"].transform(adjusted)
    if left_out:
        notes.append(f"{len(left_out)} compounds with fewer than {min_doses} doses left out")
    summary = [item for name in named for item in _summary(frame[frame["feature"] == name], name, threshold, notes)]
    if not summary:
        summary = [row("share monotone", np.nan, 0, note=notes)]
    if left_out:
        frame = pd.concat([frame, pd.DataFrame(left_out)], ignore_index=True)
    return Result(frame, summary, table.iloc[:0].assign(note=""))


def _of_compound(compound, doses, values, names, named, fit, permutations, bootstrap, seed, place):
    complete = np.isfinite(values).all(axis=0)
    rho, pvalue = np.full((2, len(names)), np.nan)
    if complete.any():
        rho[complete], pvalue[complete] = spearman(doses, values[:, complete], permutations, [seed, place])
    rows = []
    for column, name in enumerate(names):
        present = np.isfinite(values[:, column])
        found = {"compound": compound, "feature": name, "n_wells": int(present.sum())}
        found["n_doses"] = len(np.unique(doses[present]))
        found |= {"rho": rho[column], "pvalue": pvalue[column], "low": np.nan, "high": np.nan, "note": ""}
        if not complete[column]:
            found["note"] = f"{int((~present).sum())} wells without a value"
            if found["n_doses"] >= 3 and name in named:
                one, p = spearman(doses[present], values[present][:, [column]], permutations, [seed, place])
                found |= {"rho": one[0], "pvalue": p[0]}
        elif np.isnan(rho[column]):
            found["note"] = "constant"
        if name in named and np.isfinite(found["rho"]):
            found["low"], found["high"] = _interval(doses[present], values[present, column], bootstrap, [seed, place])
        if fit and name in named:
            positive = present & (doses > 0)
            fitted = fit_half_effective_dose(doses[positive], values[positive, column])
            found |= {**fitted, "note": "; ".join(filter(None, [found["note"], fitted["note"]]))}
        rows.append(found)
    return rows


def _interval(doses, values, bootstrap, seed):
    """Percentile interval of rho, resampling wells within each dose."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(doses == dose) for dose in np.unique(doses)]
    drawn = np.concatenate([rng.choice(group, (bootstrap, len(group))) for group in groups], axis=1)
    dose = np.concatenate([doses[group] for group in groups])
    first = _standardized(stats.rankdata(dose)[:, None])[:, 0]
    second = _standardized(stats.rankdata(values[drawn], axis=1).T)
    rhos = first @ second / len(dose)
    rhos = rhos[np.isfinite(rhos)]
    return np.quantile(rhos, [0.025, 0.975]) if len(rhos) else (np.nan, np.nan)


def _summary(frame, feature, threshold, notes):
    tested = frame[frame["rho"].notna()]
    n = len(tested)
    monotone = int((tested["qvalue"] < threshold).sum())
    rows = [
        row(
            f"share monotone of {feature}",
            monotone / n if n else np.nan,
            n,
            *exact_share(monotone, n),
            note=[f"compounds with q < {threshold:g}", *notes],
        )
    ]
    for item in frame.itertuples():
        label = f"{feature} of {item.compound}: rho"
        rows.append(row(label, item.rho, item.n_wells, item.low, item.high, 0.0, item.pvalue, item.note))
    return rows
