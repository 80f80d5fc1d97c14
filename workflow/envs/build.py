"""Build the Python environments of phenoloom from their pinned files, in a cache outside the checkout.

    python3 workflow/envs/build.py [main] [cellprofiler] [lint]

Prints what it does on standard error and, as the last line on standard output, the folder of the first environment
named. An environment lies in `$PHENOLOOM_ENVS` (default `~/.cache/phenoloom/envs`) under a digest of its pins, so that
it is built once per machine and a changed pin gives a new one. Standard library only: it runs before anything is
installed.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAUNCHER = "phenoloom-cellprofiler"
#: CellProfiler's own companions have wheels for Python 3.9; with 3.11 scikit-image is compiled (some 10 minutes).
CELLPROFILER_PINS = {(3, 9): "cellprofiler-py39.txt", (3, 11): "cellprofiler-py311.txt"}
BUILD_TOOLS = {
    (3, 9): ["pip==24.0", "wheel==0.45.1", "setuptools==65.7.0", "Cython==0.29.37", "numpy==1.23.5"],
    (3, 11): ["pip==24.0", "wheel==0.45.1", "setuptools==69.5.1", "Cython==0.29.37", "numpy==1.26.4"],
}
#: Built against the numpy that is installed before them.
COMPILED = ("python-javabridge", "centrosome", "python-bioformats", "scikit-image", "PyWavelets")


class Missing(Exception):
    """Something that the machine must provide is absent; the message says what to install."""


def say(text):
    print(f"[phenoloom] {text}", file=sys.stderr, flush=True)


def cache():
    """Folder of all environments."""
    base = os.environ.get("PHENOLOOM_ENVS")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phenoloom" / "envs"


def digest(*files):
    """Digest of pinned files, comments left out."""
    lines = []
    for file in files:
        lines += [line.split("#", 1)[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return hashlib.blake2b("\n".join(filter(None, lines)).encode(), digest_size=5).hexdigest()


def debian_install(*packages):
    """Install Debian packages when root on Debian; otherwise do nothing and return False."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    say(f"installing {' '.join(packages)} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600", *packages]
    return subprocess.run(command, check=False, **quiet).returncode == 0


def works(python, version):
    """Whether an interpreter runs, has that version and can make virtual environments."""
    check = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != {version})"
    with contextlib.suppress(OSError):
        return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0
    return False


def find_python(version):
    """Path of a Python of that (major, minor) version that can make virtual environments, or None."""
    name = f"python{version[0]}.{version[1]}"
    candidates = [name, sys.executable, "python3"]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates += sorted((str(path) for path in pyenv.glob(f"{version[0]}.{version[1]}*/bin/python")), reverse=True)
    return next((path for path in candidates if works(path, version)), None)


def need_python311():
    python = find_python((3, 11))
    if python is None and debian_install("python3.11", "python3.11-venv"):
        python = find_python((3, 11))
    if python is None:
        raise Missing(
            "Python 3.11 with venv is needed: install it (Debian: apt-get install python3.11 python3.11-venv)"
        )
    return python


def java_home():
    """Folder of a Java development kit (javac), installing Debian's where that is possible."""
    for attempt in range(2):
        home = os.environ.get("JAVA_HOME")
        if home and (Path(home) / "bin" / "javac").exists():
            return home
        javac = shutil.which("javac")
        if javac:
            return str(Path(javac).resolve().parents[1])
        if attempt or not debian_install("default-jdk-headless"):
            break
    raise Missing(
        "CellProfiler needs a Java development kit: install one (Debian: apt-get install default-jdk-headless) "
        "or set JAVA_HOME"
    )


def need_compiler(python):
    """Make sure that C extensions can be compiled for `python`."""
    code = "import sysconfig, pathlib; print(pathlib.Path(sysconfig.get_paths()['include'], 'Python.h').exists())"
    for attempt in range(2):
        headers = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
        if shutil.which("cc") and headers == "True":
            return
        if attempt or not debian_install("build-essential", "python3-dev"):
            break
    raise Missing(
        "a C compiler and the headers of Python are needed (Debian: apt-get install build-essential python3-dev)"
    )


