"""Fixtures for all tests: where the real data lies, and small images."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

# Scripts that run inside the tests set it too, and Numba takes no second value.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("PHENOLOOM_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data():
    """Return a function that gives the folder of a public data set, or skips the test where it is absent."""

    def folder(name):
        path = SHARED / name
        if not path.is_dir():
            pytest.skip(f"the public data set {name} is not at {SHARED} (set PHENOLOOM_TEST_DATA)")
        return path

    return folder


@pytest.fixture
def write_tiff():
    """Return a function that writes a grey uint16 TIFF of random pixels and returns its path."""

    def write(path, shape=(32, 48), seed=0, dtype=np.uint16, **options):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 200, size=shape).astype(dtype)
        tifffile.imwrite(path, pixels, photometric="minisblack" if len(shape) == 2 else None, **options)
        return path

    return write
