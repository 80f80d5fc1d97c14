"""DINO: a student learns to say of any crop of an image what its teacher, its own moving average, says of a large one.

Source: Caron et al. 2021, doi:10.1109/ICCV48922.2021.00951, where the centre is subtracted from what the teacher says.
"""

import copy

import torch
from torch import nn
from torch.nn import functional

from phenoloom.training.augmentation import crops
from phenoloom.training.data import EachOnce
from phenoloom.training.learner import Learner
from phenoloom.training.schedules import Schedule, constant


def learner(backbone, block, steps_per_epoch, seed):
    """The model in training, whose student starts as `backbone`. block: the model's config."""
    return Distillation(backbone, block, steps_per_epoch, seed)


def sampling(split, rows, block, seed):
    """(draw, notes): how items are drawn (see data.Batches), and [(reason, unit, count), ...] for the ledger."""
    return EachOnce(rows, seed), []


class Distillation(Learner):
    """Student and teacher, each a backbone and a head. The teacher's backbone is saved, as in DINO's evaluation."""

    def __init__(self, backbone, block, steps_per_epoch, seed):
        super().__init__(block["train"], steps_per_epoch, seed)
        teacher, self.head_options = block["teacher"], block["head"]
        self.student = nn.ModuleList([backbone, Head(backbone.dim, self.head_options)])
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.criterion = DistillationLoss(
            self.head_options["out"], teacher["student_temperature"], teacher["centre_momentum"]
        )
        self.large, self.small = crops(block["views"])
        self.schedules |= {
            "momentum": Schedule(teacher["momentum"], teacher["final_momentum"], self.steps),
            "temperature": constant(
                teacher["temperature"], self.in_steps(teacher["warmup_epochs"]), teacher["warmup_temperature"]
            ),
        }

    @property
    def backbone(self):
        return self.teacher[0]

    def networks(self):
        return [self.student[0], self.teacher[0]]

    def loss(self, batch):
        """Loss of a batch; with `partners` the small crops are of these (WS-DINO)."""
        with torch.no_grad():
            large = self.large(batch["images"], batch["keys"])
            views = [large]
            if self.small is not None:
                whose = ("partners", "partner_keys") if "partners" in batch else ("images", "keys")
                views.append(self.small(*(batch[name] for name in whose)))
            truth = _outputs(self.teacher, [large])
        said = _outputs(self.student, views)
        n = len(batch["images"])
        return self.criterion(said.split(n), truth.split(n), self.values["temperature"])

    def passes(self):
        """A training pass counts three times (forward, and twice that backward), the teacher's once."""
        large = [(self.large.count, self.large.size, 4)]
        return large + ([(self.small.count, self.small.size, 3)] if self.small else [])

    def before_update(self, step):
        """In the first epochs the head's last layer stays as it is, which steadies the start."""
        if step < self.head_options["freeze_last_epochs"] * self.steps_per_epoch:
            for values in self.student[1].last.parameters():
                values.grad = None

    @torch.no_grad()
    def after_update(self, step):
        """The teacher follows the student: momentum * teacher + (1 - momentum) * student."""
        momentum = self.values["momentum"]
        for mean, values in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mean.mul_(momentum).add_(values, alpha=1 - momentum)


class Head(nn.Module):
    """Projection of DINO: layers with GELU, a bottleneck of length 1, and a linear layer whose rows have length 1.

    options: `layers` before the last, `hidden`, `bottleneck`, `out`, `normalize_last` (without it rows have a length
    that is learned).
    """

    def __init__(self, dim, options):
        super().__init__()
        widths = [dim, *[options["hidden"]] * (options["layers"] - 1), options["bottleneck"]]
        layers = []
        for number in range(options["layers"]):
            layers += [nn.GELU()] if number else []
            layers.append(nn.Linear(widths[number], widths[number + 1]))
        self.layers = nn.Sequential(*layers)
        self.last = _UnitRows(options["bottleneck"], options["out"], learned_length=not options["normalize_last"])
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, vectors):
        return self.last(functional.normalize(self.layers(vectors), dim=-1))


class _UnitRows(nn.Module):
    """Linear layer without bias, its weights normalised by row (weight normalisation, Salimans and Kingma 2016)."""

    def __init__(self, dim, out, learned_length):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.length = nn.Parameter(torch.ones(out, 1), requires_grad=learned_length)

    def forward(self, vectors):
        return functional.linear(vectors, functional.normalize(self.weight, dim=1) * self.length)


class DistillationLoss(nn.Module):
    """Cross-entropy between teacher and student over all pairs of different views, and the teacher's centre.

    The teacher's distribution is softmax((outputs - centre) / temperature); the centre is a moving average of the mean
    of its outputs, updated after the loss.
    """

    def __init__(self, out, student_temperature, centre_momentum):
        super().__init__()
        self.student_temperature, self.centre_momentum = student_temperature, centre_momentum
        self.register_buffer("centre", torch.zeros(1, out))

    def forward(self, said, truth, temperature):
        """Scalar. said: student's outputs (n, out) of each view, large ones first. truth: teacher's, of large ones."""
        told = [functional.log_softmax(one.float() / self.student_temperature, dim=-1) for one in said]
        targets = [functional.softmax((one.float() - self.centre) / temperature, dim=-1) for one in truth]
        losses = [
            -(target * answer).sum(dim=-1).mean()
            for number, target in enumerate(targets)
            for view, answer in enumerate(told)
            if view != number
        ]
        self._follow(torch.cat(truth).float())
        return torch.stack(losses).mean()

    @torch.no_grad()
    def _follow(self, outputs):
        mean = outputs.mean(dim=0, keepdim=True)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(mean)
            mean /= torch.distributed.get_world_size()
        self.centre.mul_(self.centre_momentum).add_(mean, alpha=1 - self.centre_momentum)


def _outputs(network, views):
    """Head's outputs of views of several sizes; each size goes through the backbone together."""
    backbone, head = network
    return head(torch.cat([backbone(view) for view in views]))
