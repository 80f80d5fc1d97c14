"""TIFFs that crashed readers: each is an ImageError or a plane, quickly and in little memory."""

import json
import subprocess
import sys

import pytest

PROBE = """
import json, resource, sys
import numpy
from phenoloom.core.images import ImageError, read_header, read_plane
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
said = []
for path in sys.argv[1:]:
    for read in (read_header, read_plane):
        try:
            read(path)
            said.append("plane")
        except ImageError as error:
            said.append(str(error))
        except BaseException as error:
            said.append(f"{type(error).__name__} in {read.__name__} of {path}: {error}")
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def files(shared_data):
    return sorted((shared_data("malformed_tiff") / "Tests" / "images").glob("*.tif"))


def test_each_gives_a_sentence_or_a_plane(files):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert len(said) == 2 * len(files) == 26
    for text, path in zip(said, [path for path in files for _ in (1, 2)], strict=True):
        assert text == "plane" or text.startswith(str(path)), text


def test_an_index_of_them_loses_every_site_that_has_one(files, tmp_path, write_tiff):
    from phenoloom.ingest.index import index_plate

    for number, path in enumerate(files, start=1):
        (tmp_path / f"A01_s{number}.tif").write_bytes(path.read_bytes())
    write_tiff(tmp_path / "A02_s1.tif")
    images = {"format": "pattern", "pattern": "{well}_s{site}.tif"}
    index = index_plate("d", "b", "P", str(tmp_path), {"DNA": {}}, images)
    assert [(row["well"], row["site"]) for row in index.rows] == [("A02", 1)]
    lost = {(one.well, one.site) for one in index.problems if one.unit == "site" and one.severity == "lost"}
    assert lost == {("A01", number) for number in range(1, 14)}
