"""DINO's loss, centre, teacher and head against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from training_model import Images, block, split_of, trained

from phenoloom.models import dino
from phenoloom.models.train import initial_network
from phenoloom.networks import weights
from phenoloom.training.data import Batches


def softmax(values):
    raised = np.exp(values - values.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def distillation(**changes):
    options = block(**changes)
    return dino.learner(initial_network(options, 2, 1), options, 4, 1)


def batch(step=0):
    draw, _ = dino.sampling(split_of(["a"] * 32), np.arange(32), None, 1)
    return Batches(Images(), draw, 8, 4, 1)[step]


def test_the_loss_is_the_cross_entropy_over_pairs_of_different_views():
    rng = np.random.default_rng(0)
    said, truth = rng.normal(size=(4, 3, 5)), rng.normal(size=(2, 3, 5))
    centre = rng.normal(size=5)
    expected = []
    for teacher in range(2):
        for student in range(4):
            if student != teacher:
                target = softmax((truth[teacher] - centre) / 0.04)
                expected.append(-(target * np.log(softmax(said[student] / 0.1))).sum(axis=1).mean())
    loss = dino.DistillationLoss(5, student_temperature=0.1, centre_momentum=0.9)
    loss.centre[:] = torch.from_numpy(centre)
    given = [list(torch.from_numpy(views).float()) for views in (said, truth)]
    assert float(loss(*given, 0.04)) == pytest.approx(np.mean(expected), rel=1e-5)
    assert len(expected) == 6


def test_the_centre_is_subtracted_so_that_what_the_teacher_always_says_counts_for_nothing():
    loss = dino.DistillationLoss(3, 0.1, 0.9)
    loss.centre[:] = torch.tensor([5.0, 0.0, 0.0])
    always = [torch.tensor([[5.0, 0.0, 0.0]])] * 2
    uniform = float(loss([torch.zeros(1, 3)] * 2, always, 0.04))
    loss.centre[:] = torch.tensor([5.0, 0.0, 0.0])
    preferring = float(loss([torch.tensor([[1.0, 0.0, 0.0]])] * 2, always, 0.04))
    # The centred teacher is undecided, so that a student that prefers its usual answer is worse, not better.
    assert uniform == pytest.approx(np.log(3)) and preferring > uniform


def test_the_centre_follows_the_mean_of_what_the_teacher_says():
    loss = dino.DistillationLoss(4, 0.1, 0.9)
    rng = np.random.default_rng(0)
    expected = np.zeros(4)
    for _ in range(3):
        truth = rng.normal(size=(2, 6, 4)).astype(np.float32)
        loss(list(torch.from_numpy(truth)), list(torch.from_numpy(truth)), 0.04)
        expected = 0.9 * expected + 0.1 * truth.reshape(-1, 4).mean(axis=0)
    np.testing.assert_allclose(loss.centre.numpy()[0], expected, rtol=1e-5)


def test_the_teacher_is_a_moving_average_of_the_student():
    model = distillation()
    before = [values.clone() for values in model.teacher.parameters()]
    with torch.no_grad():
        for values in model.student.parameters():
            values += torch.randn(values.shape)
    student = [values.clone() for values in model.student.parameters()]
    model.values = {"momentum": 0.75}
    model.after_update(0)
    for mean, old, new in zip(model.teacher.parameters(), before, student, strict=True):
        np.testing.assert_allclose(mean.numpy(), 0.75 * old.numpy() + 0.25 * new.detach().numpy(), atol=1e-6)


def test_student_and_teacher_start_the_same_and_only_the_student_learns():
    model = distillation()
    assert all(
        torch.equal(one, other)
        for one, other in zip(model.student.parameters(), model.teacher.parameters(), strict=True)
    )
    model.values = {"temperature": 0.04}
    model.loss(batch()).backward()
    assert all(values.grad is None for values in model.teacher.parameters())
    assert all(values.grad is not None for values in model.student.parameters() if values.requires_grad)


def test_the_rows_of_the_heads_last_layer_have_length_1_and_it_sees_vectors_of_length_1():
    head = dino.Head(16, block()["head"])
    head.last.weight.data *= 3
    outputs = head(torch.randn(5, 16))
    assert outputs.abs().max() <= 1 + 1e-6
    said = torch.nn.functional.normalize(head.layers(torch.ones(1, 16)), dim=1)
    rows = head.last.weight / head.last.weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head(torch.ones(1, 16)), said @ rows.T)
    assert [layer.weight.shape for layer in head.layers if hasattr(layer, "weight")] == [(32, 16), (16, 32)]
    assert not head.last.length.requires_grad
    assert dino.Head(16, {**block()["head"], "normalize_last": False}).last.length.requires_grad


def test_the_last_layer_waits_in_the_first_epochs_and_then_learns():
    model = distillation()
    last = model.student[1].last
    model.values = {"temperature": 0.04}
    for step, learns in ((3, False), (4, True)):
        model.loss(batch()).backward()
        model.before_update(step)
        assert (last.weight.grad is not None) == learns
        assert model.student[0].network.layers[0] is not None


def test_the_student_sees_all_views_and_the_teacher_the_large_ones(monkeypatch):
    model = distillation()
    seen = []
    real = dino._outputs
    monkeypatch.setattr(
        dino, "_outputs", lambda network, views: seen.append([tuple(v.shape) for v in views]) or real(network, views)
    )
    model.values = {"temperature": 0.04}
    model.loss(batch())
    large, small = (16, 2, 16, 16), (16, 2, 8, 8)
    assert seen == [[large], [large, small]]


def test_the_weights_that_are_kept_are_those_of_the_teacher(monkeypatch, tmp_path):
    kept = {}
    real = dino.Distillation.after_update

    def after_update(self, step):
        real(self, step)
        kept.update({name: values.clone() for name, values in self.teacher[0].network.state_dict().items()})

    monkeypatch.setattr(dino.Distillation, "after_update", after_update)
    paths, _ = trained(tmp_path, block())
    backbone, header = weights.load(paths["weights"])
    assert header["kind"] == "dino" and header["channels"] == ["Channel0", "Channel1"]
    for name, values in backbone.network.state_dict().items():
        assert torch.equal(values, kept[name])
