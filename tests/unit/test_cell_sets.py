"""Learned aggregation: sets of cells, who teaches, and what is learned that a mean cannot see."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss

from phenoloom.cell_sets import store
from phenoloom.cell_sets.batches import SetBatches
from phenoloom.cell_sets.learning import SetContrast, Validation, replicate_retrieval
from phenoloom.cell_sets.network import DeepSets, counts_matrix
from phenoloom.cell_sets.sampling import SetSampling
from phenoloom.cell_sets.stratification import COMPOUND_SIDE, PLATE_SIDE, SPLIT, stratify
from phenoloom.cell_sets.train import shuffled, train, trained_in
from phenoloom.cell_sets.weights import load, save
from phenoloom.cell_sets.wells import profiles, wells_of_plate
from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.core.tables import write_table
from phenoloom.profiles.aggregation import Units
from phenoloom.profiles.dropped import Dropped
from phenoloom.training.checkpoints import prepare
from phenoloom.training.fit import fit

SMALL = {"phi": 64, "rho": [32, 64]}
DRAWN = {"classes": 4, "sets": 8, "sets_per_epoch": 8, "cells": [100, 20], "two_wells": 0.5}
TRAIN = {
    "epochs": 60,
    "learning_rate": 5e-4,
    "final_learning_rate": 5e-4,
    "warmup_epochs": 0,
    "weight_decay": 1e-2,
    "final_weight_decay": 1e-2,
    "clip_gradient": None,
    "accumulate": 1,
    "devices": 1,
    "workers": 0,
    "checkpoint_every": 10,
    "compile": False,
    "precision": 32,
}


class Wells:
    """Wells in memory, in the place of store.Cells. values: list of (M, D). labels: (W,)."""

    def __init__(self, values, labels):
        self.values = [np.asarray(value, np.float32) for value in values]
        self.labels, self.features = np.asarray(labels), self.values[0].shape[1]
        self.lengths = np.array([len(value) for value in values])

    def read(self, well):
        return self.values[well]


def correlated(seed, wells=8, cells=200):
    """Four compounds whose features 0 and 1 are correlated from -0.9 to 0.9; mean and deviation of all are the same."""
    rng, values, labels = np.random.default_rng(seed), [], []
    for label, rho in enumerate(np.linspace(-0.9, 0.9, 4)):
        for _ in range(wells):
            well = rng.normal(size=(cells, 8))
            well[:, 1] = rho * well[:, 0] + np.sqrt(1 - rho**2) * well[:, 1]
            values.append((well - well.mean(axis=0)) / well.std(axis=0))
            labels.append(label)
    return Wells(values, labels)


def skewed(seed, wells=8, cells=200):
    """Four compounds by the sides to which features 0 and 1 have a tail; mean and deviation of all are the same."""
    rng, values = np.random.default_rng(seed), []
    labels = np.repeat(np.arange(4), wells)
    for label in labels:
        well = rng.normal(size=(cells, 8))
        well[:, :2] = rng.gamma(0.5, size=(cells, 2)) * [1 - 2 * (label % 2), 1 - 2 * (label // 2)]
        values.append((well - well.mean(axis=0)) / well.std(axis=0))
    return Wells(values, labels)


def moments(wells):
    """Means and deviations of the features of each well."""
    return np.concatenate([[value.mean(0) for value in wells.values], [value.std(0) for value in wells.values]], axis=1)


def network(features=8, seed=0, options=SMALL):
    torch.manual_seed(seed)
    return DeepSets(features, options)


def learned(wells, folder, labels=None, patience=1000, **train):
    """The learner after training on all wells."""
    options = {"temperature": 0.07, "patience": patience, "train": {**TRAIN, **train}}
    sampling = SetSampling(wells.lengths, wells.labels if labels is None else labels, DRAWN, 1)
    validate = Validation(wells, np.arange(len(wells.labels)), wells.labels) if patience < 1000 else None
    learner = SetContrast(network(wells.features), options, 4, 1, validate)
    fit(learner, SetBatches(wells, sampling), options["train"], prepare(folder, "one"))
    return learner


def score(learner, wells):
    return replicate_retrieval(profiles(learner.backbone, wells, np.arange(len(wells.labels))), wells.labels)


def test_a_profile_is_rho_of_the_sum_of_phi_in_any_order():
    net, cells = network(), torch.randn(50, 8)
    expected = net.rho(net.phi(cells).sum(dim=0, keepdim=True))
    lengths = torch.tensor([50])
    torch.testing.assert_close(net.of_wells(cells, lengths), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.of_wells(cells.flip(0), lengths, block=7), expected, rtol=1e-4, atol=1e-5)
    once = counts_matrix(np.zeros(50, int), np.arange(50), np.ones(50), (1, 50))
    torch.testing.assert_close(net(cells, once), expected, rtol=1e-4, atol=1e-5)


def test_a_cell_that_was_drawn_several_times_counts_as_often():
    net, cells = network(), torch.randn(3, 8)
    counts = counts_matrix([0, 0, 1], [0, 2, 1], [2, 1, 3], (2, 3))
    expected = net.rho(torch.stack([net.phi(cells[[0, 0, 2]]).sum(0), net.phi(cells[[1, 1, 1]]).sum(0)]))
    torch.testing.assert_close(net(cells, counts), expected, rtol=1e-4, atol=1e-5)


def test_a_well_without_cells_has_a_profile_too():
    found = network().of_wells(torch.randn(4, 8), torch.tensor([0, 4]))
    assert found.isfinite().all()


def test_the_loss_is_supcon_over_all_other_sets():
    values, labels = torch.randn(6, 5, dtype=torch.float64), [0, 0, 1, 1, 1, 0]
    unit = torch.nn.functional.normalize(values, dim=1)
    similar, losses = unit @ unit.T / 0.2, []
    for i in range(6):
        others = [a for a in range(6) if a != i]
        denominator = torch.logsumexp(similar[i, others], 0)
        positives = [p for p in others if labels[p] == labels[i]]
        losses.append(-sum(similar[i, p] - denominator for p in positives) / len(positives))
    found = SupConLoss(temperature=0.2)(values, torch.tensor(labels))
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_sets_hold_cells_of_one_or_two_wells_of_their_class_by_the_seed():
    labels = np.array([0, 0, 1, 1, 1, -1])
    lengths = np.array([50, 60, 40, 0, 70, 30])
    draw = SetSampling(lengths, labels, DRAWN | {"classes": 8, "sets": 5}, 1)
    sources = set()
    for step in range(20):
        sets = draw(step)
        for number, label in enumerate(sets.labels):
            own = sets.sets == number
            wells = sets.wells[sets.wells_of[own]]
            assert (
                set(labels[wells]) == {label} and (sets.cells[own] < lengths[wells]).all() and (sets.cells >= 0).all()
            )
            sources.add(len(set(wells)))
        assert len(sets.labels) == 10 and 40 < sets.times.sum() / 10 < 160
    assert sources == {1, 2}
    again = SetSampling(lengths, labels, DRAWN | {"classes": 8, "sets": 5}, 1)(7)
    assert (again.times == draw(7).times).all() and (again.cells == draw(7).cells).all()


def test_one_compound_with_cells_is_refused():
    with pytest.raises(InputError, match="at least two compounds with cells to learn from, and has 1"):
        SetSampling(np.array([5, 5, 0]), np.array([0, 0, 1]), DRAWN, 1)


def test_a_step_holds_the_cells_that_its_sets_drew():
    wells = correlated(0, wells=3, cells=30)
    draw = SetSampling(wells.lengths, wells.labels, DRAWN | {"cells": [20, 5]}, 3)
    batch, sets = SetBatches(wells, draw)[5], draw(5)
    sums = torch.sparse.mm(
        counts_matrix(batch["sets"], batch["places"], batch["times"], (len(sets.labels), len(batch["cells"]))),
        batch["cells"],
    )
    expected = np.zeros(sums.shape)
    for number, well, cell, times in zip(sets.sets, sets.wells_of, sets.cells, sets.times, strict=True):
        expected[number] += times * wells.values[sets.wells[well]][cell].astype(float)
    np.testing.assert_allclose(sums.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert len(batch["cells"].unique(dim=0)) == len(batch["cells"])


def test_it_learns_a_correlation_that_means_and_deviations_do_not_see(tmp_path):
    teaching, held_out = correlated(0), correlated(1)
    assert replicate_retrieval(moments(held_out), held_out.labels) < 0.4
    assert score(learned(teaching, tmp_path / "true"), held_out) > 0.9
    # Even an untrained network sees something of it; labels in random order teach nothing that would bring more.
    permuted = np.random.default_rng(0).permutation(teaching.labels)
    assert score(learned(teaching, tmp_path / "permuted", labels=permuted, epochs=30), held_out) < 0.9


def test_it_learns_a_skewness_that_means_and_deviations_do_not_see(tmp_path):
    held_out = skewed(1)
    assert replicate_retrieval(moments(held_out), held_out.labels) < 0.4
    assert score(learned(skewed(0), tmp_path, epochs=250), held_out) > 0.9


class Broken(SetBatches):
    """Batches that cannot be read from a step on."""

    def __getitem__(self, step):
        if step == 13:
            raise InputError("the disk is gone")
        return super().__getitem__(step)


def test_training_that_is_stopped_goes_on_and_ends_the_same(tmp_path):
    wells = correlated(0, wells=3, cells=50)
    whole = learned(wells, tmp_path / "whole", epochs=6)
    options = {"temperature": 0.07, "patience": 1000, "train": {**TRAIN, "epochs": 6}}
    sampling, folder = SetSampling(wells.lengths, wells.labels, DRAWN, 1), prepare(tmp_path / "halves", "one")
    with pytest.raises(InputError, match="the disk is gone"):
        fit(SetContrast(network(), options, 4, 1), Broken(wells, sampling), options["train"], folder)
    rest = SetContrast(network(), options, 4, 1)
    fit(rest, SetBatches(wells, sampling), options["train"], folder)
    for one, other in zip(whole.backbone.parameters(), rest.backbone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_ends_when_validation_gets_no_better_and_keeps_the_best_weights(tmp_path):
    wells = correlated(0, wells=4, cells=50)
    learner = learned(wells, tmp_path, patience=3)
    assert learner.ended and int(learner.epoch) == int(learner.best_epoch) + 3 < 60
    assert float(learner.best_score) == pytest.approx(score(learner, wells))
    again = learned(wells, tmp_path, patience=3)  # a finished training is not begun again
    assert int(again.epoch) == int(learner.epoch)


@pytest.fixture
def plate(tmp_path):
    """Units of a plate of cells, its files' paths, and its cells."""
    rng = np.random.default_rng(0)
    cells = pd.DataFrame(rng.normal(size=(90, 3)).astype(np.float32), columns=["Cells_a", "Cells_b", "Cells_c"])
    cells.loc[[4, 9], "Cells_b"] = np.nan
    cells.insert(0, "Metadata_Plate", "P1")
    cells.insert(1, "Metadata_Well", np.tile(["B02", "A01", "A02"], 30))
    write_table(tmp_path / "cells.parquet", cells)

    def write(name="one", **kwargs):
        ledger = Ledger("test")
        units = Units(tmp_path / "cells.parquet", "cells", ledger, Dropped(), None, None, **kwargs)
        paths = tmp_path / f"{name}.npy", tmp_path / f"{name}.parquet", tmp_path / f"{name}.keys.parquet"
        store.write_cells(units, ["Cells_a", "Cells_b"], {"minimum_cells": 1}, *paths, ledger)
        return [[path] for path in paths[:2]], ledger

    return write, cells


