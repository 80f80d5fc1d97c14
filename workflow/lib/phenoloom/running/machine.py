"""What this machine gives to jobs: cores, memory, GPUs."""

import os
import shutil
import subprocess
from pathlib import Path

import psutil

#: Kept for the system and the head process.
KEPT_FREE = 0.1
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_mb():
    """Megabytes of memory that jobs may use together: what the machine, or the container, has, less a tenth."""
    limits = [psutil.virtual_memory().total]
    for path in CGROUP_LIMITS:
        try:
            limits.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no such limit, or `max`
    return int(min(limits) * (1 - KEPT_FREE) / 1e6)


def gpus():
    """Number of GPUs that jobs can use: those of nvidia-smi, or fewer where CUDA_VISIBLE_DEVICES says so."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = None if visible is None else [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    if not shutil.which("nvidia-smi"):
        return 0
    try:
        said = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = sum(line.startswith("GPU ") for line in said.splitlines())
    return found if chosen is None else min(found, len(chosen))
