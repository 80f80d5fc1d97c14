"""Wells of several batches brought together by Harmony, which knows batches and no treatments."""

import numpy as np
import pandas as pd

from phenoloom.core.errors import InputError
from phenoloom.core.tables import feature_columns, metadata_columns
from phenoloom.profiles.annotation import as_text

#: Features after principal components, which are no features of the representation any more.
AXIS = "Harmony_{:04d}"

#: Wells per cluster and most clusters, where the config does not say.
WELLS_PER_CLUSTER, MOST_CLUSTERS = 30, 100


def harmonize(frame, options, ledger, seed=0, step="harmonize"):
    """Correct the features of wells so that batches mix within soft clusters of wells.

    frame: one row per well, complete features. options: by, n_pcs, theta, sigma, n_clusters, max_iterations. Returns a
    new DataFrame; with n_pcs its features are the corrected principal components. The same seed gives the same values.
    With a single batch the wells stay as they are, and the ledger says so. Raises InputError for missing values and for
    a column that the wells lack.
    Source: Korsunsky et al. 2019, doi:10.1038/s41592-019-0619-0, as harmonypy implements it.
    """
    from harmonypy import run_harmony

    batches = _batches(frame, options["by"], step)
    features = feature_columns(frame)
    values = frame[features].to_numpy(dtype=float)
    incomplete = np.isnan(values).any(axis=0)
    if incomplete.any():
        raise InputError(
            f"step {step} needs complete features but {int(incomplete.sum())} have missing values, "
            f"{features[int(incomplete.argmax())]} among them; put feature_select with drop_na_columns and na_cutoff 0 "
            "before it"
        )
    mixed = [name for name in batches if batches[name].nunique() > 1]
    if not mixed:
        ledger.add(
            f"step {step}: all {len(frame)} wells have the same {' and '.join(options['by'])}, so that there is "
            "nothing to mix; they stay as they are",
            severity="flagged",
            unit="well",
            count=len(frame),
        )
        return frame
    names = features
    if options["n_pcs"]:
        values = _principal_components(values, options["n_pcs"])
        names = [AXIS.format(number + 1) for number in range(values.shape[1])]
    corrected = run_harmony(
        values.T,  # features x wells: it would otherwise guess, wrongly where there are as many wells as features
        batches,
        mixed,
        theta=options["theta"],
        sigma=options["sigma"],
        nclust=options["n_clusters"] or max(1, min(round(len(frame) / WELLS_PER_CLUSTER), MOST_CLUSTERS)),
        max_iter_harmony=options["max_iterations"],
        random_state=seed,
        ncores=1,
        verbose=False,
    ).Z_corr
    metadata = frame[metadata_columns(frame.columns)]
    return pd.concat([metadata, pd.DataFrame(corrected, columns=names, index=frame.index)], axis="columns")


def _batches(frame, names, step):
    """DataFrame of the columns to mix, as text."""
    missing = [name for name in names if f"Metadata_{name}" not in frame]
    if missing:
        known = ", ".join(name.removeprefix("Metadata_") for name in metadata_columns(frame.columns))
        raise InputError(f"step {step}: the wells have no Metadata_{missing[0]}; by takes names out of {known}")
    return pd.DataFrame({name: as_text(frame[f"Metadata_{name}"]) for name in names})


def _principal_components(values, number):
    """Scores (n, at most `number`) of the centred values, the sign of each axis fixed."""
    centred = values - values.mean(axis=0)
    left, singular, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    return (left * singular * signs)[:, :number]