def test_cells_of_a_well_lie_together_and_missing_values_are_counted(plate):
    write, cells = plate
    paths, ledger = write()
    found = store.Cells(*paths)
    assert found.wells["Metadata_Well"].tolist() == ["A01", "A02", "B02"] and found.lengths.tolist() == [30, 30, 30]
    for row, well in enumerate(found.wells["Metadata_Well"]):
        own = cells.loc[cells["Metadata_Well"] == well, ["Cells_a", "Cells_b"]].fillna(0).to_numpy()
        assert np.array_equal(found.read(row), own)
    assert "2 missing values of 1 feature of cells, Cells_b for one" in " ".join(ledger.frame()["reason"])


def test_keys_name_each_cell_in_the_order_of_the_array(tmp_path):
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"Cells_a": rng.normal(size=60).astype(np.float32), "Cells_b": np.float32(1)})
    cells.insert(0, "Metadata_Plate", "P 1")
    cells.insert(1, "Metadata_Well", rng.permuted(np.tile(["B02", "a1", "A02"], 20)))
    cells.insert(2, "Metadata_ImageNumber", rng.integers(1, 4, 60))
    cells.insert(3, "Metadata_ObjectNumber", np.arange(60)[::-1])
    write_table(tmp_path / "cells.parquet", cells)
    units = Units(tmp_path / "cells.parquet", "cells", Ledger("t"), Dropped(), None, None)
    units.filter({"query": "Cells_a > -1"})
    paths = tmp_path / "one.npy", tmp_path / "one.parquet", tmp_path / "keys.parquet"
    store.write_cells(units, ["Cells_a", "Cells_b"], {"minimum_cells": 18}, *paths, Ledger("t"))
    keys, values = pd.read_parquet(paths[2]), np.load(paths[0])
    named = cells.iloc[keys["Metadata_Row"]]
    assert len(keys) == len(values) < 60 and np.array_equal(named["Cells_a"], values[:, 0])
    assert named["Metadata_Well"].replace("a1", "A01").tolist() == keys["Metadata_Well"].tolist()
    for name in ("Metadata_ImageNumber", "Metadata_ObjectNumber"):
        assert named[name].tolist() == keys[name].tolist()


