"""The Slurm of the tests leaves machines alone where it has no business, and takes away only what it wrote."""

import one_host
import pytest


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without Slurm, as far as one_host can see: the folder that stands for /etc/slurm."""
    etc = tmp_path / "etc"
    etc.mkdir()
    monkeypatch.setattr(one_host, "ETC", etc)
    monkeypatch.setattr(one_host, "FOLDER", tmp_path / "cluster")
    monkeypatch.setattr(one_host, "_daemons", lambda *names: [])
    monkeypatch.setattr(one_host, "processes", lambda **variables: [])
    monkeypatch.setattr(one_host, "_missing", lambda: [])
    monkeypatch.setattr(one_host.os, "geteuid", lambda: 0)
    monkeypatch.delenv("SLURM_CONF", raising=False)
    return etc


def test_a_machine_without_slurm_will_do(machine):
    one_host.check()


@pytest.mark.parametrize("name", one_host.FILES)
def test_a_machine_with_a_slurm_is_not_touched(machine, name):
    (machine / name).write_text("ClusterName=production\n")
    with pytest.raises(one_host.Unavailable, match=f"configured on this machine already .*{name}.*not touching it"):
        one_host.up()
    one_host.down()
    assert [path.name for path in machine.iterdir()] == [name]
    assert (machine / name).read_text() == "ClusterName=production\n"
    assert not one_host.FOLDER.exists()


def test_a_machine_whose_slurm_is_configured_elsewhere_is_not_touched(machine, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "/opt/slurm/slurm.conf")
    with pytest.raises(one_host.Unavailable, match="SLURM_CONF"):
        one_host.up()


def test_a_machine_where_another_slurm_runs_is_not_touched(machine, monkeypatch):
    monkeypatch.setattr(one_host, "_daemons", lambda *names: [one_host.psutil.Process()])
    with pytest.raises(one_host.Unavailable, match="a daemon of Slurm runs"):
        one_host.up()


def test_only_root_brings_it_up(machine, monkeypatch):
    monkeypatch.setattr(one_host.os, "geteuid", lambda: 1000)
    with pytest.raises(one_host.Unavailable, match="root"):
        one_host.up()


def test_packages_need_apt(machine, monkeypatch):
    monkeypatch.setattr(one_host, "_missing", lambda: ["slurmctld"])
    monkeypatch.setattr(one_host.shutil, "which", lambda *name, **more: None)
    with pytest.raises(one_host.Unavailable, match="slurmctld cannot be installed: there is no apt-get here"):
        one_host.up()


def test_what_a_killed_run_of_the_tests_left_is_taken_away(machine):
    one_host._configure()
    one_host.check()
    assert {path.name for path in machine.iterdir()} == set(one_host.FILES)
    (machine / "plugstack.conf").write_text("")
    one_host.down()
    assert [path.name for path in machine.iterdir()] == ["plugstack.conf"]
    assert not one_host.FOLDER.exists()
