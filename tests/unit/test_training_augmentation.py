"""Views: where they lie, what they keep, and that each depends on its image and key only."""

import numpy as np
import pytest
import torch

from phenoloom.training.augmentation import Views
from phenoloom.training.randomness import key

PLAIN = {"aspect": 4 / 3, "flips": False, "rotate": False, "brightness": 0, "contrast": 0, "blur": 0, "noise": 0}
ALL = {"aspect": 4 / 3, "flips": True, "rotate": True, "brightness": 0.3, "contrast": 0.3, "blur": 1.0, "noise": 0.2}


def images(n=6, channels=3, height=32, width=40, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, channels, height, width)).astype(np.float32))


def ramps(height, width):
    """One image whose two channels are the x and y of each pixel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y])[None].float()


def keys(n):
    return key(1, torch.arange(n))


def test_a_view_depends_on_its_image_and_key_only():
    views = Views(3, 16, (0.2, 0.8), ALL, 0)
    together = views(images(), keys(6)).reshape(3, 6, 3, 16, 16)
    order = torch.tensor([4, 1])
    apart = views(images()[order], keys(6)[order]).reshape(3, 2, 3, 16, 16)
    torch.testing.assert_close(apart, together[:, order], rtol=0, atol=1e-5)
    assert torch.equal(views(images(), keys(6)), views(images(), keys(6)))


def test_views_of_other_keys_roles_and_numbers_differ():
    views = Views(2, 16, (0.2, 0.8), ALL, 0)(images(1), keys(1))
    assert not torch.allclose(views[0], views[1])
    assert not torch.allclose(views, Views(2, 16, (0.2, 0.8), ALL, 1)(images(1), keys(1)))
    assert not torch.allclose(views, Views(2, 16, (0.2, 0.8), ALL, 0)(images(1), keys(1) + 1))


def test_a_view_of_the_whole_image_at_its_size_is_the_image():
    view = Views(1, 32, (1.0, 1.0), PLAIN, 0)
    view._grid = lambda numbers, height, width: Views._grid(view, torch.full_like(numbers, 0.5), height, width)
    torch.testing.assert_close(view(images(height=32, width=32), keys(6)), images(height=32, width=32))


def test_crops_lie_inside_and_cover_the_asked_share_of_the_image():
    crops = Views(400, 12, (0.2, 0.5), PLAIN, 0)(ramps(60, 60), keys(1))
    x, y = crops[:, 0], crops[:, 1]
    assert x.min() >= 0 and x.max() <= 59
    wide = (x[:, 0, -1] - x[:, 0, 0]) * 12 / 11
    high = (y[:, -1, 0] - y[:, 0, 0]) * 12 / 11
    share = wide * high / 3600
    assert share.min() > 0.18 and share.max() < 0.52
    assert 0.33 < share.mean() < 0.37
    assert (wide / high).min() > 0.73 and (wide / high).max() < 1.36
    # Positions are spread over all that there is room for.
    assert x[:, 0, 0].min() < 3 and x[:, 0, -1].max() > 56


def test_with_an_aspect_of_1_and_one_scale_a_view_only_moves():
    view = Views(50, 24, (0.16, 0.16), {**PLAIN, "aspect": 1}, 0)
    x, y = view(ramps(60, 60), keys(1)).unbind(dim=1)
    for steps in (x.diff(dim=2), y.diff(dim=1)):
        torch.testing.assert_close(steps, torch.ones_like(steps), rtol=0, atol=1e-4)


def test_quarter_turns_and_flips_give_the_eight_ways_to_lay_a_square():
    seen = set()
    view = Views(200, 4, (1.0, 1.0), {**PLAIN, "flips": True, "rotate": True}, 0)
    for x, y in view(ramps(32, 32), keys(1)):
        steps = torch.stack([x[0, -1] - x[0, 0], x[-1, 0] - x[0, 0], y[0, -1] - y[0, 0], y[-1, 0] - y[0, 0]])
        seen.add(tuple(torch.sign(steps.round()).int().tolist()))
    assert len(seen) == 8


def test_nothing_is_skipped_over_where_a_view_is_far_smaller_than_its_crop():
    board = (torch.arange(128)[:, None] + torch.arange(128)) % 2
    view = Views(4, 16, (0.9, 1.0), PLAIN, 0)(board[None, None].float(), keys(1))
    assert view.std() < 0.1 and abs(view.mean() - 0.5) < 0.02
    # Positions stay right where the factor of the averaging does not divide the image.
    x = Views(50, 16, (1.0, 1.0), PLAIN, 0)(ramps(131, 131), keys(1))[:, 0]
    assert x[:, :, 0].min() > 3 and x[:, :, -1].max() < 128


def test_intensities_change_by_what_was_asked_for():
    flat = images(4, 2, 32, 32)
    shifted = Views(50, 16, (1.0, 1.0), {**PLAIN, "brightness": 0.5}, 0)(flat, keys(4))
    plain = Views(50, 16, (1.0, 1.0), PLAIN, 0)(flat, keys(4))
    change = (shifted - plain).flatten(2)
    torch.testing.assert_close(change.std(dim=2), torch.zeros(200, 2), rtol=0, atol=1e-6)
    deviation = flat.std(dim=(2, 3), correction=0).repeat(50, 1)
    assert 0.45 < (change[..., 0] / deviation).max() <= 0.5
    noisy = Views(50, 16, (1.0, 1.0), {**PLAIN, "noise": 0.3}, 0)(flat, keys(4)) - plain
    assert abs(noisy.std() / deviation.mean() - 0.3) < 0.01
    steep = Views(50, 16, (1.0, 1.0), {**PLAIN, "contrast": 0.4}, 0)(flat, keys(4))
    ratio = steep.flatten(2).std(dim=2) / plain.flatten(2).std(dim=2)
    assert 0.59 < ratio.min() < 0.7 and 1.3 < ratio.max() < 1.41


def test_half_of_the_views_are_blurred():
    flat = images(8, 1, 32, 32)
    plain = Views(25, 16, (1.0, 1.0), PLAIN, 0)(flat, keys(8))
    blurred = Views(25, 16, (1.0, 1.0), {**PLAIN, "blur": 2.0}, 0)(flat, keys(8))
    changed = ~(blurred == plain).flatten(1).all(dim=1)
    assert 70 < changed.sum() < 130
    assert blurred[changed].std() < 0.8 * plain[changed].std()


@pytest.mark.parametrize("options", [PLAIN, ALL])
def test_a_black_image_stays_finite(options):
    assert Views(2, 16, (0.1, 1.0), options, 0)(torch.zeros(2, 3, 30, 20), keys(2)).isfinite().all()
