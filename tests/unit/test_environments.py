"""Environments: the conda files and the pip files pin the same versions, and every pin is exact."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ENVS = Path(__file__).resolve().parents[2] / "workflow" / "envs"
CONDA_NAMES = {"matplotlib-base": "matplotlib", "python-igraph": "igraph"}
#: Provided by conda only; pip installs on top of what the machine has.
CONDA_ONLY = {"python", "openjdk", "c-compiler"}
SPEC = re.compile(r"^([a-z0-9._-]+)=([0-9][A-Za-z0-9.]*)$")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([A-Za-z0-9.+]+)$")


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file):
    lines = [line.split("#", 1)[0].strip() for line in (ENVS / file).read_text().splitlines()]
    matches = [PIN.match(line) for line in lines if line]
    assert all(matches), f"{file} has a line that is no exact pin"
    return {canonical(match[1]): match[2] for match in matches}


def conda_pins(file):
    """Pins of a conda file as {name: version}; asserts that every spec parses."""
    found = {}
    for item in yaml.safe_load((ENVS / file).read_text())["dependencies"]:
        if isinstance(item, dict):
            for line in item["pip"]:
                assert PIN.match(line), f"{file}: {line} is no exact pin"
                found[canonical(PIN.match(line)[1])] = PIN.match(line)[2]
        elif item not in ("pip", "c-compiler"):
            assert SPEC.match(item), f"{file}: {item} is no exact conda spec"
            name, version = SPEC.match(item).groups()
            found[canonical(CONDA_NAMES.get(name, name))] = version
    return found


def builder():
    spec = importlib.util.spec_from_file_location("build", ENVS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", ["ingest.yaml", "profiles.yaml", "report.yaml", "cytometry.yaml", "torch.yaml"])
def test_conda_and_pip_pin_the_same_versions(file):
    main, conda = pins("main.txt"), conda_pins(file)
    assert conda.pop("python") == "3.11"
    assert conda == {name: main.get(name) for name in conda}


def test_both_ways_give_the_same_cellprofiler():
    tools = dict(line.lower().split("==") for line in builder().BUILD_TOOLS[(3, 9)])
    expected = {**tools, **pins("cellprofiler-py39.txt")}
    conda = conda_pins("cellprofiler.yaml")
    assert conda["python"] == "3.9"
    shared = {name: version for name, version in conda.items() if name not in CONDA_ONLY}
    assert shared == {name: expected.get(name) for name in shared}
    script = (ENVS / "cellprofiler.post-deploy.sh").read_text()
    installed = dict(re.findall(r"([a-z-]+)==([0-9.]+)", script))
    assert installed == {name: expected[name] for name in installed}
    assert {"cellprofiler", "cellprofiler-core", "python-javabridge", "centrosome"} <= set(installed)


def test_both_pythons_run_the_same_cellprofiler():
    old, new = pins("cellprofiler-py39.txt"), pins("cellprofiler-py311.txt")
    for name in (
        "cellprofiler",
        "cellprofiler-core",
        "centrosome",
        "python-javabridge",
        "python-bioformats",
        "pyarrow",
    ):
        assert old[name] == new[name]


def test_the_library_and_cellprofiler_need_no_wx_and_no_mysql():
    for file in ("main.txt", "cellprofiler-py39.txt", "cellprofiler-py311.txt"):
        assert not {"wxpython", "mysqlclient", "torchvision"} & set(pins(file))


def test_a_changed_pin_gives_another_environment_and_a_comment_does_not(tmp_path):
    build = builder()
    (tmp_path / "a").write_text("numpy==1\n")
    (tmp_path / "b").write_text("# why\nnumpy==1  # because\n\n")
    (tmp_path / "c").write_text("numpy==2\n")
    assert build.digest(tmp_path / "a") == build.digest(tmp_path / "b") != build.digest(tmp_path / "c")


def test_an_interrupted_build_is_started_again(tmp_path, capsys):
    build = builder()
    folder = tmp_path / "main-1"
    with pytest.raises(KeyboardInterrupt), build.built_once(folder, "main") as needed:
        assert needed
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt
    with build.built_once(folder, "main") as needed:
        assert needed
        assert not folder.exists()
        folder.mkdir()
    with build.built_once(folder, "main") as needed:
        assert not needed


def test_what_is_missing_gets_one_sentence(monkeypatch, capsys):
    build = builder()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setattr(build, "debian_install", lambda *packages: False)
    with pytest.raises(build.Missing, match="default-jdk-headless"):
        build.java_home()
