"""Batches by step: what a step sees follows from the seed and the step, so that training can go on from any step."""

import signal
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from phenoloom.training.randomness import key

#: Batches that each reading process holds ready.
AHEAD = 2


@dataclass(frozen=True)
class Draw:
    """Rows (n,) of the items that a step sees, and for some kinds rows (n,) of their partners or classes (n,)."""

    items: np.ndarray
    partners: np.ndarray | None = None
    labels: np.ndarray | None = None


class Shuffles:
    """Endless sequence of range(n): each number once in random order, then each once again in another."""

    def __init__(self, n, *seed):
        self.n, self.seed, self._rounds = n, [int(part) for part in seed], {}

    def at(self, positions):
        """Numbers (k,) at positions (k,) of the sequence."""
        positions = np.asarray(positions)
        rounds = positions // self.n
        needed = np.unique(rounds)
        self._rounds = {turn: self._rounds[turn] for turn in needed if turn in self._rounds}
        result = np.empty(len(positions), dtype=np.int64)
        for turn in needed:
            if turn not in self._rounds:
                self._rounds[turn] = np.random.default_rng([*self.seed, turn]).permutation(self.n)
            here = rounds == turn
            result[here] = self._rounds[turn][positions[here] % self.n]
        return result


class EachOnce:
    """Draws every one of `rows` once before any comes again."""

    def __init__(self, rows, seed):
        self.rows = np.asarray(rows)
        self._order = Shuffles(len(self.rows), seed, 0)

    def __call__(self, step, n, steps_per_epoch):
        return Draw(self.rows[self._order.at(step * n + np.arange(n))])


class Batches(Dataset):
    """The batch of a step.

    items: tensors.store.Items or what has its `read`. draw: (step, n, steps_per_epoch) -> Draw. batch: items of a step,
    over all processes. batches[step] is a dict: `step`, `rows` (n,), `images` (n, C, H, W) float32, `keys` (n,) int64,
    from which all that is random about an item comes; with partners `partners` and `partner_keys`, with classes
    `labels`.
    """

    def __init__(self, items, draw, batch, steps_per_epoch, seed):
        self.items, self.draw, self.batch = items, draw, batch
        self.steps_per_epoch, self.seed = steps_per_epoch, seed
        self.part = slice(None)

    def of_process(self, rank, processes):
        """The same batches, of which this process takes its part."""
        mine = Batches(self.items, self.draw, self.batch, self.steps_per_epoch, self.seed)
        share = self.batch // processes
        mine.part = slice(rank * share, (rank + 1) * share)
        return mine

    def rows(self, step):
        """Rows of all items whose images a step sees, as a list."""
        draw = self.draw(step, self.batch, self.steps_per_epoch)
        seen = draw.items if draw.partners is None else np.concatenate([draw.items, draw.partners])
        return list(dict.fromkeys(seen.tolist()))

    def __getitem__(self, step):
        step = int(step)
        draw = self.draw(step, self.batch, self.steps_per_epoch)
        rows = draw.items[self.part]
        batch = {
            "step": step,
            "rows": torch.from_numpy(rows),
            "images": self._read(rows),
            "keys": self._keys(step, draw.items, 0),
        }
        if draw.partners is not None:
            # An item without a partner is its own: its image is there already.
            others = draw.partners[self.part]
            away = np.flatnonzero(others != rows)
            batch["partners"] = batch["images"].clone() if len(away) else batch["images"]
            if len(away):
                batch["partners"][torch.from_numpy(away)] = self._read(others[away])
            batch["partner_keys"] = self._keys(step, draw.partners, 1)
        if draw.labels is not None:
            batch["labels"] = torch.from_numpy(np.ascontiguousarray(draw.labels[self.part], dtype=np.int64))
        return batch

    def _read(self, rows):
        return torch.from_numpy(np.ascontiguousarray(self.items.read(rows), dtype=np.float32))

    def _keys(self, step, rows, role):
        """Keys of (seed, step, item); an item's second place in a batch has another key than its first."""
        order = np.argsort(rows, kind="stable")
        first = np.searchsorted(rows[order], rows[order])
        times = np.empty(len(rows), dtype=np.int64)
        times[order] = np.arange(len(rows)) - first
        return key(self.seed, step, role, torch.from_numpy(rows), torch.from_numpy(times))[self.part]


class Loader:
    """The batches of steps start..stop, in order, read ahead by `workers` processes; `waited`: seconds of waiting."""

    def __init__(self, batches, start, stop, workers, pin=False):
        self.batches, self.start, self.stop = batches, start, stop
        self.workers, self.pin = workers, pin
        self.waited = 0.0

    def __len__(self):
        return self.stop - self.start

    def __iter__(self):
        batches = self.batches
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            batches = batches.of_process(torch.distributed.get_rank(), torch.distributed.get_world_size())
        ahead = {"prefetch_factor": AHEAD, "worker_init_fn": _leave_signals} if self.workers else {}
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=range(self.start, self.stop),
            num_workers=self.workers,
            pin_memory=self.pin,
            **ahead,
        )
        waiting = iter(loader)
        while True:
            asked = time.perf_counter()
            batch = next(waiting, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch


def reading_processes(workers, threads, device):
    """(reading processes, threads of the training process): no more than `threads` together.

    workers: a number or `auto`, which is all but one thread beside a GPU, and none on CPUs: there the network's
    arithmetic takes far longer than reading, and a core that reads does not calculate.
    """
    spare = max(0, threads - 1)
    wanted = (spare if device == "cuda" else 0) if workers == "auto" else int(workers)
    reading = min(wanted, spare)
    return reading, max(1, threads - reading)


def _leave_signals(worker):
    """Slurm ends all processes of a job at once; the one that trains still needs these for its last step."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