def test_blocks_of_columns_change_no_byte(plate):
    write, _ = plate
    one, other = write()[0], write("two", block_bytes=1)[0]
    assert one[0][0].read_bytes() == other[0][0].read_bytes()


def test_damaged_cells_are_named(plate, tmp_path):
    paths, _ = plate[0]()
    whole = paths[0][0].read_bytes()
    for content, words in ((whole[:-4], "cut off"), (b"no array", "cannot be read"), (b"", "cannot be read")):
        paths[0][0].write_bytes(content)
        with pytest.raises(InputError, match=f"one.npy.*{words}"):
            store.Cells(*paths)


def test_features_that_a_plate_lacks_are_left_out_of_all(tmp_path):
    keys = {"Metadata_Plate": ["P"], "Metadata_Well": ["A01"]}
    write_table(tmp_path / "a.parquet", pd.DataFrame({**keys, "Cells_a": [1.0], "Cells_b": [1.0]}))
    write_table(tmp_path / "b.parquet", pd.DataFrame({**keys, "Cells_b": [1.0]}))
    assert store.shared_features([tmp_path / "a.parquet", tmp_path / "b.parquet"]) == (
        ["Cells_b"],
        {"Cells_a": "missing in 1 plate"},
    )
    with pytest.raises(InputError, match="no feature but those on the block list: "):
        store.shared_features([tmp_path / "a.parquet", tmp_path / "b.parquet"], ["*_b"])
    write_table(tmp_path / "c.parquet", pd.DataFrame({**keys, "Cells_c": [1.0]}))
    with pytest.raises(InputError, match="share no feature: .*a.parquet, .*c.parquet"):
        store.shared_features([tmp_path / "a.parquet", tmp_path / "c.parquet"])


