"""Which cells of a learned aggregation count: derivatives well by well, correlations by parts, tables of cells."""

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss

from phenoloom.cell_sets.network import DeepSets
from phenoloom.cell_sets.relevance import Correlation, loss_gradients, relevance
from phenoloom.cell_sets.relevant_cells import CORRELATIONS, score_cells
from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger

SIZES = (20, 31, 25, 40, 3)
LABELS = ["a", "a", "b", "c;'", "b"]


def network(features=8):
    torch.manual_seed(0)
    return DeepSets(features, {"phi": 64, "rho": [32, 16]}).double().eval()


def wells(seed=0, sizes=SIZES, features=8):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(size, features)) + rng.normal(size=features) for size in sizes]


def profiles(net, cells):
    return np.stack(
        [net.of_wells(torch.from_numpy(one), torch.tensor([len(one)]))[0].detach().numpy() for one in cells]
    )


def from_0_to_1(values):
    return (values - values.min()) / (values.max() - values.min())


def test_well_by_well_it_is_one_backward_pass_through_all_cells():
    net, cells = network(), wells()
    whole = torch.cat([torch.from_numpy(one) for one in cells]).requires_grad_(True)
    codes = torch.tensor(np.unique(LABELS, return_inverse=True)[1])
    SupConLoss(temperature=0.2)(net.of_wells(whole, torch.tensor(SIZES)), codes).backward()
    gradients = loss_gradients(profiles(net, cells), LABELS, np.arange(5), 0.2)
    active = net.phi(whole.detach()).abs().sum(dim=1).detach()
    for number, (one, sensitive, activation) in enumerate(
        zip(cells, whole.grad.abs().sum(dim=1).split(SIZES), active.split(SIZES), strict=True)
    ):
        found = relevance(net, one, gradients[number], block=7)
        np.testing.assert_allclose(found.sensitivity, from_0_to_1(sensitive.numpy()), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.activation, from_0_to_1(activation.numpy()), rtol=1e-4, atol=1e-5)
        both = from_0_to_1(from_0_to_1(sensitive.numpy()) + from_0_to_1(activation.numpy()))
        np.testing.assert_allclose(found.combined, both, rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_the_chosen_wells_among_all():
    rng, labels, chosen = np.random.default_rng(0), np.array(list("aabbbcx")), np.array([4, 0, 5])
    values = rng.normal(size=(7, 6))
    moved = torch.tensor(values, requires_grad=True)
    unit = torch.nn.functional.normalize(moved, dim=1)
    similar, losses = unit @ unit.T / 0.3, []
    for row in (4, 0):  # the only c asks for nothing
        others = [other for other in range(7) if other != row]
        same = [other for other in others if labels[other] == labels[row]]
        losses.append((torch.logsumexp(similar[row, others], 0) - similar[row, same]).mean())
    torch.stack(losses).mean().backward()
    expected = moved.grad.numpy()[chosen]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(loss_gradients(values, labels, chosen, 0.3), expected, rtol=1e-4, atol=1e-6)


def test_without_two_wells_of_one_label_the_loss_has_no_derivative():
    found = loss_gradients(np.random.default_rng(0).normal(size=(3, 4)), ["a", "b", "c"], np.arange(3), 0.1)
    assert found.shape == (3, 4) and not found.any()


def test_a_low_temperature_leaves_a_direction():
    values = np.array([[1, 0.01], [1, 0], [-1, 0.02], [-1, 0]])
    found = loss_gradients(values, [0, 0, 1, 1], np.arange(4), 0.02)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_a_well_with_one_cell_has_nothing_to_compare():
    found = relevance(network(), np.ones((1, 8)), np.ones(16))
    assert found.combined.tolist() == [0.0] == found.sensitivity.tolist()


def test_correlations_over_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    values, scores = rng.normal(size=(100, 4)) + 1e4, rng.normal(size=(100, 2))
    values[:, 1] += 2 * scores[:, 0]
    values[:, 3] = 7
    found = Correlation(4, 2)
    for part in np.split(np.arange(100), [0, 30, 31, 80]):
        found.add(values[part], scores[part])
    expected = np.corrcoef(values[:, :3].T, scores.T)[:3, 3:]
    np.testing.assert_allclose(found.result()[:3], expected, rtol=1e-6)
    assert np.isnan(found.result()[3]).all() and np.isnan(Correlation(2, 1).result()).all()


class Held:
    """Cells in memory, in the place of store.Cells."""

    def __init__(self, cells, table):
        self.values, self.wells, self.features = cells, table, cells[0].shape[1]
        self.lengths = np.array([len(one) for one in cells])

    def read(self, well):
        return self.values[well]


FEATURES = ["Cells_AreaShape_Area", "Nuclei_Texture_Contrast_DNA_3_00_256", "plain", *(f"f{n}" for n in range(5))]
OPTIONS = {"label": "Perturbation", "temperature": 0.2, "test_plates": ["P 2"]}


def study(compounds=("a", "b")):
    """Network, cells, keys, wells and profiles of three plates with the same compounds once, and a negative control."""
    net = network()
    table = pd.DataFrame(
        [
            {"Metadata_Plate": plate, "Metadata_Well": f"A{number:02d}", "Metadata_Perturbation": name}
            | {"Metadata_Control": "negative" if name == "DMSO" else ""}
            for plate in ("P1", "P 2", "P3")
            for number, name in enumerate([*compounds, "DMSO", ""], start=1)
        ]
    )
    cells = Held(wells(sizes=10 + np.arange(len(table))), table)
    keys = table.loc[table.index.repeat(cells.lengths), ["Metadata_Plate", "Metadata_Well"]].reset_index(drop=True)
    return net, cells, keys.assign(Metadata_Row=np.arange(len(keys))), table, profiles(net, cells.values)


def test_cells_of_treated_wells_of_the_first_plates_are_scored_by_name():
    net, cells, keys, table, values = study()
    ledger = Ledger("t")
    scored, per_well, features = score_cells(net, cells, keys, table, values, FEATURES, OPTIONS, 2, ledger)
    assert per_well["Metadata_Plate"].tolist() == ["P 2", "P 2", "P1", "P1"] and not ledger.rows
    assert set(per_well["Metadata_Perturbation"]) == {"a", "b"} and per_well["Cells"].sum() == len(scored)
    rows = np.concatenate([np.flatnonzero(keys["Metadata_Plate"].eq("P1") & keys["Metadata_Well"].eq("A02"))])
    treated = np.flatnonzero(table["Metadata_Control"].eq("") & table["Metadata_Perturbation"].ne(""))
    gradients = loss_gradients(values[treated], table["Metadata_Perturbation"][treated], np.array([0, 1]), 0.2)
    expected = relevance(net, cells.read(1), gradients[1])
    own = scored[scored["Metadata_Row"].isin(rows)]
    np.testing.assert_allclose(own["Combined"], expected.combined, atol=1e-6)
    np.testing.assert_allclose(own["Sensitivity"], expected.sensitivity, atol=1e-6)
    whole = np.concatenate(cells.values)[scored["Metadata_Row"]]
    for place, score in enumerate(("Sensitivity", "Activation", "Combined")):
        found = [np.corrcoef(whole[:, feature], scored[score])[0, 1] for feature in range(8)]
        np.testing.assert_allclose(features[CORRELATIONS[place]], found, atol=1e-6)
    np.testing.assert_allclose(features["Mean_Most"], whole[scored["Combined"] > 0.8].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(features["Mean_Least"], whole[scored["Combined"] < 0.2].mean(axis=0), rtol=1e-6)
    assert features["Compartment"].tolist()[:3] == ["Cells", "Nuclei", ""]
    assert features["Category"].tolist()[:3] == ["AreaShape", "Texture", ""]


def test_plates_without_replicates_anywhere_are_flagged_and_have_activation_alone():
    ledger, (net, cells, keys, table, values) = Ledger("t"), study()
    table["Metadata_Perturbation"] += table["Metadata_Plate"].where(table["Metadata_Perturbation"] != "", "")
    scored, *_ = score_cells(net, cells, keys, table, values, FEATURES, OPTIONS, 1, ledger)
    assert "no other well of any plate shares its Perturbation with a well of plate P 2" in ledger.rows[0]["reason"]
    assert (scored["Sensitivity"] == 0).all() and scored["Activation"].max() == 1


def test_a_study_of_controls_alone_has_empty_tables():
    scored, per_well, features = score_cells(*study(compounds=()), FEATURES, OPTIONS, 4, Ledger("t"))
    assert scored.empty and per_well.empty and list(per_well.columns[-3:]) == ["Cells", "Most", "Least"]
    assert features[CORRELATIONS].isna().all(axis=None) and len(features) == 8


def test_parts_that_do_not_belong_together_are_one_sentence():
    net, cells, keys, table, values = study()
    with pytest.raises(InputError, match="takes 8 features, its cells have 8 and their tables share 7"):
        score_cells(net, cells, keys, table, values, FEATURES[1:], OPTIONS, 1, Ledger("t"))
    with pytest.raises(InputError, match="keys of cells do not belong to"):
        score_cells(net, cells, keys[1:], table, values, FEATURES, OPTIONS, 1, Ledger("t"))
