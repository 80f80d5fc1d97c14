"""The job context: errors end in the rule's log, sentences without a traceback, threads within the budget."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.job import THREAD_VARIABLES, job
from phenoloom.core.provenance import read_origin


class Named(list):
    """Stand-in for Snakemake's named lists."""

    def __init__(self, **named):
        super().__init__(named.values())
        self.named = named

    def items(self):
        return self.named.items()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    (tmp_path / "in.csv").write_text("a\n1\n")
    return SimpleNamespace(
        rule="aggregate",
        log=[str(tmp_path / "logs" / "a.log")],
        threads=1,
        params=Named(code="c0de", seed=3, operation="median"),
        input=Named(cells=str(tmp_path / "in.csv")),
        wildcards=Named(dataset="d", plate="plate~201"),
    )


def test_a_sentence_for_the_user_has_no_traceback(fake):
    with pytest.raises(SystemExit), job(fake):
        raise InputError("plate.csv is empty; write it again")
    log = Path(fake.log[0]).read_text()
    assert "error: plate.csv is empty; write it again" in log
    assert "Traceback" not in log


def test_other_errors_end_in_the_log_in_full(fake):
    with pytest.raises(SystemExit), job(fake):
        raise KeyError("nucleus")
    assert "Traceback" in Path(fake.log[0]).read_text()


def test_output_of_child_processes_is_in_the_log(fake):
    with job(fake):
        os.system("echo from a child")
    assert "from a child" in Path(fake.log[0]).read_text()


def test_a_run_knows_seed_threads_origin_and_true_names(fake, tmp_path):
    import pandas as pd

    with job(fake) as run:
        run.save_table(tmp_path / "out.parquet", pd.DataFrame({"Metadata_Well": ["A01"], "f": [1.0]}))
        run.ledger.add("no cells", well="A02", unit="well")
    assert run.seed == 3
    assert {os.environ[name] for name in THREAD_VARIABLES} == {"1"}
    assert run.ledger.frame()[["dataset", "plate", "well"]].values.tolist() == [["d", "plate 1", "A02"]]
    origin = read_origin(tmp_path / "out.parquet")
    assert origin["code"] == "c0de"
    assert origin["params"] == {"seed": 3, "operation": "median"}
    assert str(tmp_path) not in str({key: value for key, value in origin.items() if key != "inputs"})