OPTIONS = {
    "label": "Perturbation",
    "validation_share": 0.25,
    "validation_compounds": [],
    "validation_plates": ["P3"],
    "test_plates": ["P4"],
    "samples": "all",
}


def layout(compounds=8, plates=4):
    rows = [
        {"Metadata_Plate": f"P{plate + 1}", "Metadata_Well": f"A{number + 1:02d}", "Metadata_Perturbation": name}
        | {"Metadata_Control": "negative" if name == "DMSO" else "", "Metadata_Concentration": 1.0 + number % 2}
        for plate in range(plates)
        for number, name in enumerate([*[f"c{c}" for c in range(compounds)] * 2, "DMSO"])
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(5))
def test_no_compound_of_validation_and_no_other_plate_teaches(seed):
    found = stratify(layout(), OPTIONS, seed, Ledger("t"))
    teaching, choosing = found[found[SPLIT] == "train"], found[found[SPLIT] == "validation"]
    assert set(teaching["Metadata_Plate"]) == {"P1", "P2"} and set(choosing["Metadata_Plate"]) == {"P1", "P2", "P3"}
    assert not set(teaching["Metadata_Perturbation"]) & set(choosing["Metadata_Perturbation"])
    assert choosing["Metadata_Perturbation"].nunique() == 2 and "DMSO" not in set(teaching["Metadata_Perturbation"])
    assert (found.loc[found["Metadata_Plate"] == "P4", SPLIT] == "test").all()
    assert (found.loc[found["Metadata_Plate"] == "P4", PLATE_SIDE] == "test").all()
    assert found.groupby("Metadata_Perturbation")[COMPOUND_SIDE].nunique().max() == 1


