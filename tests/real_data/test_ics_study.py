"""HeLa cells on an image-enabled sorter, by the study that ships: pages found, join verified, stack and features."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

import event_sample
from phenoloom.config.loading import read_config
from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.crops import FRAME
from phenoloom.cytometry.instrument import Instrument

ROOT = Path(__file__).resolve().parents[2]
BLOCK = read_config(ROOT / "config/studies/ics_hela_h2b.yaml")["datasets"]["hela"]


@pytest.fixture(scope="module")
def files(shared_data):
    folder = shared_data("ics_hela_h2b")
    return {"images": folder / "images", "fcs": folder / "HeLa_H2B_100.fcs"}


@pytest.fixture(scope="module")
def built(files, tmp_path_factory):
    return event_sample.build(tmp_path_factory.mktemp("ics"), BLOCK, **files)


def test_all_events_have_their_images(built):
    assert len(built.events) == len(built.stack) == len(built.frames) == 100
    assert built.lost() == 0
    assert built.events["Metadata_Event"].tolist() == list(range(100))
    assert built.events["EventNumber0"].tolist() == list(range(695_624, 695_724))


def test_the_pages_are_found_without_being_told(built, files):
    pages = [2, 3, 0, 4]  # SSC, FSC, LightLoss, H2B
    for event in (0, 57, 99):
        frame = built.frames.loc[event]
        top, left, height, width = frame[FRAME].astype(int)
        rows, columns = slice(top, top + height), slice(left, left + width)
        image = tifffile.imread(files["images"] / f"HeLa_H2B_100_{event:08d}.tiff")[pages]
        level = [frame[f"Background_{name}"] for name in BLOCK["channels"]]
        np.testing.assert_allclose(
            built.stack[event][:, rows, columns], image - np.array(level)[:, None, None], atol=1e-6
        )
        assert image[0].shape == (frame["Original_Height"], frame["Original_Width"])


def test_light_follows_the_pulses(built):
    light = np.abs(built.stack.sum(axis=(2, 3), dtype=float))
    areas = built.events[["SSC-A", "FSC-A", "LightLoss (Blue)-A", "H2B-mNeonGreen*-A"]].to_numpy(float)
    found = [np.corrcoef(light[:, c], areas[:, c])[0, 1] for c in range(4)]
    assert found[0] >= 0.998 and found[3] >= 0.998
    assert found[1] > 0.98 and found[2] > 0.98


def test_a_shifted_join_is_refused_with_what_is_wrong(files, tmp_path):
    (tmp_path / "images").mkdir()
    for path in files["images"].glob("*.tiff"):
        number = (int(path.stem[-8:]) + 1) % 100
        (tmp_path / "images" / f"HeLa_H2B_100_{number:08d}.tiff").symlink_to(path)
    with pytest.raises(InputError, match="do not belong to the events of .*HeLa_H2B_100.fcs.*moved by -1 event"):
        event_sample.build(tmp_path, BLOCK, images=tmp_path / "images", fcs=files["fcs"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("H2B-mNeongreen-A", "no parameter 'H2B-mNeongreen-A'; did you mean 'H2B-mNeonGreen"),
        ("Violet_F", "no page of the images follows Violet_F-A"),
        ("8", "page 8, but the images have 8 pages"),
    ],
)
def test_a_source_that_no_page_has_is_refused(files, tmp_path, source, said):
    block = event_sample.block({"DNA": {"source": source}}, BLOCK["events"])
    with pytest.raises(InputError, match=said):
        event_sample.build(tmp_path, block, **files)


def test_parameters_and_spillover_on_request(files, tmp_path):
    ledger = Ledger("events")
    given = BLOCK["events"]["fcs"] | {"parameters": ["EventNumber?", "H2B-mNeonGreen*-A"]}
    assert Instrument(files["fcs"], given, ledger, "-A").kept == ["EventNumber0", "EventNumber1", "H2B-mNeonGreen*-A"]
    with pytest.raises(InputError, match="matches 'SSC_A'; did you mean 'SSC-A'"):
        Instrument(files["fcs"], given | {"parameters": ["SSC_A"]}, ledger, "-A")


def test_features_are_measured_for_every_event(built):
    table = event_sample.measure(built, BLOCK)
    assert len(table) == 100 and table["Metadata_Event"].tolist() == list(range(100))
    light = table["Cells_Intensity_IntegratedIntensity_H2B"]
    assert np.corrcoef(light, built.events["H2B-mNeonGreen*-A"])[0, 1] > 0.99
