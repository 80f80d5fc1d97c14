"""Labelled nuclei from MitoCheck: a file per cell, the label from its folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import event_sample
from phenoloom.config.loading import read_config

ROOT = Path(__file__).resolve().parents[2]
BLOCK = read_config(ROOT / "config/studies/imagestream_cell_cycle.yaml")["datasets"]["mitocheck"]


@pytest.fixture(scope="module")
def images(shared_data):
    return shared_data("mitocheck_cells") / "images"


@pytest.fixture(scope="module")
def built(images, tmp_path_factory):
    return event_sample.build(tmp_path_factory.mktemp("mitocheck"), BLOCK, images=images)


def test_every_cell_has_the_label_of_its_folder(built, images):
    folders = {path.name: len(list(path.iterdir())) for path in images.iterdir()}
    assert sum(folders.values()) == 3277 and len(folders) == 16
    assert len(built.events) + built.lost() == 3277
    assert set(built.events["Metadata_Label"]) == set(folders)
    counts = built.events["Metadata_Label"].value_counts()
    assert all(counts[label] <= number for label, number in folders.items())


def test_a_row_of_the_stack_is_the_file_that_its_name_says(built, images):
    for row in (0, 1500, len(built.events) - 1):
        name = built.events["Metadata_Image"][row]
        pixels = np.asarray(Image.open(images / f"{name}.png"), float)
        assert name.startswith(built.events["Metadata_Label"][row] + "/")
        np.testing.assert_allclose(built.stack[row, 0], pixels - built.frames["Background_Nucleus"][row], atol=1e-4)