def test_a_compound_is_held_out_with_all_its_doses():
    options = OPTIONS | {"label": "Treatment", "validation_compounds": ["c1"]}
    found = stratify(layout(), options, 1, Ledger("t"))
    assert set(found.loc[found[COMPOUND_SIDE] == "validation", "Metadata_Perturbation"]) == {"c1"}


def test_one_dose_teaches_and_the_other_is_of_the_test():
    options = OPTIONS | {"samples": "Metadata_Concentration == 1", "test_plates": [], "validation_plates": []}
    found = stratify(layout(compounds=6), options, 1, Ledger("t"))
    assert (found.loc[found[SPLIT] != "test", "Metadata_Concentration"] == 1).all()
    assert (found.loc[found["Metadata_Concentration"] == 2, SPLIT] == "test").all()


def test_names_that_are_unknown_and_too_few_compounds_are_one_sentence():
    for change, words in (
        ({"test_plates": ["P9"]}, "test_plates names the plate 'P9'"),
        ({"validation_compounds": ["c99"]}, "validation_compounds names 'c99'"),
        ({"label": "Gene"}, "no Metadata_Gene"),
        ({"samples": "Metadata_Perturbation == 'c1'", "validation_share": 0}, "1 \\(Perturbation\\) is left"),
    ):
        with pytest.raises(InputError, match=words):
            stratify(layout(), OPTIONS | change, 1, Ledger("t"))


def test_compounds_with_a_single_well_are_listed():
    ledger = Ledger("t")
    wells = layout()
    stratify(pd.concat([wells, wells.head(1).assign(Metadata_Perturbation="alone")]), OPTIONS, 1, ledger)
    assert "alone has a single well of" in " ".join(ledger.frame()["reason"])


def test_replicate_retrieval_is_the_mean_over_compounds_of_their_wells():
    values = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [1, 0.2]])
    assert replicate_retrieval(values, np.array([0, 0, 1, 1, 2])) == pytest.approx((0.75 + 1) / 2, abs=0.3)
    assert np.isnan(replicate_retrieval(values, np.arange(5)))


OF_STEP = {
    **OPTIONS,
    "shuffle_labels": False,
    "precision": "float32",
    **SMALL,
    "validation_plates": [],
    "test_plates": ["P2"],
    "temperature": 0.1,
    "sets": DRAWN | {"cells": [20, 5]},
    "epochs": 4,
    "patience": 20,
    "learning_rate": 5e-4,
    "weight_decay": 1e-2,
}


