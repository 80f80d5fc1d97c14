"""A whole Slurm on this machine, for tests: `python tests/cluster/one_host.py up`, and `down`.

As root on Debian and its kin; without systemd, control groups and accounting. Slurm of a login node must read its
configuration from /etc/slurm, since the variable SLURM_CONF does not reach the jobs, so that is where it stands while
the cluster is up. A machine where Slurm is configured already is never touched. Packages that `up` installs stay.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
ETC = Path("/etc/slurm")
#: Always the same, so that a later `up` finds what an earlier one left when it was killed.
FOLDER = Path("/tmp/phenoloom-slurm")
MARK = "Written by phenoloom's tests/cluster/one_host.py, which removes it again."
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
NODES = ("cn1", "cn2", "gn1")
CLUSTER = "phenoloomtest"


class Unavailable(Exception):
    """This machine cannot or must not hold the cluster; the message says why."""


def up():
    """Install what is missing, write the configuration, start all daemons and wait for the nodes.

    Raises Unavailable before anything is changed. What an `up` that was killed left is cleaned first.
    """
    check()
    _install()
    down()
    try:
        _configure()
        _start_munge()
        _call("slurmctld", "-i")
        for node in NODES:
            start_node(node)
        wait_for(lambda: states() == dict.fromkeys(NODES, "idle"), 60, "all nodes are idle")
    except BaseException:
        down()
        raise


def down():
    """Stop jobs and daemons of the cluster and remove what `up` wrote; nothing happens where there is no cluster."""
    if FOLDER.exists():
        _stop(_own_daemons(), signal.SIGKILL)
        _stop(processes(SLURM_CLUSTER_NAME=CLUSTER), signal.SIGKILL)
        if (FOLDER / "run" / "munge-was-started").exists():
            _stop(_daemons("munged"))
    for name in FILES:
        if _is_own(ETC / name):
            (ETC / name).unlink()
    shutil.rmtree(FOLDER, ignore_errors=True)


def check():
    """Raise Unavailable with the reason where the cluster cannot or must not be brought up."""
    if os.geteuid() != 0:
        raise Unavailable("a Slurm for tests is set up as root, and this is another user")
    if foreign := [str(ETC / name) for name in FILES if (ETC / name).exists() and not _is_own(ETC / name)]:
        raise Unavailable(f"Slurm is configured on this machine already ({foreign[0]}): not touching it")
    if os.environ.get("SLURM_CONF"):
        raise Unavailable("SLURM_CONF is set, so Slurm is configured on this machine already: not touching it")
    if set(_daemons("slurmctld", "slurmd")) - set(_own_daemons()):
        raise Unavailable("a daemon of Slurm runs on this machine already: not touching it")
    if _missing() and not shutil.which("apt-get"):
        raise Unavailable(f"{' '.join(_missing())} cannot be installed: there is no apt-get here")


def start_node(node):
    """Start the daemon of a node."""
    _call("slurmd", "-N", node)


def fail_node(node):
    """Let a node fail as when its power goes: daemon, supervisors and jobs are killed at once."""
    daemon = psutil.Process(int((FOLDER / "run" / f"slurmd.{node}.pid").read_text()))
    jobs = processes(SLURMD_NODENAME=node)
    supervisors = [parent for job in jobs for parent in job.parents() if parent.name().startswith("slurmstepd")]
    _stop([daemon, *supervisors, *jobs], signal.SIGKILL)


def states():
    """State of each node, such as {"cn1": "idle"}."""
    lines = _call("sinfo", "--noheader", "--Node", "--format=%N %T").split("\n")
    return dict(line.split() for line in lines if line.strip())


def jobs(name=None):
    """Jobs that are queued or running, as dicts with `id`, `name`, `state`, `comment`, `partition` and `node`."""
    keys = ("id", "name", "state", "comment", "partition", "node")
    lines = _call("squeue", "--noheader", "--format=%i|%j|%T|%k|%P|%N").splitlines()
    found = [dict(zip(keys, line.strip().split("|"), strict=True)) for line in lines]
    return [job for job in found if name in (None, job["name"])]


def show_job(number):
    """What Slurm knows of one job, also of an ended one, as a dict of its fields."""
    words = _call("scontrol", "show", "job", "--oneliner", str(number)).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def kill_job(number):
    """Kill all processes of a job as the system does when it is short of memory: at once and without a word."""
    _stop(processes(SLURM_JOB_ID=str(number)), signal.SIGKILL)


def processes(**variables):
    """Processes in whose environment these variables have these values."""
    return [process for process in psutil.process_iter() if _has(process, variables)]


def wait_for(condition, seconds, what):
    """Return the first true value of condition(), asked again and again; raises TimeoutError after some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"after {seconds} s it was not so that {what}")


def _is_own(path):
    return path.is_file() and MARK in path.read_text(errors="replace")


def _missing():
    return [name for name in ("slurmctld", "slurmd", "squeue", "munged") if not shutil.which(name, path=_path())]


def _path():
    """Daemons lie where the PATH of a user does not always lead."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _configure():
    for name in ("state", "log", "run", *(f"spool/{node}" for node in NODES)):
        (FOLDER / name).mkdir(parents=True)
    ETC.mkdir(exist_ok=True)
    for name in FILES:
        text = (HERE / name).read_text().replace("{mark}", MARK).replace("{folder}", str(FOLDER))
        (ETC / name).write_text(text.replace("{host}", socket.gethostname().split(".")[0]))


def _install():
    if not _missing():
        return
    options = ["-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"]
    try:
        _call("apt-get", "update", "-qq")
        _call("apt-get", "install", *options, *PACKAGES, DEBIAN_FRONTEND="noninteractive")
    except RuntimeError as error:
        raise Unavailable(f"Debian's packages of Slurm could not be installed: {error}") from error


def _start_munge():
    """Start the service that vouches for messages, unless it runs."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        return
    _call("install", "-d", "-o", "munge", "-g", "munge", "-m", "0755", "/run/munge")
    _call("runuser", "-u", "munge", "--", "/usr/sbin/munged")
    (FOLDER / "run" / "munge-was-started").touch()


def _own_daemons():
    """Daemons that write their log into the cluster's folder: they keep it open, whoever started them."""
    return [process for process in _daemons("slurmctld", "slurmd", "slurmstepd") if _writes_below(process, FOLDER)]


def _daemons(*names):
    return [process for process in psutil.process_iter() if process.name() in names and _lives(process)]


def _lives(process):
    """Whether a process still runs; a dead one that nobody asked for its exit status stays listed as a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _writes_below(process, folder):
    try:
        return any(Path(file.path).is_relative_to(folder) for file in process.open_files())
    except psutil.Error:
        return False


def _has(process, variables):
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    return process.pid != os.getpid() and all(environment.get(key) == value for key, value in variables.items())


def _stop(found, how=signal.SIGTERM, seconds=30):
    """Send a signal to processes and wait until they are gone, or for some seconds."""
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(how)
    end = time.monotonic() + seconds
    while any(map(_lives, found)) and time.monotonic() < end:
        time.sleep(0.1)


def _call(*command, **environment):
    """Output of a command. Raises RuntimeError with what it said when it fails."""
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": _path(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        {"up": up, "down": down}[" ".join(sys.argv[1:])]()
    except Unavailable as error:
        sys.exit(f"error: {error}")
    except KeyError:
        sys.exit(f"usage: {sys.argv[0]} up|down")
