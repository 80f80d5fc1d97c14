"""Everything wrong with the samples of single events in one list before a run, and what of it another try may mend."""

import pytest
import yaml

from phenoloom.__main__ import main
from phenoloom.config.loading import complete, read_config
from phenoloom.config.study import Study
from phenoloom.ingest.preflight import preflight
from phenoloom.running import retry
from phenoloom.simulate.sorter import write_run


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Config of two simulated samples without faults, in the working directory."""
    monkeypatch.chdir(tmp_path)
    lines = ["sample\timages\tfcs\tevents"]
    for name in ("a", "b"):
        write_run(tmp_path / name, name, 20, seed=ord(name))
        lines.append(f"sample {name}\t{name}/images\t{name}/{name}.fcs\t{name}/{name}_classes.csv")
    (tmp_path / "samples.tsv").write_text("\n".join(lines) + "\n")
    dataset = {
        "assay": "cytometry",
        "samples": "samples.tsv",
        "channels": {"DNA": {"source": "DNA-A"}, "FSC": {}},
        "events": {"format": "sorter", "pattern": "*_{event}.tiff", "labels": {"Label": "Class"}},
        "features": {"classical": {}},
    }
    return {
        "study": "s",
        "datasets": {"d": dataset},
        "cell_profiles": {"raw": [{"scale": {}}]},
        "evaluation": {"c": {"metric": "clusters", "level": "cells", "of": ["classical/raw"]}},
    }


def listed(config):
    return [f"{one.severity} {one.where}: {one.text}" for one in preflight(complete(config))[0]]


def test_nothing_is_wrong_with_samples_without_faults(study):
    findings, estimate = preflight(complete(study))
    assert findings == []
    assert estimate.images == 40 and estimate.jobs >= 2 * 2 + 1 and estimate.read_gb > 0


def fault(path, content):
    """A fault by writing a file, or removing it."""

    def plant(folder, study):
        if content is None:
            (folder / path).unlink()
        else:
            (folder / path).write_bytes(content)

    return plant


def option(*path, value):
    """A fault of the config."""

    def plant(folder, study):
        block = study["datasets"]["d"]
        for key in path[:-1]:
            block = block.setdefault(key, {})
        block[path[-1]] = value

    return plant


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (fault("samples.tsv", None), "error d: samples.tsv does not exist"),
        (fault("b/b.fcs", None), "error d/sample b: b/b.fcs does not exist"),
        (fault("b/b.fcs", b"garbage"), "error d/sample b: b/b.fcs"),
        (fault("a/images/a_00000003.tiff", b""), "warning d/sample a: a/images/a_00000003.tiff is empty"),
        (fault("a/images/a_00000003.tiff", None), "warning d/sample a: 1 event of a/a.fcs without an image"),
        (fault("a/images/notes.txt", b"x"), "warning d/sample a: 1 file left aside"),
        (fault("b/b_classes.csv", b"Class\nx\n"), "error d/sample b: b/b_classes.csv has 1 row for 20 events"),
        (option("events", "pattern", value="x_{event}.tif"), "error d/sample a: no image of sample sample a fits"),
        (option("events", "first_event", value=50), "error d/sample a: no image is of an event of a/a.fcs"),
        (option("events", "first_event", value=3), "warning d/sample a: 3 images of no event of a/a.fcs"),
        (option("channels", "DNA", "source", value="DMA-A"), "has no parameter 'DMA-A'; did you mean 'DNA-A'"),
        (option("events", "fcs", "parameters", value=["DAN*"]), "no parameter of a/a.fcs matches 'DAN*'"),
        (option("events", "fcs", "compensate", value="no.csv"), "no.csv does not exist; mend the option events.fcs"),
        (option("events", "labels", value={"Label": "Clas"}), "lacks the column Clas"),
    ],
)
def test_a_planted_fault_is_on_the_list(study, tmp_path, plant, said):
    plant(tmp_path, study)
    found = listed(study)
    assert any(said in text for text in found), found


def test_both_samples_are_looked_at_and_many_losses_are_a_number(study, tmp_path):
    for number in range(9):
        (tmp_path / f"a/images/a_{number:08d}.tiff").write_bytes(b"x")
    (tmp_path / "b/b.fcs").write_bytes(b"")
    found = listed(study)
    assert sum("sample a" in text for text in found) == 6 and "warning d/sample a: and 5 more" in found
    assert sum(text.startswith("error d/sample b") for text in found) == 1


def test_the_command_says_by_its_status_that_there_are_errors(study, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    assert main(["run", "s.yaml", "preflight"]) == 0
    assert "Nothing is wrong" in capsys.readouterr().out
    (tmp_path / "a/a.fcs").unlink()
    assert main(["run", "s.yaml", "preflight"]) == 1
    assert "a/a.fcs does not exist" in capsys.readouterr().out


def test_an_image_that_was_lost_is_looked_at_again(study, tmp_path, capfd):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    path = tmp_path / "a/images/a_00000003.tiff"
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert main(["prepare", "s.yaml", "--threads", "1"]) == 0
    out, err = capfd.readouterr()
    assert "d/sample a: 19 images, 1 event lost" in out and err == ""
    found = retry.plan(Study(read_config("s.yaml"), "results/s"))
    assert found.unindexed == {"d": 1} and found.jobs == []
    path.write_bytes(whole)
    assert main(["prepare", "s.yaml", "--threads", "1"]) == 0
    assert "d/sample a: 20 images\n" in capfd.readouterr().out
    assert not retry.plan(Study(read_config("s.yaml"), "results/s")).unindexed
