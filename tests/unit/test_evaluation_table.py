"""Evaluations by name: options against the schema, scripts, the table of all."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from jsonschema import Draft202012Validator

from phenoloom.config.schema import SCHEMAS, _resolve, with_defaults
from phenoloom.core.code import LIBRARY
from phenoloom.core.ledger import read_ledgers
from phenoloom.core.provenance import read_origin
from phenoloom.core.tables import read_table, write_table
from phenoloom.evaluation.evaluate import METRICS, evaluate, options_of
from phenoloom.evaluation.results import COLUMNS
from phenoloom.evaluation.table import evaluation_table, summary_table

SCRIPTS = LIBRARY.parent / "scripts"


@pytest.fixture(scope="module")
def schema():
    name = "evaluation.schema.yaml"
    return _resolve(yaml.safe_load((SCHEMAS / name).read_text()), name)


def wells(seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (f"c{number}", f"m{number // 2}", dose, "") for number in range(6) for dose in (1.0, 2, 3) for _ in range(3)
    ]
    rows += [("DMSO", "", np.nan, "negative")] * 8 + [("ctrl", "", np.nan, "positive")] * 8
    names, moas, doses, controls = zip(*rows, strict=True)
    values = rng.normal(size=(len(rows), 10)) + 3 * rng.normal(size=(4, 10))[[int(moa[1:] or 3) for moa in moas]]
    table = pd.DataFrame(
        {
            "Metadata_Batch": [f"{number % 2 + 1:04d}" for number in range(len(rows))],
            "Metadata_Plate": [f"P {number % 2}" for number in range(len(rows))],
            "Metadata_Well": [f"A{number + 1:02d}" for number in range(len(rows))],
            "Metadata_Perturbation": names,
            "Metadata_Concentration": doses,
            "Metadata_Unit": "uM",
            "Metadata_MoA": moas,
            "Metadata_Label": moas,
            "Metadata_Control": controls,
        }
    )
    return pd.concat([table, pd.DataFrame(values, columns=[f"F{number}" for number in range(10)])], axis=1)


@pytest.mark.parametrize("metric", METRICS)
def test_the_schema_names_the_options_of_each_metric_and_their_defaults(schema, metric):
    block = {"any": {"metric": metric}}
    assert Draft202012Validator(schema).is_valid(block)
    full = with_defaults(block, schema)["any"]
    assert full.pop("level") in ("cells", "wells", "treatments")
    assert full.pop("of") == [] and full.pop("against", []) == []
    assert full.pop("metric") == metric
    assert full == {name: list(one) if isinstance(one, tuple) else one for name, one in options_of(metric).items()}


def test_options_of_another_metric_and_typing_errors_are_refused(schema):
    check = Draft202012Validator(schema)
    assert not check.is_valid({"any": {"metric": "nsc", "negatives": "controls"}})
    assert not check.is_valid({"any": {"metric": "nsc", "lable": "MoA"}})
    assert not check.is_valid({"any": {"metric": "nsd"}})
    assert not check.is_valid({"any": {"level": "wells"}})
    assert not check.is_valid({"a/b": {"metric": "nsc"}})


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_runs_with_its_defaults_and_fills_the_tables_columns(schema, metric):
    options = with_defaults({"any": {"metric": metric}}, schema)["any"]
    result = evaluate(wells(), options, seed=1)
    table = summary_table(result, "d", "r", "p", "any", metric, options["level"])
    assert list(table.columns) == COLUMNS and len(table) > 0
    assert table["value"].dtype == float and table["n"].dtype == int
    assert len(result.details) > 0
    again = evaluate(wells(), options, seed=1)
    pd.testing.assert_frame_equal(result.details, again.details)


def test_numbers_of_one_profile_do_not_depend_on_the_representation():
    table = wells()
    renamed = table.rename(columns={f"F{number}": f"Embedding_dino_{number:04d}" for number in range(10)})
    for metric in ("nsc", "mean_average_precision"):
        assert evaluate(table, {"metric": metric}).summary == evaluate(renamed, {"metric": metric}).summary


def fake(tmp_path, rule, **parts):
    names = {"input": {}, "output": {}, "params": {}, "wildcards": {}, **parts}
    spaces = {}
    for key, value in names.items():
        space = type("Named", (list,), {})(value.values())
        space.__dict__.update(value)
        space.items = value.items
        spaces[key] = space
    return SimpleNamespace(rule=rule, threads=1, log=[str(tmp_path / f"{rule}.log")], **spaces)


def script(name):
    code = compile((SCRIPTS / f"{name}.py").read_text(), f"{name}.py", "exec")
    space = {"__name__": name}
    exec(code, space)
    return space["main"]


def test_the_scripts_write_details_summary_ledger_and_table(tmp_path):
    table = wells()
    table.loc[4, [f"F{number}" for number in range(10)]] = np.nan
    write_table(tmp_path / "wells.parquet", table)
    outputs = {name: str(tmp_path / f"{name}.parquet") for name in ("details", "summary", "ledger")}
    options = {"metric": "nsc", "level": "wells", "label": "MoA", "unit": "Well", "permutations": 20}
    where = {"evaluation": "nsc", "dataset": "d", "representation": "r", "profile": "p"}
    inputs = {"profiles": str(tmp_path / "wells.parquet")}
    params = {"options": options, "seed": 7, "code": "c"}
    script("evaluate")(fake(tmp_path, "evaluate", input=inputs, output=outputs, params=params, wildcards=where))
    summary = read_table(outputs["summary"])
    assert summary.loc[0, ["dataset", "profile", "evaluation", "metric", "level"]].tolist() == [
        *("d", "p", "nsc", "nsc", "wells")
    ]
    assert read_origin(outputs["details"])["seed"] == 7
    ledger = read_ledgers([outputs["ledger"]])
    assert ledger[["dataset", "plate", "well"]].values.tolist() == [["d", "P 0", "A05"]]
    assert "more than half" in ledger["reason"][0]

    final = {"parquet": str(tmp_path / "evaluation.parquet"), "csv": str(tmp_path / "evaluation.csv")}
    parts = SimpleNamespace(summaries=[outputs["summary"]])
    job = fake(tmp_path, "evaluation_table", output=final, params={"code": "c"})
    job.input.summaries = parts.summaries
    script("evaluation_table")(job)
    pd.testing.assert_frame_equal(read_table(final["parquet"]), summary)
    assert list(read_table(final["csv"]).columns) == COLUMNS


def test_an_evaluation_that_cannot_run_ends_with_one_sentence(tmp_path):
    write_table(tmp_path / "wells.parquet", wells())
    outputs = {name: str(tmp_path / f"{name}.parquet") for name in ("details", "summary", "ledger")}
    where = {"evaluation": "nsc", "dataset": "d", "representation": "r", "profile": "p"}
    params = {"options": {"metric": "nsc", "level": "wells", "label": "Target"}, "seed": 7}
    inputs = {"profiles": str(tmp_path / "wells.parquet")}
    with pytest.raises(SystemExit):
        script("evaluate")(fake(tmp_path, "evaluate", input=inputs, output=outputs, params=params, wildcards=where))
    log = (tmp_path / "evaluate.log").read_text()
    assert "no metadata column Metadata_Target" in log and "Traceback" not in log
    assert not (tmp_path / "details.parquet").exists()


def test_the_table_is_sorted_and_keeps_the_order_of_a_summary():
    def summary(evaluation, dataset):
        rows = [[dataset, "r", "p", evaluation, "nsc", "wells", label, 1.0, 0, 1, 0, 0, 1, ""] for label in "ba"]
        return pd.DataFrame(rows, columns=COLUMNS)

    table = evaluation_table([summary("z", "d1"), summary("a", "d2"), summary("a", "d1")])
    assert table[["evaluation", "dataset", "label"]].values.tolist() == [
        *(["a", "d1", label] for label in "ba"),
        *(["a", "d2", label] for label in "ba"),
        *(["z", "d1", label] for label in "ba"),
    ]
    assert list(evaluation_table([]).columns) == COLUMNS
