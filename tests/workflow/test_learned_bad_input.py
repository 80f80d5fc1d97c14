"""Networks on damaged images: the study ends with its report, and everything that was lost is in the ledger."""

import numpy as np
import pandas as pd
import pytest
import tifffile

import finished_study

RESULTS = "results/tiny"

#: The camera saw nothing on this plate, so that no network has anything to learn from it or to embed.
LOST = "two"
#: One pixel of this well's image is no number.
NOT_A_NUMBER = "B02_s1_DNA.tif"

pytestmark = pytest.mark.slow


def config():
    """Two networks on fields, of which there are fewer than a batch holds."""
    content = finished_study.config()
    screen = content["datasets"]["screen"]
    del screen["features"]
    screen["tensors"] = {"fields": {"items": "fields", "size": [64, 64]}}
    network = {
        "dataset": "screen",
        "tensor": "fields",
        "network": {"dim": 16, "depth": 1, "heads": 2, "patch": 8},
        "views": {"global_size": 32, "n_local": 1, "local_size": 16},
        "head": {"hidden": 16, "bottleneck": 8, "out": 16, "layers": 2},
        "train": {"epochs": 2, "batch": 64, "warmup_epochs": 0, "memory_mb": 1500},
    }
    content["models"] = {
        "dino": {"kind": "dino", **network},
        "ws": {"kind": "ws_dino", "label": "Perturbation", **network},
    }
    content["profiles"] = {"plain": [{"aggregate": {"operation": "mean"}}]}
    content["evaluation"] = {"replicates": {"metric": "mean_average_precision", "positives": "Perturbation"}}
    del content["report"]
    return content


def damage(folder):
    """Store DNA as float32, one pixel of it as NaN, and make all images of one plate blank."""
    for path in folder.glob("images/*/*.tif"):
        image = tifffile.imread(path).astype(np.float32 if "DNA" in path.name else np.uint16)
        if path.parent.name == LOST:
            image[:] = 100
        elif path.name == NOT_A_NUMBER:
            image[5, 7] = np.nan
        tifffile.imwrite(path, image, photometric="minisblack", metadata=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The study after a whole run."""
    folder = tmp_path_factory.mktemp("damaged") / "work"
    finished_study.make(folder)
    finished_study.write_config(folder, config())
    damage(folder)
    finished_study.command(folder, "phenoloom", "run", finished_study.CONFIG, "all", "--cores", "2")
    return folder


@pytest.mark.parametrize("model", ["dino", "ws"])
def test_a_plate_without_images_has_no_embeddings_and_the_other_has_its_own(folder, model):
    sites = {
        plate: pd.read_parquet(folder / RESULTS / f"screen/representations/{model}/sites/{plate}.parquet")
        for plate in finished_study.PLATES
    }
    assert len(sites[LOST]) == 0 and list(sites[LOST]) == list(sites["one"])
    values = sites["one"].drop(columns=[name for name in sites["one"] if name.startswith("Metadata_")])
    assert set(sites["one"]["Metadata_Well"]) == {"A01", "A02", "B01"} and np.isfinite(values.to_numpy()).all()


def test_what_was_lost_is_in_the_ledger(folder):
    ledger = pd.read_parquet(folder / RESULTS / "ledger.parquet")
    lost = ledger[ledger["severity"] == "lost"]
    assert lost["reason"].str.contains(NOT_A_NUMBER, regex=False).any()
    blank = lost["reason"].str.extract(rf"images/{LOST}/(\w+)_s1_DNA.tif is constant")[0]
    assert set(blank.dropna()) == set(finished_study.MAP)
    reasons = " ".join(ledger["reason"])
    assert "no images to embed" in reasons and "steps of 3 items" in reasons
    assert "weak labels with a single image, trained on as in DINO: wortmannin" in reasons


def test_the_report_is_made(folder):
    assert "dino" in (folder / RESULTS / "report.html").read_text(encoding="utf-8")
