"""What all models that are trained here share: AdamW with scheduled rate and decay, and one seed per step."""

import torch
from pytorch_lightning import LightningModule

from phenoloom.training.randomness import key
from phenoloom.training.schedules import Schedule


class Learner(LightningModule):
    """A model in training.

    A kind of model gives `loss`, `passes` and `backbone`, which is saved, and maybe `before_update` and `after_update`.

    options: `train` of the config. steps_per_epoch: of this run. `schedules` maps names to functions of the step;
    `learning_rate` and `weight_decay` are applied here, the others are a kind's own; all are logged.
    """

    def __init__(self, options, steps_per_epoch, seed):
        super().__init__()
        self.steps_per_epoch, self.seed = steps_per_epoch, seed
        self.steps = options["epochs"] * steps_per_epoch
        warmup = self.in_steps(options["warmup_epochs"])
        self.schedules = {
            "learning_rate": Schedule(
                options["learning_rate"], options["final_learning_rate"], self.steps, min(warmup, self.steps)
            ),
            "weight_decay": Schedule(options["weight_decay"], options["final_weight_decay"], self.steps),
        }
        self.values = {}

    def in_steps(self, epochs):
        """Number of steps of a number of epochs."""
        return int(epochs * self.steps_per_epoch)

    def loss(self, batch):
        """Scalar loss of a batch (see data.Batches); `self.values` holds the scheduled values of its step."""
        raise NotImplementedError

    def passes(self):
        """[(views, side in pixels, how often a forward pass's operations), ...] of an image, for counting them."""
        raise NotImplementedError

    def networks(self):
        """Backbones that torch.compile is worth its while for."""
        return [self.backbone]

    @property
    def ended(self):
        """Whether training is over before its last step; a buffer should hold what says so, as part of a checkpoint."""
        return False

    def before_update(self, step):
        """Called when gradients are complete, before the weights change."""

    def after_update(self, step):
        """Called after the weights changed."""

    def training_step(self, batch, index):
        self.step = batch["step"]
        self.values = {name: schedule(self.step) for name, schedule in self.schedules.items()}
        for group in self.optimizers().param_groups:
            group["lr"] = self.values["learning_rate"]
            group["weight_decay"] = self.values["weight_decay"] if group["decays"] else 0.0
        # Dropout and the like follow the step, so that no generator's state is part of a checkpoint.
        torch.manual_seed(int(key(self.seed, self.step, self.global_rank)))
        return self.loss(batch)

    def on_before_optimizer_step(self, optimizer):
        self.before_update(self.step)

    def optimizer_step(self, *given, **named):
        super().optimizer_step(*given, **named)
        self.after_update(self.step)

    def configure_optimizers(self):
        """AdamW; biases and what normalises, which are vectors, do not decay."""
        trained = [values for values in self.parameters() if values.requires_grad]
        return torch.optim.AdamW(
            [
                {"params": [values for values in trained if values.ndim > 1], "decays": True},
                {"params": [values for values in trained if values.ndim <= 1], "decays": False},
            ],
            lr=0.0,
        )
