"""What training says: a table of steps, TensorBoard, and a bar on a terminal or a plain line now and then."""

import csv
import sys
import time
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from phenoloom.core.words import duration

COLUMNS = (
    "step",
    "epoch",
    "loss",
    "learning_rate",
    "weight_decay",
    "momentum",
    "temperature",
    "data_wait",
    "images_per_second",
)
TABLE = "training.csv"
#: Rows of the table at most, of long trainings each the mean of several steps; plain lines of a whole training.
ROWS, LINES = 5000, 20


class Log:
    """Log of a training in `folder`, which goes on after `done` of `steps` steps.

    training.csv there has a row per step, or per few steps of a long training: the number of steps done, the loss (mean
    since the row before), scheduled values, the share of the time that was spent waiting for data, and images/s.
    """

    def __init__(self, folder, done, steps, steps_per_epoch, images):
        self.steps, self.steps_per_epoch, self.images = steps, steps_per_epoch, images
        self.every, self.lines = max(1, steps // ROWS), max(1, steps // LINES)
        rows = [row for row in _rows(Path(folder) / TABLE) if int(row["step"]) <= done]
        path = Path(folder) / TABLE
        self._file = open(path, "w", newline="", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed by close)
        self._table = csv.DictWriter(self._file, COLUMNS)
        self._table.writeheader()
        self._table.writerows(rows)
        self._board = SummaryWriter(str(Path(folder) / "tensorboard"), purge_step=done + 1)
        bar = sys.stderr.isatty()
        self._bar = tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True) if bar else None
        self._since, self._losses, self._waited = time.perf_counter(), [], 0.0
        self._first = done, self._since

    def step(self, done, loss, values, waited):
        """Note a step: number of steps done, its loss, its scheduled values, seconds waited for data so far."""
        self._losses.append(loss)
        if done % self.every == 0 or done == self.steps:
            self._write(done, values, waited)
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        elif done % self.lines == 0 or done == self.steps:
            self._say(done, loss)

    def close(self):
        self._file.close()
        self._board.close()
        if self._bar is not None:
            self._bar.close()

    def _write(self, done, values, waited):
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        row = {
            "loss": sum(self._losses) / len(self._losses),
            **{name: values[name] for name in COLUMNS if name in values},
            "data_wait": (waited - self._waited) / seconds,
            "images_per_second": self.images * len(self._losses) / seconds,
        }
        for name, value in row.items():
            self._board.add_scalar(name, value, done)
        row = {name: f"{value:.6g}" for name, value in row.items()}
        self._table.writerow({"step": done, "epoch": self._epoch(done), **row})
        self._since, self._losses, self._waited = now, [], waited

    def _say(self, done, loss):
        begun, since = self._first
        seconds = time.perf_counter() - since
        rate = (done - begun) / max(seconds, 1e-9)
        left = (self.steps - done) / rate
        print(
            f"step {done:,} of {self.steps:,} ({100 * done // self.steps} %), epoch {self._epoch(done)}, "
            f"loss {loss:.4g}, {self.images * rate:,.1f} images/s, {duration(left)} left",
            flush=True,
        )

    def _epoch(self, done):
        """Number of the epoch, from 1, that the last step belongs to."""
        return (done - 1) // self.steps_per_epoch + 1


def _rows(path):
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        # A kill may have cut the last line.
        return [row for row in csv.DictReader(file) if None not in row.values() and row["step"].isdigit()]
