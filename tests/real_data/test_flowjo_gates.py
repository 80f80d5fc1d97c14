"""Gates that their authors drew in FlowJo on a sorter's run: each holds as many events as FlowJo counted."""

import numpy as np
import pytest

import event_sample
from phenoloom.core.ledger import Ledger
from phenoloom.cytometry.fcs import read_header
from phenoloom.cytometry.gates import Gates

pytest.importorskip("flowkit")

#: Events by FlowJo 10.7.1, as it shows them in the workspace. Each gate lies in the one before.
COUNTED = {"Cells": 82, "singlets_ssc": 72, "singlets_fsc": 66, "singlets_lightloss": 64, "DAPI_neg_GFP_pos": 40}


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data("ics_hela_h2b")


def test_gates_hold_the_events_that_flowjo_counted(folder):
    ledger, gates = Ledger("events"), {name: [name] for name in COUNTED}
    found = Gates(folder / "FlowJo_file.wsp", read_header(folder / "HeLa_H2B_100.fcs"), gates)
    labels = found.labels(np.arange(100), ledger)
    assert {name: np.count_nonzero(labels[f"Metadata_{name}"] == name) for name in COUNTED} == COUNTED
    assert ledger.rows == []
    inner = None
    for name in reversed(COUNTED):
        own = labels[f"Metadata_{name}"] == name
        assert inner is None or own[inner].all()
        inner = own


def test_images_of_the_run_have_the_gates_as_labels(folder, tmp_path):
    block = event_sample.block(
        {"FSC": {"source": "FSC-A"}, "H2B": {"source": "H2B-mNeonGreen*-A"}},
        {"format": "sorter", "pattern": "*_{event}.tiff", "gates": {"Gate": ["DAPI_neg_GFP_pos"]}},
    )
    built = event_sample.build(
        tmp_path,
        block,
        images=folder / "images",
        fcs=folder / "HeLa_H2B_100.fcs",
        workspace=folder / "FlowJo_file.wsp",
    )
    green = built.events["Metadata_Gate"].eq("DAPI_neg_GFP_pos").to_numpy()
    light = built.stack[:, 1].sum(axis=(1, 2))
    assert 30 < green.sum() <= 40 and np.median(light[green]) > 2 * np.median(light[~green])
