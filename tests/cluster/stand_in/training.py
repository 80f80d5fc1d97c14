"""Rule train_stand_in: indices of plates -> a table of losses that stands in for a trained model.

What it shares with training is how it stops and goes on: after each few steps, and when it is asked to end, it writes a
checkpoint; the next attempt starts there, and ends with the same bytes as one that was never disturbed.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from phenoloom.core.files import atomic
from phenoloom.core.job import job

#: Tests set this to make the same training last longer.
PACE = "PHENOLOOM_TEST_STEP_SECONDS"
STEPS_PER_CHECKPOINT = 5


def main(snakemake):
    with job(snakemake) as run:
        stop = _asked_to_end()
        weights, losses = _load(run.params["checkpoints"])
        print(
            f"step {len(losses)} of {run.params['steps']} is where this attempt starts, "
            f"on node {os.environ.get('SLURMD_NODENAME')} with GPU {os.environ.get('CUDA_VISIBLE_DEVICES')}"
        )
        _note_start(run.params["checkpoints"], len(losses))
        while len(losses) < run.params["steps"]:
            weights = _step(weights, [run.seed, len(losses)])
            losses.append(float(np.square(weights).mean()))
            if stop or len(losses) % STEPS_PER_CHECKPOINT == 0:
                _save(run.params["checkpoints"], weights, losses)
            if stop:
                raise SystemExit(f"asked to end: stopped after step {len(losses)}")
        run.save_table(snakemake.output.table, pa.table({"loss": losses}))


def _asked_to_end():
    """Return a list that gets an entry when the process is asked to end, as Slurm does at a job's time limit."""
    asked = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    return asked


def _step(weights, seed):
    time.sleep(float(os.environ.get(PACE, "0.02")))
    return 0.9 * weights + np.random.default_rng(seed).normal(size=len(weights))


def _load(folder):
    path = Path(folder) / "last.npz"
    if not path.exists():
        return np.zeros(64), []
    with np.load(path, allow_pickle=False) as saved:
        return saved["weights"], saved["losses"].tolist()


def _save(folder, weights, losses):
    with atomic(Path(folder) / "last.npz") as partial, open(partial, "wb") as file:
        np.savez(file, weights=weights, losses=np.array(losses))


def _note_start(folder, step):
    """Append the first step of this attempt to a list: what the tests read."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open(Path(folder) / "starts.txt", "a", encoding="ascii") as file:
        file.write(f"{step}\n")


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
