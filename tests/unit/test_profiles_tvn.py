"""Typical variation normalisation whitens sites as the controls vary, over all plates, and says what it cannot."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA

from phenoloom.core.code import LIBRARY
from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.names import encode
from phenoloom.core.tables import feature_columns, to_arrow
from phenoloom.profiles.aggregation import aggregate_table, fit_tvn
from phenoloom.profiles.chain import fitted_over_plates, problems
from phenoloom.profiles.dropped import Dropped
from phenoloom.profiles.profiling import join_plates
from phenoloom.profiles.tvn import Scatter, read_fitted
from profile_options import chain

HOSTILE = 'x"; rm -rf ~ #<script>'
PLATES = ("p1", "p2", "p 3/β")


def sites(plate, batch="b1", n_wells=12, per_well=5, features=6, seed=0, shift=0.0):
    """Sites of one plate with correlated features of a large mean; the first half of its wells are controls."""
    random = np.random.default_rng([seed, *plate.encode()])
    mixing = np.random.default_rng(9).normal(size=(features, features)) * np.logspace(-2, 1, features)
    n = n_wells * per_well
    values = random.normal(size=(n, features)) @ mixing + 50 + shift
    frame = pd.DataFrame(values, columns=[f"Embedding_dino_{number + 1:04d}" for number in range(features)])
    well = np.repeat(np.arange(n_wells), per_well)
    control = well < n_wells // 2
    frame.loc[~control] += 3 * mixing[0]
    metadata = {
        "Metadata_Batch": batch,
        "Metadata_Plate": plate,
        "Metadata_Well": [f"A{number + 1:02d}" for number in well],
        "Metadata_Site": np.tile(np.arange(per_well) + 1, n_wells),
        "Metadata_Perturbation": np.where(control, "DMSO", HOSTILE),
        "Metadata_Control": np.where(control, "negative", ""),
    }
    return pd.concat([pd.DataFrame(metadata), frame], axis="columns")


@pytest.fixture
def run(tmp_path):
    """Return a function: tables of plates through a chain, as the rules do; (wells, ledger, dropped, fit)."""

    def profiled(tables, *steps, level="sites", block_bytes=2**20):
        paths = []
        for number, table in enumerate(tables):
            paths.append(tmp_path / f"{number}.parquet")
            pq.write_table(to_arrow(table), paths[-1], row_group_size=17)
        steps = chain(*steps)
        ledger, dropped, fitted = Ledger("tvn"), Dropped(), None
        if fitted_over_plates(steps):
            listed = [(path, None) for path in paths]
            fit_tvn(listed, fitted_over_plates(steps), level, ledger, dropped, block_bytes).write(tmp_path / "tvn.npz")
            fitted = read_fitted(tmp_path / "tvn.npz")
        given = {"level": level, "block_bytes": block_bytes, "fitted": fitted}
        wells = [aggregate_table(path, steps, ledger, dropped, **given) for path in paths]
        return join_plates(wells, dropped), ledger.frame(), dropped.frame(), fitted

    return profiled


def whitened(values, reference):
    """Principal axes and standard deviations of the reference by numpy: the plain formula."""
    mean = reference.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(reference.T))
    order = np.argsort(-variances)
    axes = axes[:, order] * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(axes))])[order]
    return (values - mean) @ axes / np.sqrt(variances[order])


def stacked(tables):
    frame = to_arrow(pd.concat(tables, ignore_index=True)).to_pandas()
    return frame, frame[feature_columns(frame)].to_numpy(float)


EACH_SITE = {"tvn": {}}, {"aggregate": {"operation": "mean"}}


@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_wells_are_means_of_sites_whitened_by_the_controls_of_all_plates(run, block_bytes):
    tables = [sites(plate) for plate in PLATES]
    wells, ledger, dropped, _ = run(tables, *EACH_SITE, block_bytes=block_bytes)
    frame, values = stacked(tables)
    expected = whitened(values, values[frame["Metadata_Control"] == "negative"])
    keys = ["Metadata_Plate", "Metadata_Well"]
    means = pd.DataFrame(expected).groupby([frame[key].astype(str) for key in keys]).mean()
    means = means.loc[pd.MultiIndex.from_frame(wells[keys])]
    assert feature_columns(wells) == [f"TVN_{number:04d}" for number in range(1, 7)]
    np.testing.assert_allclose(wells[feature_columns(wells)], means, atol=1e-8)
    assert ledger.empty and dropped.empty
    assert (wells["Metadata_Count_Sites"] == 5).all()


@pytest.mark.parametrize("method", ["PCA", "ZCA"])
def test_whitened_controls_have_no_mean_and_the_identity_as_covariance(run, method):
    tables = [sites(plate) for plate in PLATES]
    fit = run(tables, {"tvn": {"method": method}}, {"aggregate": {}})[3]
    frame, values = stacked(tables)
    controls = fit.whitenings[""].transform(values[frame["Metadata_Control"] == "negative"], method)
    np.testing.assert_allclose(controls.mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(np.cov(controls.T), np.eye(6), atol=1e-8)
    theirs = PCA(whiten=True, svd_solver="full").fit(values[frame["Metadata_Control"] == "negative"]).transform(values)
    ours = fit.whitenings[""].transform(values, method)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, rtol=1e-6, atol=1e-6)


def test_the_fit_of_parts_is_the_fit_of_the_whole():
    values = np.random.default_rng(1).normal(size=(40, 7)) @ np.diag(np.logspace(-5, 3, 7)) + 1e3
    whole, parts = Scatter(7), Scatter(7)
    whole.add(values)
    for start in range(0, 40, 3):
        parts.add(values[start : start + 3])
    one, other = (scatter.whitening(np.arange(7)) for scatter in (whole, parts))
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
    np.testing.assert_allclose(one.scales, other.scales, rtol=1e-7)
    np.testing.assert_allclose(one.transform(values), other.transform(values), atol=1e-6)
    np.testing.assert_allclose(np.cov(one.transform(values).T), np.eye(7), atol=1e-8)


def test_the_order_of_rows_is_no_matter(run):
    tables = [sites(plate) for plate in PLATES]
    plain = run(tables, *EACH_SITE)[0]
    mixed = run([table.sample(frac=1, random_state=3) for table in tables], *EACH_SITE)[0]
    pd.testing.assert_frame_equal(mixed, plain, check_exact=True)


@pytest.mark.parametrize(("by", "column"), [("plate", "Metadata_Plate"), ("batch", "Metadata_Batch")])
def test_each_plate_or_batch_is_whitened_by_its_own_controls(run, by, column):
    tables = [sites("p1", "b1"), sites("p2", "b1", shift=4), sites("p3", "b2", shift=90)]
    wells, ledger, _, _ = run(tables, {"tvn": {"by": by, "method": "ZCA"}}, {"aggregate": {"operation": "mean"}})
    assert feature_columns(wells) == feature_columns(tables[0])
    controls = wells[wells["Metadata_Control"] == "negative"]
    means = controls.groupby(column)[feature_columns(wells)].mean()
    np.testing.assert_allclose(means, 0, atol=1e-8)
    if by == "batch":
        assert controls.groupby("Metadata_Plate")[feature_columns(wells)].mean().loc["p1"].abs().max() > 0.1
    assert ledger.empty


def test_a_plate_without_controls_is_left_out_and_said(run):
    bare = sites("p2").assign(Metadata_Control="", Metadata_Perturbation=HOSTILE)
    wells, ledger, dropped, _ = run([sites("p1"), bare], {"tvn": {"by": "plate", "method": "ZCA"}}, {"aggregate": {}})
    assert set(wells["Metadata_Plate"]) == {"p1"}
    (row,) = ledger.to_dict("records")
    assert "plate p2 has 0 sites" in row["reason"] and row["count"] == 12 and row["plate"] == "p2"
    assert (dropped["kind"] == "well").sum() == 12
    whole = run([sites("p1"), bare], *EACH_SITE)[0]
    assert set(whole["Metadata_Plate"]) == {"p1", "p2"}


def test_no_controls_at_all_end_with_one_sentence(run):
    bare = sites("p1").assign(Metadata_Control="")
    with pytest.raises(InputError, match="0 sites with Metadata_Control == 'negative'.*mark the negative controls"):
        run([bare], *EACH_SITE)


def test_directions_without_variance_are_left_out_and_said(run):
    tables = [sites("p1", n_wells=4, per_well=5, features=30)]
    wells, ledger, _, fit = run(tables, *EACH_SITE)
    assert len(feature_columns(wells)) == 9
    (row,) = ledger.to_dict("records")
    assert "10 control sites span 9 of 30 dimensions; the other 21 are left out" in row["reason"]
    assert (row["severity"], row["count"]) == ("flagged", 21)
    frame, values = stacked(tables)
    controls = fit.whitenings[""].transform(values[frame["Metadata_Control"] == "negative"])
    np.testing.assert_allclose(np.cov(controls.T), np.eye(9), atol=1e-8)


def test_an_epsilon_keeps_all_directions_and_shrinks_them(run):
    tables = [sites("p1", n_wells=4, per_well=5, features=30)]
    wells, ledger, _, fit = run(tables, {"tvn": {"epsilon": 0.25}}, {"aggregate": {"operation": "mean"}})
    assert len(feature_columns(wells)) == 30
    assert "are divided by 0.5 (epsilon)" in ledger["reason"][0]
    frame, values = stacked(tables)
    reference = values[frame["Metadata_Control"] == "negative"]
    inverse = np.linalg.inv(np.cov(reference.T) + 0.25 * np.eye(30))
    centred = values - reference.mean(axis=0)
    ours = fit.whitenings[""].transform(values)
    np.testing.assert_allclose(ours @ ours.T, centred @ inverse @ centred.T, atol=1e-8)


def test_features_missing_at_controls_and_sites_missing_values_are_left_out_and_counted(run):
    table = sites("p1")
    names = feature_columns(table)
    table.loc[table.index[0], names[0]] = np.nan  # a control site: the feature goes
    table.loc[table.index[-1], names[1]] = np.inf  # a treated site: the site goes
    wells, ledger, dropped, _ = run([table, sites("p2")], *EACH_SITE)
    assert len(feature_columns(wells)) == 5 and wells[feature_columns(wells)].notna().all(axis=None)
    assert wells.set_index(["Metadata_Plate", "Metadata_Well"]).loc[("p1", "A12"), "Metadata_Count_Sites"] == 4
    assert "1 sites of plate p1 lack a value that step tvn needs" in ledger["reason"][0]
    assert set(dropped.loc[dropped["kind"] == "feature", "name"]) == {names[0]}
    assert set(dropped.loc[dropped["kind"] == "value", "name"]) == {names[1]}


def test_features_that_a_plate_lacks_are_left_out(run):
    other = sites("p2").drop(columns="Embedding_dino_0003")
    wells, _, dropped, _ = run([sites("p1"), other], {"tvn": {"method": "ZCA"}}, {"aggregate": {}})
    assert "Embedding_dino_0003" not in wells and len(feature_columns(wells)) == 5
    assert dropped[["name", "reason"]].values.tolist() == [["Embedding_dino_0003", "not in the tables of all plates"]]


@pytest.mark.parametrize("operation", ["median", "mean"])
def test_cells_become_sites_before(run, operation):
    cells = pd.concat(
        [sites("p1", seed=seed).assign(Metadata_ObjectNumber=seed + 1) for seed in range(3)], ignore_index=True
    ).sample(frac=1, random_state=2)
    single = to_arrow(cells).to_pandas()
    keys = ["Metadata_Batch", "Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Perturbation"]
    keys += ["Metadata_Control"]
    names = feature_columns(cells)
    single[names] = single[names].astype(float)
    joined = getattr(single.groupby(keys, observed=True)[names], operation)().reset_index()
    _, values = stacked([single])
    wells, _, _, _ = run([cells], {"tvn": {"operation": operation}}, {"aggregate": {}}, level="cells")
    reference = joined.loc[joined["Metadata_Control"] == "negative", names].to_numpy()
    expected = (
        pd.DataFrame(whitened(joined[names].to_numpy(), reference))
        .groupby(joined["Metadata_Well"].astype(str))
        .median()
    )
    np.testing.assert_allclose(wells[feature_columns(wells)], expected, atol=1e-8)
    assert (wells["Metadata_Count_Cells"] == 15).all() and (wells["Metadata_Count_Sites"] == 5).all()


def test_steps_before_count_in_the_fit_and_steps_after_it_work(run):
    tables = [sites(plate, shift=10 * number) for number, plate in enumerate(PLATES)]
    steps = [
        {"filter": {"query": "Metadata_Site > 1"}},
        {"normalize": {"method": "standardize"}},
        {"tvn": {}},
        {"normalize": {"method": "standardize"}},
        {"aggregate": {"operation": "mean"}},
    ]
    wells, _, _, fit = run(tables, *steps)
    assert fit.found == {"": 3 * 6 * 4}
    assert (wells["Metadata_Count_Sites"] == 4).all()
    controls = wells[wells["Metadata_Control"] == "negative"].groupby("Metadata_Plate")
    np.testing.assert_allclose(controls[feature_columns(wells)].mean(), 0, atol=1e-8)


def test_cells_without_a_site_end_with_one_sentence(run):
    with pytest.raises(InputError, match="no column Metadata_Site"):
        run([sites("p1").drop(columns="Metadata_Site")], *EACH_SITE, level="cells")


def test_the_fit_is_plain_arrays(run, tmp_path):
    run([sites("p1")], *EACH_SITE)
    with np.load(tmp_path / "tvn.npz", allow_pickle=False) as arrays:
        assert {"mean_0", "components_0", "scales_0", "singular_0"} <= set(arrays)
        assert all(arrays[name].dtype != object for name in arrays)


@pytest.mark.parametrize(
    ("steps", "level", "word"),
    [
        ([{"tvn": {}}, {"aggregate": {}}], "wells", "representation of wells"),
        ([{"tvn": {}}, {"aggregate": {}}], "treatments", "representation of treatments"),
        ([{"aggregate": {}}, {"tvn": {}}], "sites", "move it before aggregate"),
        ([{"tvn": {}}, {"tvn": {}}, {"aggregate": {}}], "sites", "twice"),
        ([{"tvn": {"by": "plate"}}, {"aggregate": {}}], "cells", "method: ZCA"),
    ],
)
def test_what_cannot_work_is_said_when_the_config_is_read(steps, level, word):
    found = problems(steps, level)
    assert len(found) == 1 and word in found[0]


class Files(dict):
    """Named inputs or outputs of a job."""

    __getattr__ = dict.__getitem__


def test_the_rules_take_the_controls_from_the_maps_of_all_plates(tmp_path):
    plates, keys = ("p1", 'p"2 <b>'), ["Metadata_Plate", "Metadata_Well"]
    tables, maps, rows = [], [], []
    for number, plate in enumerate(plates):
        frame = sites(plate)
        tables.append(str(tmp_path / f"{number}.parquet"))
        pq.write_table(to_arrow(frame.drop(columns=["Metadata_Control", "Metadata_Perturbation"])), tables[-1])
        known = frame.drop_duplicates(keys)
        maps.append(str(tmp_path / f"{number}.tsv"))
        known[["Metadata_Well", "Metadata_Perturbation", "Metadata_Control"]].rename(
            columns=lambda name: name.removeprefix("Metadata_").lower()
        ).to_csv(maps[-1], sep="\t", index=False)
        rows.append({"batch": "b1", "plate": plate})
    options = {"platemap_columns": None, "annotations": None, "controls": None}
    common = {"wildcards": {"dataset": "d"}, "level": "sites", "code": "c"}
    out = Files(fit=tmp_path / "tvn.npz", dropped=tmp_path / "d.parquet", ledger=tmp_path / "l.parquet")
    layout = {"rows": rows, **options}
    job(tmp_path, "tvn", Files(tables=tables, maps=maps), out, steps=chain({"tvn": {}}), layout=layout, **common)
    assert read_fitted(out.fit).found == {"": 60}

    wells = Files(wells=tmp_path / "w.parquet", dropped=tmp_path / "wd.parquet", ledger=tmp_path / "wl.parquet")
    given = Files(table=tables[1], map=maps[1], tvn=str(out.fit))
    layout = {"row": rows[1], **options}
    common["wildcards"] = {"dataset": "d", "plate": encode(plates[1])}
    job(tmp_path, "aggregate", given, wells, steps=chain(*EACH_SITE), layout=layout, **common)
    found = pq.read_table(wells.wells).to_pandas()
    assert len(found) == 12 and set(found["Metadata_Plate"]) == {plates[1]}
    assert feature_columns(found)[0] == "TVN_0001"


def job(folder, rule, given, output, wildcards, **params):
    """Run the script of a rule as Snakemake does."""
    space = {"__name__": rule}
    exec(compile((LIBRARY.parent / "scripts" / f"{rule}.py").read_text(), f"{rule}.py", "exec"), space)
    parts = {"input": given, "output": output, "params": Files(params), "wildcards": wildcards}
    space["main"](SimpleNamespace(rule=rule, threads=1, log=[str(folder / f"{rule}.log")], **parts))