def stored(folder, features=3):
    """store.Cells of two plates of nine wells each."""
    rng, arrays, tables = np.random.default_rng(0), [], []
    for plate in ("P1", "P2"):
        wells = layout(compounds=4, plates=1).assign(Metadata_Plate=plate)
        table = wells.loc[wells.index.repeat(10)].reset_index(drop=True)
        values = pd.DataFrame(rng.normal(size=(len(table), features)), columns=[f"Cells_{n}" for n in range(features)])
        write_table(folder / f"{plate}.cells.parquet", pd.concat([table, values.astype(np.float32)], axis=1))
        ledger = Ledger("test")
        units = Units(folder / f"{plate}.cells.parquet", "cells", ledger, Dropped(), None, None)
        arrays.append(folder / f"{plate}.npy")
        tables.append(folder / f"{plate}.parquet")
        keys = folder / f"{plate}.keys.parquet"
        store.write_cells(units, list(values), {"minimum_cells": 1}, arrays[-1], tables[-1], keys, ledger)
    return store.Cells(arrays, tables)


def test_training_writes_weights_card_log_and_who_taught_and_plates_get_profiles(tmp_path):
    cells, ledger = stored(tmp_path), Ledger("test")
    paths = {name: tmp_path / f"out.{name}" for name in ("weights", "card", "log", "wells")}
    train(OF_STEP, cells, paths, prepare(tmp_path / "c", "x"), seed=1, threads=1, gpus=0, ledger=ledger)
    said = json.loads(paths["card"].read_text())
    assert said["network"]["features"] == 3 and said["data"]["train wells"] == 6 and said["training"]["steps"] == 4
    sides = pd.read_parquet(paths["wells"])
    assert sides[SPLIT].value_counts().to_dict() == {"test": 10, "train": 6, "validation": 2}
    assert len(paths["log"].read_text().splitlines()) == 1 + 4 and not list((tmp_path / "c").rglob("*.safetensors"))
    one_plate = store.Cells([tmp_path / "P2.npy"], [tmp_path / "P2.parquet"])
    wells = wells_of_plate(load(paths["weights"]), one_plate, sides)
    assert len(wells) == 9 and set(wells[PLATE_SIDE]) == {"test"} and wells["Metadata_Count_Cells"].tolist() == [10] * 9
    values = wells.filter(like="DeepSets_")
    expected = load(paths["weights"]).of_wells(torch.from_numpy(one_plate.read(4)), torch.tensor([10]))
    np.testing.assert_allclose(values.iloc[4], expected.detach().numpy()[0], rtol=1e-5, atol=1e-6)


def test_weights_of_something_else_and_other_features_are_one_sentence(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="a.safetensors holds no weights of a learned aggregation"):
        load(tmp_path / "a.safetensors")
    save(network(features=5), tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="takes 5 features and the cells have 3"):
        wells_of_plate(load(tmp_path / "b.safetensors"), stored(tmp_path), pd.DataFrame())


def test_without_validation_wells_the_last_weights_are_kept_and_it_is_said(tmp_path):
    ledger = Ledger("test")
    paths = {name: tmp_path / f"out.{name}" for name in ("weights", "card", "log", "wells")}
    options = OF_STEP | {"validation_share": 0}
    train(options, stored(tmp_path), paths, prepare(tmp_path / "c", "x"), seed=1, threads=1, gpus=0, ledger=ledger)
    assert "no two wells share a validation compound" in " ".join(ledger.frame()["reason"])
    assert json.loads(paths["card"].read_text())["training"]["best_epoch"] == 4


def test_cells_in_bfloat16_give_the_profiles_of_float32_but_for_rounding():
    wells = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    exact, rounded = network(options=SMALL), network(options=SMALL | {"precision": "bfloat16"})
    lengths = torch.tensor([500, 1500])
    with torch.no_grad():
        one, other = exact.of_wells(wells, lengths), rounded.of_wells(wells, lengths)
    assert other.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(one, other).min() > 0.9999


def test_a_network_is_read_in_the_precision_it_was_trained_in(tmp_path):
    save(network(options=SMALL | {"precision": "bfloat16"}), tmp_path / "w.safetensors")
    assert load(tmp_path / "w.safetensors").options["precision"] == "bfloat16"
    assert trained_in("float32", 0) == "float32"
    assert trained_in("auto", 0) in ("float32", "bfloat16")


