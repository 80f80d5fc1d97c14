"""Training stops and goes on without a trace in the weights; what goes wrong is said and loses little."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_model import Images, block, split_of, trained

from phenoloom.core.errors import InputError
from phenoloom.training import checkpoints

#: Trains in a folder, slowly enough to be hit by a signal.
CHILD = """
import json, sys, time
from pathlib import Path
from training_model import Images, trained
class Slow(Images):
    def read(self, indices):
        time.sleep(float(sys.argv[2]))
        return super().read(indices)
trained(Path(sys.argv[1]), json.loads(sys.argv[3]), Slow())
"""


class Telling(Images):
    """Images that do something when a step reads them; reads are counted from 0."""

    def __init__(self, at, action, **more):
        super().__init__(**more)
        self.at, self.action, self.reads = at, action, 0

    def read(self, indices):
        if self.reads == self.at:
            self.action()
        self.reads += 1
        return super().read(indices)


def weights(paths):
    return Path(paths["weights"]).read_bytes()


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def stopped(folder, options, at, number=signal.SIGTERM, **more):
    """Train until a signal comes while the batch of step `at` is read."""
    with pytest.raises(SystemExit) as end:
        trained(folder, options, Telling(at, lambda: os.kill(os.getpid(), number)), **more)
    assert end.value.code == 128 + signal.SIGTERM


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, trained(folder, block(train={"epochs": 3}, snapshots=[1, 3]))[0]


def test_a_training_that_another_process_ends_goes_on_and_ends_with_the_same_weights(tmp_path, undisturbed):
    options = block(train={"epochs": 3}, snapshots=[1, 3])

    def start(seconds):
        paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(seconds), json.dumps(options)],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            text=True,
        )

    child, log = start(0.3), tmp_path / "checkpoints" / "one" / "training.csv"
    patience = time.monotonic() + 120
    while not (log.exists() and len(rows(log)) >= 4):
        assert child.poll() is None and time.monotonic() < patience
        time.sleep(0.05)
    child.terminate()
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM and "asked to end: stopped after step" in said
    assert not (tmp_path / "model.safetensors").exists()
    child = start(0)
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 0 and "training goes on after step" in said
    check_same(tmp_path, undisturbed)


def test_a_training_that_crashes_goes_on_from_its_last_checkpoint(tmp_path, undisturbed, capsys):
    """As after SIGKILL, all that is left is what was on disk."""
    options = block(train={"epochs": 3}, snapshots=[1, 3])

    def crash():
        raise OSError("the node is gone")

    with pytest.raises(OSError, match="the node is gone"):
        trained(tmp_path, options, Telling(8, crash))
    trained(tmp_path, options)
    assert "training goes on after step 6 of 12" in capsys.readouterr().out
    check_same(tmp_path, undisturbed)


def check_same(folder, undisturbed):
    """Weights and snapshots are those of the training that ran through, and the log has every step once."""
    expected = undisturbed[1]
    assert (folder / "model.safetensors").read_bytes() == weights(expected)
    for epoch, path in zip((1, 3), expected["snapshots"], strict=True):
        assert (folder / f"epoch{epoch}.safetensors").read_bytes() == path.read_bytes()
    assert [int(row["step"]) for row in rows(folder / "training.csv")] == list(range(1, 13))
    assert json.loads((folder / "card.json").read_text())["training"]["attempts"] == 2


@pytest.mark.parametrize(
    ("kind", "accumulate", "number"),
    [("ws_dino", 1, signal.SIGINT), ("ws_dino", 2, signal.SIGUSR1), ("contrastive", 1, signal.SIGTERM)],
)
def test_every_kind_goes_on_where_it_was_stopped(kind, accumulate, number, tmp_path):
    options = block(kind=kind, train={"accumulate": accumulate, "checkpoint_every": 100}, loss={"separation": 0.1})
    (tmp_path / "one").mkdir()
    expected, _ = trained(tmp_path / "one", options)
    (tmp_path / "two").mkdir()
    stopped(tmp_path / "two", options, at=4, number=number)
    again, _ = trained(tmp_path / "two", options)
    assert weights(again) == weights(expected)


def test_reading_processes_change_nothing(tmp_path, undisturbed):
    options = block(train={"epochs": 3, "workers": 1}, snapshots=[1, 3])
    assert weights(trained(tmp_path, options, threads=2)[0]) == weights(undisturbed[1])


def test_a_checkpoint_that_was_cut_off_is_passed_over_for_the_one_before_it(tmp_path, undisturbed, caplog):
    options = block(train={"epochs": 3}, snapshots=[1, 3])
    stopped(tmp_path, options, at=7)
    folder = tmp_path / "checkpoints" / "one"
    last = folder / checkpoints.LAST
    last.write_bytes(last.read_bytes()[:-100])
    assert checkpoints.find(folder)[1]["step"] == 6
    assert "last.safetensors is damaged" in caplog.text
    assert weights(trained(tmp_path, options)[0]) == weights(undisturbed[1])


def test_training_starts_anew_where_both_checkpoints_are_damaged(tmp_path, undisturbed):
    options = block(train={"epochs": 3}, snapshots=[1, 3])
    stopped(tmp_path, options, at=7)
    for path in (tmp_path / "checkpoints" / "one").glob("*.safetensors"):
        path.write_bytes(b"\0" * 40)
    assert weights(trained(tmp_path, options)[0]) == weights(undisturbed[1])


def test_checkpoints_of_another_fingerprint_are_removed(tmp_path):
    first = checkpoints.prepare(tmp_path, "one")
    (first / checkpoints.LAST).write_bytes(b"")
    second = checkpoints.prepare(tmp_path, "two")
    assert second.is_dir() and not first.exists()
    assert checkpoints.find(second) == (None, None)


def test_nothing_but_logs_stays_when_training_is_done(undisturbed):
    folder = undisturbed[0] / "checkpoints" / "one"
    assert not list(folder.glob("*.safetensors"))
    assert list((folder / "tensorboard").iterdir())


class Broken(Images):
    """Images of which one has a NaN pixel."""

    def __init__(self):
        super().__init__()
        self.pixels[5, 0, 10, 10] = np.nan


def test_a_loss_that_is_no_number_names_step_epoch_and_items_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(
        InputError, match=r"the loss is nan at step (\d+) \(epoch (\d)\).* in rows ([\d, ]+) of"
    ) as said:
        trained(tmp_path, block(train={"checkpoint_every": 1}, views={"global_scale": [1.0, 1.0]}), Broken())
    assert "lower learning_rate" in str(said.value)
    folder = tmp_path / "checkpoints" / "one"
    path, state = checkpoints.find(folder) if (folder / checkpoints.LAST).exists() else (None, None)
    step = int(str(said.value).split("step ")[1].split()[0])
    assert "5" in str(said.value).split("rows ")[1].split(" of")[0].split(", ")
    if path is not None:
        assert state["step"] == step - 1
        assert all(values.isfinite().all() for values in load_file(path).values())
    assert not (tmp_path / "model.safetensors").exists()


def test_weights_that_are_no_numbers_never_become_a_checkpoint(tmp_path, monkeypatch):
    """A gradient may overflow though the loss is finite."""
    from phenoloom.models.dino import Distillation

    def spoil(self, step):
        if step == 4:
            self.student[0].network.layernorm.weight.grad[0] = torch.inf

    monkeypatch.setattr(Distillation, "before_update", spoil)
    options = block(train={"checkpoint_every": 1, "clip_gradient": None})
    with pytest.raises(InputError, match=r"the weights are no numbers any more at step 5 \(epoch 2\)"):
        trained(tmp_path, options)
    path, state = checkpoints.find(tmp_path / "checkpoints" / "one")
    assert state["step"] == 4
    assert all(values.isfinite().all() for values in load_file(path).values())


@pytest.mark.slow
def test_two_processes_share_a_step_and_come_to_the_same_end(tmp_path):
    """Distributed training on CPUs, of the same batches: what one process does, up to the order of sums."""
    from phenoloom.models import dino
    from phenoloom.models.train import initial_network
    from phenoloom.training.data import Batches
    from phenoloom.training.fit import fit

    ends = []
    for processes in (1, 2):
        options = block(train={"checkpoint_every": 2})
        draw, _ = dino.sampling(split_of(["a"] * 32), np.arange(32), options, 1)
        learner = dino.learner(initial_network(options, 2, 1), options, 4, 1)
        folder = tmp_path / str(processes)
        folder.mkdir()
        record = fit(
            learner, Batches(Images(), draw, 8, 4, 1), options["train"], folder, threads=2, processes=processes
        )
        assert record["devices"] == processes and record["steps"] == 8
        ends.append(learner.backbone.state_dict())
    for name, values in ends[0].items():
        torch.testing.assert_close(ends[1][name], values, rtol=1e-3, atol=1e-4)


def test_the_log_has_a_row_per_step_with_the_scheduled_values(undisturbed):
    table = rows(undisturbed[1]["log"])
    assert [int(row["step"]) for row in table] == list(range(1, 13))
    assert [int(row["epoch"]) for row in table] == [1] * 4 + [2] * 4 + [3] * 4
    assert float(table[0]["learning_rate"]) == 0 and float(table[3]["learning_rate"]) == 1e-3
    assert float(table[0]["momentum"]) == 0.9
    assert all(0 <= float(row["data_wait"]) <= 1 and float(row["loss"]) > 0 for row in table)
    assert all(float(row["images_per_second"]) > 0 for row in table)


def test_training_leaves_the_settings_of_torch_as_they_were(tmp_path):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGTERM)
    trained(tmp_path, block(train={"epochs": 1}))
    after = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGTERM)
    assert after == before
