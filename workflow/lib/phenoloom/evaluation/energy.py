"""Activity by energy distance: are a treatment's profiles distributed as the negative controls are?"""

import numpy as np
import pandas as pd

from phenoloom.evaluation.features import refuse_similarity
from phenoloom.evaluation.intervals import adjusted, exact_share
from phenoloom.evaluation.results import Result, describe, row, with_left_out
from phenoloom.evaluation.similarity import prepared, similarity
from phenoloom.evaluation.units import codes, is_control, text, units


def activity_by_energy(table, treatment, within, samples, distance, null_size, threshold, seed):
    """Energy distance of each treatment to the negative controls of its groups, with permutation p-values.

    The groups are the combinations of the columns `within` (plates); treated and control profiles are exchanged within
    them only, so that plate effects do not look like activity. Returns a Result with the column `active`.
    Source: Szekely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.
    """
    refuse_similarity(table, "activity by energy distance")
    chosen = units(table, samples, distance)
    control = is_control(chosen.table)
    labels = np.where(control, "", text(chosen.table, treatment))
    groups = codes(chosen.table, within)
    vectors = prepared(chosen.values, distance)
    rows = []
    for place, name in enumerate(sorted(set(labels) - {""})):
        treated = np.flatnonzero(labels == name)
        controls = np.flatnonzero(control & np.isin(groups, groups[treated]))
        rng = np.random.default_rng([seed, place])
        rows.append({"unit": name, **_test(vectors, treated, controls, groups, distance, null_size, rng)})
    columns = ["unit", "n_profiles", "n_controls", "energy_distance", "pvalue", "note"]
    details = pd.DataFrame(rows, columns=columns)
    details["qvalue"] = adjusted(details["pvalue"])
    details["active"] = details["qvalue"] < threshold
    describe(details, chosen.table, labels)
    details = with_left_out(details, chosen, treatment)
    details["active"] = details["active"].eq(True)
    tested = int(details["pvalue"].notna().sum())
    active = int(details["active"].sum())
    notes = [*chosen.notes, *([] if tested else ["no treatment has controls to compare with"])]
    share = active / tested if tested else np.nan
    summary = [row("share active", share, tested, *exact_share(active, tested), note=notes)]
    return Result(details.sort_values("unit", kind="stable").reset_index(drop=True), summary, chosen.left_out)


def _test(vectors, treated, controls, groups, distance, null_size, rng):
    found = {"n_profiles": len(treated), "n_controls": len(controls), "energy_distance": np.nan, "pvalue": np.nan}
    if len(controls) < 2:
        return {**found, "note": "fewer than two negative controls in its groups"}
    both = np.concatenate([treated, controls])
    distances = -similarity(vectors[both], vectors[both], distance)
    np.fill_diagonal(distances, 0)
    if distance in ("cosine", "abs_cosine", "correlation"):
        # Chord length: a metric of negative type, which one minus the cosine is not.
        distances = np.sqrt(np.maximum(0, 2 * (1 + distances)))
        np.fill_diagonal(distances, 0)
    is_treated = np.arange(len(both)) < len(treated)
    chosen = _exchanged(is_treated, groups[both], null_size, rng)
    observed = energy_distance(distances, is_treated[None, :])[0]
    null = energy_distance(distances, chosen)
    pvalue = (1 + np.sum(null >= observed - 1e-12)) / (1 + null_size)
    return {**found, "energy_distance": observed, "pvalue": pvalue, "note": ""}


def energy_distance(distances, chosen):
    """Energy distance between the chosen rows and the others, for each row of `chosen` (b, n) bool.

    distances: (n, n) symmetric. 2 E|X - Y| - E|X - X'| - E|Y - Y'|, zero when both are distributed alike.
    """
    first = chosen.astype(float)
    second = 1 - first
    first /= first.sum(axis=1, keepdims=True)
    second /= second.sum(axis=1, keepdims=True)
    across, inside = first @ distances, second @ distances
    return 2 * (across * second).sum(axis=1) - (across * first).sum(axis=1) - (inside * second).sum(axis=1)


def _exchanged(is_treated, groups, size, rng):
    """(size, n) bool: as many treated in each group as there are, at random places of it."""
    result = np.zeros((size, len(is_treated)), dtype=bool)
    for group in np.unique(groups):
        inside = np.flatnonzero(groups == group)
        order = np.argsort(rng.random((size, len(inside))), axis=1)
        np.put_along_axis(result, inside[order[:, : is_treated[inside].sum()]], True, axis=1)
    return result
