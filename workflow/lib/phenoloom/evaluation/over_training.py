"""Scores of a model over its training: at the end, on average, and at the best epoch, which leaks labels."""

import numpy as np
import pandas as pd

KEYS = ["evaluation", "dataset", "model", "profile", "metric", "level", "label"]
COLUMNS = [*KEYS, "epoch", "value", "low", "high"]


def by_epoch(table, snapshots):
    """Rows of the evaluation table that are of a model with snapshots, with model and epoch: DataFrame of COLUMNS.

    table: the evaluation table. snapshots: {representation: (model, epoch)}, of the model at its end too.
    """
    rows = table[table["representation"].isin(snapshots)]
    models = [snapshots[name] for name in rows["representation"]]
    rows = rows.assign(model=[model for model, _ in models], epoch=[epoch for _, epoch in models])
    return rows[COLUMNS].sort_values([*KEYS, "epoch"], kind="stable").reset_index(drop=True)


def summarise(epochs):
    """One row per score of a model: its `value` at the end (`epoch`), the `mean` over all `epochs`, their standard
    deviation, and the value at the best epoch.

    epochs: DataFrame (by_epoch). `best_leaks_labels` is what choosing the epoch by the score would report: the labels
    that it is scored by chose it, so it is no estimate for new data. Larger is taken for better. Scores that were not
    computed at some epoch are left out there.
    """
    rows = []
    for key, part in epochs.groupby(KEYS, sort=False, dropna=False):
        part = part.sort_values("epoch")
        values, numbers = part["value"].to_numpy(float), part["epoch"].to_numpy()
        known = np.isfinite(values)
        best = int(np.nanargmax(np.where(known, values, -np.inf))) if known.any() else -1
        rows.append(
            {
                **dict(zip(KEYS, key, strict=True)),
                "epoch": int(numbers[-1]),
                "value": values[-1],
                "mean": values[known].mean() if known.any() else np.nan,
                "deviation": values[known].std(ddof=1) if known.sum() > 1 else np.nan,
                "epochs": ", ".join(str(number) for number in numbers[known]),
                "best_leaks_labels": values[best] if known.any() else np.nan,
                "best_epoch": int(numbers[best]) if known.any() else -1,
            }
        )
    names = ["epoch", "value", "mean", "deviation", "epochs", "best_leaks_labels", "best_epoch"]
    return pd.DataFrame(rows, columns=[*KEYS, *names])