def test_a_set_is_as_large_as_the_wells_to_learn_from_where_nothing_is_said(tmp_path):
    paths = {name: tmp_path / f"out.{name}" for name in ("weights", "card", "log", "wells")}
    options = OF_STEP | {"sets": DRAWN | {"cells": None}, "shuffle_labels": True}
    cells = stored(tmp_path)
    train(options, cells, paths, prepare(tmp_path / "c", "x"), seed=1, threads=1, gpus=0, ledger=Ledger("t"))
    told = json.loads(paths["card"].read_text())["options"]
    split = pd.read_parquet(paths["wells"])["Metadata_Split"]
    typical = np.median(cells.lengths[(split == "train").to_numpy()])
    assert told["sets"]["cells"] == [typical, typical / 5] and told["shuffle_labels"]


def test_shuffled_labels_are_as_many_of_each_on_every_side():
    labels, sides = np.array(["a", "a", "b", "c", "c", "d"] * 5, dtype=object), np.array(["train"] * 15 + ["test"] * 15)
    found = shuffled(labels, sides, 1)
    assert (found != labels).any()
    for side in ("train", "test"):
        assert sorted(found[sides == side]) == sorted(labels[sides == side])


def test_odd_wells_and_few_compounds_train_to_profiles_and_rows_of_the_ledger(tmp_path):
    """A compound with one well, one with all of its wells on one plate, a well of one cell, missing values, a plate
    that lacks a feature, and fewer compounds than a step is to hold.
    """
    wells = [("P1", "single", 10), *[("P1", "together", 10)] * 3]
    wells += [(plate, "spread", cells) for plate in ("P1", "P2") for cells in (1, 10)]
    rng, arrays, tables, ledger = np.random.default_rng(0), [], [], Ledger("test")
    for plate in ("P1", "P2"):
        rows = [
            (f"A{n + 1:02d}", name) for n, (own, name, cells) in enumerate(wells) if own == plate for _ in range(cells)
        ]
        table = pd.DataFrame(rows, columns=["Metadata_Well", "Metadata_Perturbation"]).assign(Metadata_Plate=plate)
        names = ["Cells_a", "Cells_b", *(["Cells_lacking"] if plate == "P1" else [])]
        values = rng.normal(size=(len(table), len(names))).astype(np.float32)
        values[::4, 0] = np.nan
        tables.append(tmp_path / f"{plate}.cells.parquet")
        write_table(tables[-1], pd.concat([table, pd.DataFrame(values, columns=names)], axis=1))
    features, left_out = store.shared_features(tables)
    assert features == ["Cells_a", "Cells_b"] and left_out == {"Cells_lacking": "missing in 1 plate"}
    for path in tables:
        made = [path.with_suffix(ending) for ending in (".npy", ".wells.parquet", ".keys.parquet")]
        units = Units(path, "cells", ledger, Dropped(), None, None)
        store.write_cells(units, features, {"minimum_cells": 1}, *made, ledger)
        arrays.append(made[:2])
    cells = store.Cells(*zip(*arrays, strict=True))
    paths = {name: tmp_path / f"out.{name}" for name in ("weights", "card", "log", "wells")}
    options = OF_STEP | {"label": "Perturbation", "test_plates": [], "validation_share": 0, "samples": "all"}
    options |= {"sets": DRAWN | {"classes": 16, "cells": None}}
    train(options, cells, paths, prepare(tmp_path / "c", "x"), seed=1, threads=1, gpus=0, ledger=ledger)
    found = wells_of_plate(load(paths["weights"]), cells, pd.read_parquet(paths["wells"]))
    assert len(found) == len(wells) and np.isfinite(found.filter(like="DeepSets_").to_numpy()).all()
    said = " ".join(ledger.frame()["reason"])
    assert "single has a single well of train" in said and "missing values of 1 feature" in said
