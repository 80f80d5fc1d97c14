"""How far positive and negative controls lie apart in single features: Z' and strictly standardised mean difference."""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns
from phenoloom.evaluation.features import named_features, refuse_similarity
from phenoloom.evaluation.results import Result, row
from phenoloom.evaluation.units import choose, text
from phenoloom.profiles.queries import select


def z_prime(positive, negative, robust=False):
    """Z' = 1 - 3 (s_p + s_n) / |m_p - m_n| per column; NaN where the means are equal.

    positive (a, d), negative (b, d): finite values. robust: median and scaled MAD instead of mean and deviation.
    Source: Zhang et al. 1999, doi:10.1177/108705719900400206.
    """
    (centre_p, spread_p), (centre_n, spread_n) = _moments(positive, robust), _moments(negative, robust)
    gap = np.abs(centre_p - centre_n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(gap > 0, 1 - 3 * (spread_p + spread_n) / gap, np.nan)


def ssmd(positive, negative, robust=False):
    """SSMD = (m_p - m_n) / sqrt(s_p^2 + s_n^2) per column; NaN where neither control varies.

    Source: Zhang 2007, doi:10.1016/j.ygeno.2006.12.014.
    """
    (centre_p, spread_p), (centre_n, spread_n) = _moments(positive, robust), _moments(negative, robust)
    spread = np.sqrt(spread_p**2 + spread_n**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, (centre_p - centre_n) / spread, np.nan)


def _moments(values, robust):
    if robust:
        centre = np.median(values, axis=0)
        return centre, 1.4826 * np.median(np.abs(values - centre), axis=0)
    return values.mean(axis=0), values.std(axis=0, ddof=1)


#: Fewer plates than this tell little of how plates differ, so that wells are resampled instead. Resampled wells repeat,
#: which makes two or three controls look closer to each other than they are.
FEW_GROUPS = 4


def control_separation(
    table,
    features=(),
    positive="Metadata_Control == 'positive'",
    negative="Metadata_Control == 'negative'",
    by="Plate",
    robust=False,
    samples="",
    permutations=200,
    bootstrap=1000,
    seed=0,
):
    """Z' and SSMD between positive and negative controls, per group (plate) and feature.

    features: names or patterns of the features that count; they alone stand in the summary, so that no feature is
    picked after the fact. None: the details hold all features and the summary none. positive, negative: pandas
    expressions that choose the controls. by: column of the groups; empty: all wells at once. Wells where a feature has
    no value are left out for that feature and counted (n_missing); fewer than two wells of either control give NaN with
    a note. The summary's figure is the median over the groups. Interval: bootstrap of whole groups from FEW_GROUPS of
    them on, else of each control's wells. Null: median after exchanging controls within the groups; the p-value is
    of the absolute SSMD.
    """
    refuse_similarity(table, "control_separation")
    table = choose(table, samples)
    names = named_features(table, features) if features else feature_columns(table)
    groups = text(table, by) if by else np.full(len(table), "all", dtype=object)
    masks = [select(table, query, "controls of an evaluation") for query in (positive, negative)]
    if (masks[0] & masks[1]).any():
        raise InputError(
            "the expressions 'positive' and 'negative' choose common wells; mend them in the study's config"
        )
    values = table[names].to_numpy(dtype=np.float64)
    details = []
    for group in sorted(set(groups)):
        here = groups == group
        details.append(_group(group, names, values[here & masks[0]], values[here & masks[1]], robust))
    details = pd.concat(details, ignore_index=True)
    if features:
        summary = []
        for place, name in enumerate(names):
            column = values[:, place]
            pairs = [
                tuple(column[(groups == group) & mask & np.isfinite(column)] for mask in masks)
                for group in sorted(set(groups))
            ]
            found = details[details["feature"] == name]
            summary.extend(_summary(name, found, pairs, robust, permutations, bootstrap, [seed, place]))
    else:
        note = (
            f"no feature is named in the config (key 'features'): all {len(names)} are in the details, none is picked"
        )
        summary = [row("Z'", np.nan, 0, note=note)]
    return Result(details, summary, table.iloc[:0].assign(note=""))


def _group(group, names, positive, negative, robust):
    rows = []
    for place, name in enumerate(names):
        first, second = positive[:, place], negative[:, place]
        missing = int((~np.isfinite(first)).sum() + (~np.isfinite(second)).sum())
        first, second = first[np.isfinite(first)], second[np.isfinite(second)]
        found = {"group": group, "feature": name, "n_positive": len(first), "n_negative": len(second)}
        found |= {"n_missing": missing, "z_prime": np.nan, "ssmd": np.nan, "note": ""}
        if min(len(first), len(second)) < 2:
            found["note"] = "fewer than two wells with a value of either control"
        else:
            found["z_prime"] = float(z_prime(first[:, None], second[:, None], robust)[0])
            found["ssmd"] = float(ssmd(first[:, None], second[:, None], robust)[0])
            if np.isnan(found["z_prime"]) or np.isnan(found["ssmd"]):
                found["note"] = "the controls have the same mean or no spread"
        rows.append(found)
    return pd.DataFrame(rows)


def _summary(name, found, pairs, robust, permutations, bootstrap, seed):
    """Rows of Z' and SSMD of one feature: median over groups. pairs: (positive, negative) values of each group."""
    pairs = [pair for pair in pairs if min(map(len, pair)) >= 2]
    rng = np.random.default_rng(seed)
    if len(pairs) >= FEW_GROUPS:
        whole = found[["z_prime", "ssmd"]].dropna().to_numpy()
        drawn = [np.median(whole[rng.integers(0, len(whole), len(whole))], axis=0) for _ in range(bootstrap)]
    else:
        drawn = [_medians([_resampled(*pair, rng) for pair in pairs], robust) for _ in range(bootstrap if pairs else 0)]
    null = [_medians([_exchanged(*pair, rng) for pair in pairs], robust) for _ in range(permutations if pairs else 0)]
    drawn, null = np.array(drawn).reshape(-1, 2), np.array(null).reshape(-1, 2)
    n = int(found["n_positive"].sum() + found["n_negative"].sum())
    notes = [f"median of {len(pairs)} groups"] if len(pairs) > 1 else []
    missing = int(found["n_missing"].sum())
    notes += [f"{missing} wells without a value left out"] if missing else []
    notes += sorted(set(found["note"]) - {""})
    extreme = np.abs(null[:, 1])
    figures = {
        key: float(np.median(found[key].dropna())) if found[key].notna().any() else np.nan
        for key in ("z_prime", "ssmd")
    }
    observed = abs(figures["ssmd"])
    pvalue = (1 + np.sum(extreme >= observed - 1e-12)) / (1 + len(extreme)) if len(extreme) else np.nan
    rows = []
    for column, label, key in ((0, "Z'", "z_prime"), (1, "SSMD", "ssmd")):
        low, high = _quantiles(drawn[:, column])
        middle = _quantiles(null[:, column], (0.5, 0.5))[0]
        rows.append(row(f"{label} of {name}", figures[key], n, low, high, middle, pvalue, notes))
    return rows


def _medians(pairs, robust):
    both = [
        (z_prime(first[:, None], second[:, None], robust)[0], ssmd(first[:, None], second[:, None], robust)[0])
        for first, second in pairs
    ]
    return [float(np.median(column)) for column in zip(*both, strict=True)]


def _resampled(first, second, rng):
    return rng.choice(first, len(first)), rng.choice(second, len(second))


def _exchanged(first, second, rng):
    both = rng.permutation(np.concatenate([first, second]))
    return both[: len(first)], both[len(first) :]


def _quantiles(values, at=(0.025, 0.975)):
    values = values[np.isfinite(values)]
    return tuple(np.quantile(values, at)) if len(values) else (np.nan, np.nan)