def run(command, log, environment=None):
    """Run a step, its output in a log file; show the log's end when it fails."""
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        started = shown = time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                say(f"  ... {shown - started:.0f} s, see {log}")
    if process.returncode:
        tail = "\n".join(Path(log).read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise Missing(f"this step failed: {' '.join(command[:6])} ...\n{tail}\nThe whole log is {log}.")


@contextlib.contextmanager
def built_once(folder, what):
    """Yield True when `folder` must be built; hold a lock meanwhile; mark it complete at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    marker = folder / ".complete"
    with open(folder.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists():
            yield False
            return
        if folder.exists():
            shutil.rmtree(folder)
        say(f"building the environment {what} in {folder} (once per machine and set of pins)")
        started = time.monotonic()
        yield True
        marker.touch()
        say(f"  {what} built in {time.monotonic() - started:.0f} s")


def pip(folder, *arguments, log, environment=None):
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    run(command, log, environment)


def build_plain(name, folder):
    """Build an environment from a complete list of pins (`{name}.txt`)."""
    with built_once(folder, name) as needed:
        if needed:
            log = folder.with_suffix(".log")
            log.unlink(missing_ok=True)
            run([need_python311(), "-m", "venv", str(folder)], log)
            pip(folder, "--no-deps", "-r", str(HERE / f"{name}.txt"), log=log)
    return folder


def build_cellprofiler():
    """Build the CellProfiler environment with Python 3.9 where there is one, else with 3.11."""
    version = (3, 9) if find_python((3, 9)) else (3, 11)
    pins = HERE / CELLPROFILER_PINS[version]
    folder = cache() / f"cellprofiler-{digest(pins)}"
    with built_once(folder, f"cellprofiler (Python {version[0]}.{version[1]})") as needed:
        if needed:
            log = folder.with_suffix(".log")
            log.unlink(missing_ok=True)
            environment = {**os.environ, "JAVA_HOME": java_home()}
            python = find_python((3, 9)) or need_python311()
            need_compiler(python)
            if version == (3, 11):
                say("  no Python 3.9 found: scikit-image is compiled for 3.11, some 10 minutes")
            run([python, "-m", "venv", str(folder)], log)
            pip(folder, *BUILD_TOOLS[version], log=log, environment=environment)
            lines = [line.split("#", 1)[0].strip() for line in pins.read_text(encoding="utf-8").splitlines()]
            lines = [line for line in lines if line]
            compiled = [line for line in lines if line.split("==")[0] in COMPILED]
            wheels = [line for line in lines if line not in compiled]
            pip(folder, "--no-deps", *wheels, log=log, environment=environment)
            for line in sorted(compiled, key=lambda item: COMPILED.index(item.split("==")[0])):
                pip(folder, "--no-deps", "--no-build-isolation", line, log=log, environment=environment)
            run(
                [str(folder / "bin" / "python"), "-c", "import cellprofiler_core, cellprofiler, javabridge"],
                log,
                environment,
            )
    return folder


def write_launcher(main, cellprofiler):
    """Put the command that runs CellProfiler's Python on the PATH of the main environment."""
    text = (
        "#!/bin/sh\n"
        "# Runs a script in phenoloom's CellProfiler environment; made by workflow/envs/build.py.\n"
        f'export JAVA_HOME="${{JAVA_HOME:-{java_home()}}}"\n'
        "unset PYTHONHOME\n"
        f'exec "{cellprofiler}/bin/python" "$@"\n'
    )
    launcher = main / "bin" / LAUNCHER
    if not launcher.exists() or launcher.read_text(encoding="utf-8") != text:
        partial = launcher.with_name(f".{LAUNCHER}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.chmod(0o755)
        os.replace(partial, launcher)


def main(names):
    folders = {}
    try:
        for name in names:
            if name == "cellprofiler":
                folders[name] = build_cellprofiler()
            else:
                pins = [HERE / f"{name}.txt"]
                if name == "main":  # its launcher belongs to one CellProfiler environment
                    pins += [HERE / file for file in CELLPROFILER_PINS.values()]
                folders[name] = build_plain(name, cache() / f"{name}-{digest(*pins)}")
        if "main" in folders and "cellprofiler" in folders:
            write_launcher(folders["main"], folders["cellprofiler"])
    except Missing as error:
        say(f"error: {error}")
        return 1
    print(folders[names[0]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["main", "cellprofiler"]))
