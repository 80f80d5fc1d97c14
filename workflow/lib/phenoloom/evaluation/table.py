"""The evaluation table: summaries of all evaluations as one."""

import pandas as pd

from phenoloom.evaluation.results import COLUMNS


def summary_table(result, dataset, representation, profile, evaluation, metric, level):
    """The summary of a Result as rows of the evaluation table (see results.COLUMNS)."""
    where = {"dataset": dataset, "representation": representation, "profile": profile}
    where |= {"evaluation": evaluation, "metric": metric, "level": level}
    return pd.DataFrame([{**where, **item} for item in result.summary], columns=COLUMNS)


def evaluation_table(summaries):
    """All summaries as one table, sorted by evaluation and profile; rows of one summary keep their order."""
    filled = [frame for frame in summaries if len(frame)]
    if not filled:
        return pd.DataFrame(columns=COLUMNS)
    keys = ["evaluation", "dataset", "representation", "profile"]
    return pd.concat(filled, ignore_index=True)[COLUMNS].sort_values(keys, kind="stable").reset_index(drop=True)
