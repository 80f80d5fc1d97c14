"""The loop: steps of a learner with checkpoints, so that a training that is killed goes on and ends the same."""

import contextlib
import logging
import math
import multiprocessing
import os
import re
import resource
import signal
import time
import warnings
from pathlib import Path

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment

from phenoloom.core.errors import InputError
from phenoloom.networks.device import choose_device
from phenoloom.training import checkpoints
from phenoloom.training.data import Loader, reading_processes
from phenoloom.training.logs import Log

#: What Slurm sends when a job's time is over or its node is needed, what it may be asked to send earlier, and Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
#: Rows of a batch that an error names.
NAMED = 20

log = logging.getLogger("phenoloom")


def fit(learner, batches, options, folder, *, threads=1, gpus=0, snapshots=(), save=None, processes=None):
    """Train `learner`, from its last checkpoint in `folder` if there is one; return what the card says about it.

    batches: data.Batches. options: `train` of the config. folder: of the checkpoints of this very training
    (checkpoints.prepare). snapshots: epochs after which `save(backbone, path)` writes the backbone to
    snapshot(folder, epoch). processes: that share a step, one per GPU by default. On return the learner holds the final
    weights, and `folder` a checkpoint of the end, training.csv and TensorBoard's files.
    A killed and resumed training on CPUs ends with the same weights, bit for bit, as one that ran through.
    Raises SystemExit when asked to end by a signal, after a checkpoint; InputError when the loss is no number.
    """
    device = choose_device(gpus).type
    processes = processes or _processes(options["devices"], gpus, device, batches.batch)
    path, state = checkpoints.find(folder)
    done = state["step"] if state else 0
    if not _over(state, learner):
        if done:
            print(f"training goes on after step {done:,} of {learner.steps:,}", flush=True)
        reading, calculating = reading_processes(options["workers"], max(1, threads // processes), device)
        loader = Loader(batches, done, learner.steps, reading, pin=device == "cuda")
        keeper = _Keeper(Path(folder), path, state, loader, options, snapshots, save)
        if options["compile"]:
            for network in learner.networks():
                network.compile()
        with _calculating(calculating, device), _passed_on(), _sentences():
            _trainer(options, device, processes, keeper).fit(learner, loader)
        path, state = checkpoints.find(folder)
        if not _over(state, learner):
            step = state["step"] if state else 0
            print(f"asked to end: stopped after step {step:,} of {learner.steps:,}; the same command goes on there")
            raise SystemExit(128 + signal.SIGTERM)
    checkpoints.restore(path, learner)
    return state["record"]


def _over(state, learner):
    """Whether a checkpoint's state is that of the end."""
    return state is not None and (state["step"] >= learner.steps or state["ended"])


def snapshot(folder, epoch):
    """Path of the weights after an epoch, beside the checkpoints."""
    return Path(folder) / "snapshots" / f"epoch{epoch:04d}.safetensors"


class _Keeper(Callback):
    """Saves, logs and watches a training step by step."""

    def __init__(self, folder, path, state, loader, options, snapshots, save):
        self.folder, self.path, self.loader, self.options = folder, path, loader, options
        self.snapshots, self.save = set(snapshots), save
        self.before = state["record"] if state else {"seconds": 0.0, "waited": 0.0, "attempts": 0}
        self.scaler = state["scaler"] if state else None
        self.stop, self.journal = False, None

    def on_train_start(self, trainer, learner):
        """Lightning has set up optimizers and signals by now; both are put right here."""
        for number in SIGNALS:
            signal.signal(number, self._asked_to_end)
        if self.path is not None:
            checkpoints.restore(self.path, learner, trainer.optimizers[0])
            if self.scaler:
                trainer.precision_plugin.load_state_dict(self.scaler)
        self.started = time.perf_counter()
        if trainer.is_global_zero:
            images = self.loader.batches.batch
            self.journal = Log(self.folder, self.loader.start, learner.steps, learner.steps_per_epoch, images)

    def on_before_backward(self, trainer, learner, loss):
        """A loss that is no number ends the training before it reaches the weights, in all processes alike."""
        loss = trainer.strategy.reduce(loss.detach(), reduce_op="mean")
        self.loss = float(loss) * self.options["accumulate"]
        if not math.isfinite(self.loss):
            raise self._diverged(f"the loss is {self.loss}", trainer, learner)

    def on_train_batch_end(self, trainer, learner, outputs, batch, index):
        done = learner.step + 1
        if self.journal is not None:
            self.journal.step(done, self.loss, learner.values, self.loader.waited)
        epoch, rest = divmod(done, learner.steps_per_epoch)
        if not rest and epoch in self.snapshots and trainer.is_global_zero:
            self.save(learner.backbone, snapshot(self.folder, epoch))
        # Gradients that wait to be added to are in no checkpoint: it is written when weights have changed only.
        whole = (index + 1) % self.options["accumulate"] == 0
        if not whole and done < learner.steps:
            return
        stop = trainer.strategy.reduce_boolean_decision(self.stop, all=False)
        if stop or learner.ended or done == learner.steps or self._due(done):
            self._checkpoint(trainer, learner, done)
        trainer.should_stop = stop or learner.ended

    def on_train_end(self, trainer, learner):
        self._close()

    def on_exception(self, trainer, learner, error):
        self._close()

    def _close(self):
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def _due(self, done):
        """Whether a multiple of checkpoint_every lies among the steps since the weights changed last."""
        every, accumulate = self.options["checkpoint_every"], self.options["accumulate"]
        return done // every > (done - accumulate) // every

    def _diverged(self, what, trainer, learner):
        """The error of a training that came to no number, which names its step, epoch and items."""
        epoch = learner.step // learner.steps_per_epoch + 1
        drawn = self.loader.batches.rows(learner.step)
        if trainer.is_global_zero:
            print(f"rows of the split in the batch of step {learner.step + 1}: {drawn}", flush=True)
        rows = ", ".join(map(str, drawn[:NAMED])) + (" ..." if len(drawn) > NAMED else "")
        return InputError(
            f"{what} at step {learner.step + 1} (epoch {epoch}), in a batch of the items in rows {rows} of the model's "
            "split; lower learning_rate or set clip_gradient (the last checkpoint stays)"
        )

    def _checkpoint(self, trainer, learner, done):
        # A finite loss may still have had a gradient that was none.
        if not all(bool(values.isfinite().all()) for values in learner.parameters()):
            raise self._diverged("the weights are no numbers any more", trainer, learner)
        if trainer.is_global_zero:
            state = {
                "step": done,
                "ended": learner.ended,
                "scaler": trainer.precision_plugin.state_dict(),
                "record": self._record(trainer, learner, done),
            }
            checkpoints.save(self.folder, learner, trainer.optimizers[0], state)
        trainer.strategy.barrier()

    def _record(self, trainer, learner, done):
        """What the card says of the training so far, all attempts together."""
        seconds = self.before["seconds"] + time.perf_counter() - self.started
        waited = self.before["waited"] + self.loader.waited
        cuda = learner.device.type == "cuda"
        images = self.loader.batches.batch * done
        return {
            "steps": done,
            "epochs": done / learner.steps_per_epoch,
            "images": images,
            "final_loss": self.loss,
            "seconds": seconds,
            "waited": waited,
            "data_wait": waited / seconds,
            "images_per_second": images / seconds,
            "attempts": self.before["attempts"] + 1,
            "precision": trainer.precision,
            "devices": trainer.world_size,
            "device": torch.cuda.get_device_name(learner.device) if cuda else "CPU",
            "peak_memory_mb": max(self.before.get("peak_memory_mb", 0), _peak_memory()),
            "peak_device_memory_mb": torch.cuda.max_memory_allocated(learner.device) / 2**20 if cuda else None,
        }

    def _asked_to_end(self, number, frame):
        self.stop = True


def _trainer(options, device, processes, keeper):
    """Lightning's trainer: one pass over the loader, whose batches are those from the first step to the last."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    return Trainer(
        accelerator=device if device == "cuda" else "cpu",
        devices=processes,
        strategy="auto" if processes == 1 else "ddp_spawn",
        precision=_precision(options["precision"], device),
        max_epochs=1,
        accumulate_grad_batches=options["accumulate"],
        gradient_clip_val=options["clip_gradient"],
        deterministic=device != "cuda",
        callbacks=[keeper],
        # Snakemake and Slurm start one process, whatever Slurm's variables make of it; and they start it again.
        plugins=[LightningEnvironment()],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def _precision(wanted, device):
    if device != "cuda" or str(wanted) == "32":
        return "32-true"
    half = torch.cuda.is_bf16_supported() if wanted == "auto" else wanted == "bf16"
    return "bf16-mixed" if half else "16-mixed"


def _processes(devices, gpus, device, batch):
    """Processes that share a step: as many as there are GPUs to use, if they can share the batch evenly."""
    if device != "cuda":
        return 1
    here = min(devices, gpus, torch.cuda.device_count())
    return max(number for number in range(1, here + 1) if batch % number == 0)


@contextlib.contextmanager
def _calculating(threads, device):
    """Torch takes `threads` cores; on CPUs the order of its sums is fixed, and stays so."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    settings = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    # Nothing here reads memory before it is written, and to fill all of it takes some percent of the time.
    settings.fill_uninitialized_memory = False
    torch.set_num_threads(threads)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        settings.fill_uninitialized_memory = filled


@contextlib.contextmanager
def _passed_on():
    """Signals that arrive here reach the processes that share the work; without any they end this one, as ever."""

    def pass_on(number, frame):
        children = [child.pid for child in multiprocessing.active_children()]
        for child in children:
            os.kill(child, number)
        if not children:
            raise SystemExit(128 + number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _sentences():
    """An InputError of a process that shares the work is one here, too."""
    try:
        yield
    except torch.multiprocessing.ProcessRaisedException as error:
        found = re.search(r"InputError: (.+)", str(error))
        if found is None:
            raise
        raise InputError(found[1]) from error


def _peak_memory():
    """Most memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
