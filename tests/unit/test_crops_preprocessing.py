"""From images of different sizes to one stack: background, canvas, rescaling, bad events."""

import numpy as np
import pytest

from phenoloom.core.errors import InputError
from phenoloom.core.ledger import Ledger
from phenoloom.crops import (
    FRAME,
    background_levels,
    canvas_size,
    channel_scale,
    find_bad,
    object_centres,
    place,
    rescale,
    write_stack,
    wrong_pages,
)
from phenoloom.crops.background import border_pixels, half_sample_mode


def noise(events=3, channels=2, shape=(20, 24), level=100, seed=0):
    return np.random.default_rng(seed).normal(level, 5, (events, channels, *shape)).astype(np.float32)


def with_cell(images, height=500):
    images[..., 8:14, 9:16] += height
    return images


def test_the_border_holds_each_pixel_once():
    image = np.arange(30).reshape(5, 6)
    assert sorted(border_pixels(image)) == sorted({*image[0], *image[-1], *image[:, 0], *image[:, -1]})
    assert sorted(border_pixels(image, 9)) == list(range(30))


@pytest.mark.parametrize("method", ["median", "mode", "percentile"])
def test_the_background_is_that_of_the_border_and_not_of_the_cell(method):
    images = with_cell(noise())
    level = background_levels(images, method, percentile=50)
    assert level.shape == (3, 2)
    np.testing.assert_allclose(level, 100, atol=4)


def test_the_mode_holds_where_a_neighbour_covers_half_of_the_border():
    images = noise(1, 1, (60, 60))
    images[..., :29, :] = 900
    assert background_levels(images, "mode")[0, 0] == pytest.approx(100, abs=5)


def test_the_half_sample_mode_of_known_samples():
    assert half_sample_mode(np.array([1.0, 2, 2.1, 2.2, 9, 20])) == pytest.approx(2.15, abs=0.1)
    assert half_sample_mode(np.array([4.0])) == 4
    assert half_sample_mode(np.array([[1.0, 2, 5], [1, 4, 5]])).tolist() == [1.5, 4.5]


def test_a_constant_background_per_channel_and_none():
    images = noise()
    np.testing.assert_array_equal(background_levels(images, "constant", value=[3, 4]), [[3, 4]] * 3)
    assert not background_levels(images, "none").any()
    with pytest.raises(InputError, match="3 values for 2 channels"):
        background_levels(images, "constant", value=[1, 2, 3])
    with pytest.raises(InputError, match="'mean'"):
        background_levels(images, "mean")


def test_the_canvas_is_the_largest_a_percentile_or_given():
    sizes = [(40, 100)] * 98 + [(60, 100), (900, 100)]
    assert canvas_size(sizes) == (900, 100)
    assert canvas_size(sizes, "percentile", 98) == (60, 100)
    assert canvas_size([], [64, 32]) == (64, 32)
    with pytest.raises(InputError, match="no image"):
        canvas_size([])
    with pytest.raises(InputError, match="'square'"):
        canvas_size(sizes, "square")
    with pytest.raises(InputError, match="at least 1"):
        canvas_size(sizes, [0, 10])


def test_padding_is_zero_and_the_image_lies_in_the_middle():
    images = noise(2, 1, (5, 4))
    canvas, offsets = place(images, (9, 10), object_centres(images))
    assert offsets.tolist() == [[2, 3]] * 2
    np.testing.assert_array_equal(canvas[:, :, 2:7, 3:7], images)
    assert np.count_nonzero(canvas) == images.size


def test_a_large_image_is_cropped_around_its_object():
    images = np.zeros((2, 1, 30, 40), np.float32)
    images[0, 0, 20:23, 8:11] = 1
    images[1, 0, 28, 39] = 1
    for centre in ("centroid", "brightest"):
        canvas, offsets = place(images, (11, 11), object_centres(images, centre))
        assert canvas.sum(axis=(1, 2, 3)).tolist() == [9, 1], "the object is whole"
        assert offsets[1].tolist() == [-19, -29], "the window stays inside the image"
    middle, _ = place(images, (11, 11), object_centres(images))
    assert not middle.any()


def test_an_image_that_fits_is_never_cut():
    images = np.zeros((1, 1, 10, 10), np.float32)
    images[0, 0, 0, 0] = 1
    canvas, _ = place(images, (12, 12), object_centres(images, "brightest"))
    assert canvas.sum() == 1
    np.testing.assert_array_equal(object_centres(np.zeros((1, 1, 5, 7)), "brightest"), [[2, 3]])


def test_rescaling_takes_a_channel_to_the_unit_range_or_to_z_scores():
    stack = noise(300, 2, (32, 32))
    stack[:, 1] *= 7
    shift, scale = channel_scale(stack, "z")
    np.testing.assert_allclose(shift, stack.mean(axis=(0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(scale, stack.std(axis=(0, 2, 3)), rtol=1e-4)
    shift, scale = channel_scale(stack, "unit", (1, 99))
    low, high = np.percentile(stack, [1, 99], axis=(0, 2, 3))
    np.testing.assert_allclose(
        rescale(stack, shift, scale), (stack - low[:, None, None]) / (high - low)[:, None, None], atol=1e-3
    )
    assert [part.tolist() for part in channel_scale(stack, "none")] == [[0, 0], [1, 1]]


def test_padding_and_nan_do_not_count_for_the_scale_and_a_constant_channel_stays():
    stack = np.zeros((4, 2, 20, 20), np.float32)
    stack[:, 0, 5:15, 5:15] = noise(4, 1, (10, 10))[:, 0]
    stack[0, 0, 6, 6] = np.nan
    shift, scale = channel_scale(stack, "z", frames=np.tile([5, 5, 10, 10], (4, 1)))
    assert shift[0] == pytest.approx(100, abs=2)
    assert scale[0] == pytest.approx(5, rel=0.2)
    assert (shift[1], scale[1]) == (0, 1)
    with pytest.raises(InputError, match="'log'"):
        channel_scale(stack, "log")


def test_each_kind_of_bad_event_has_its_reason():
    images = with_cell(noise(6))
    images[1] = noise(1, seed=9)
    images[2, 1, 0, 0] = np.nan
    images[3, 0, 8:14, 9:16] = 4095
    images[4] = noise(1, seed=8)
    images[4, :, :6, 9:16] += 500
    images[5] = 0
    level = background_levels(images)
    reasons = find_bad(images, level, saturation=4095, saturated=0.05, cut_off=0.1)
    expected = ["", "empty", "NaN", "saturated", "cut off", "empty"]
    assert all(word in reason and bool(word) == bool(reason) for word, reason in zip(expected, reasons, strict=True))
    assert [bool(reason) for reason in find_bad(images, level)] == [False, True, True, False, False, True]


def test_a_signal_in_one_channel_is_enough():
    images = noise(1)
    images[0, 1, 5:9, 5:9] += 200
    assert find_bad(images, background_levels(images)) == [""]


def test_an_integer_type_is_saturated_at_its_maximum_and_a_sample_at_a_given_value():
    images = with_cell(noise(2)).astype(np.uint16)
    images[0, 0, 8:14, 9:16] = 65535
    level = background_levels(images)
    assert [bool(reason) for reason in find_bad(images, level)] == [True, False]
    clipped = np.minimum(images, 550)
    assert all(find_bad(clipped, level, saturation=clipped.max(axis=(0, 2, 3))))
    assert find_bad(images, level, saturation="none") == ["", ""]
    with pytest.raises(InputError, match="'auto'"):
        find_bad(images, level, saturation="auto")


def test_pages_and_types_that_are_no_event_are_named():
    assert wrong_pages(np.zeros((3, 4, 4)), 3) == ""
    assert "2 pages instead of 3" in wrong_pages(np.zeros((2, 4, 4)), 3)
    assert "2 dimensions" in wrong_pages(np.zeros((4, 4)), 3)
    assert "bool" in wrong_pages(np.zeros((3, 4, 4), bool), 3)
    assert "no pixels" in wrong_pages(np.zeros((3, 0, 4)), 3)


def test_a_stack_holds_the_good_events_in_order_and_the_ledger_the_others(tmp_path):
    images = [with_cell(noise(1, 2, (20 + 4 * (k % 3), 24), seed=k))[0] for k in range(10)]
    images[3] = images[3][:1]
    images[7] = noise(1, 2, seed=70)[0]
    ledger = Ledger("stacks", plate="S1")
    path = tmp_path / "S1.npy"
    table = write_stack(path, enumerate(images), ["A", "B"], (28, 24), ledger)
    stack = np.load(path, mmap_mode="r")
    assert stack.shape == (8, 2, 28, 24)
    assert stack.dtype == np.float32
    assert table["Metadata_Event"].tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    assert [(row["site"], row["unit"], row["plate"]) for row in ledger.rows] == [
        ("3", "event", "S1"),
        ("7", "event", "S1"),
    ]
    for row, event in zip(stack, table.itertuples(), strict=True):
        top, left, height, width = (getattr(event, name) for name in FRAME)
        assert (
            (height, width) == (event.Original_Height, event.Original_Width) == images[event.Metadata_Event].shape[1:]
        )
        expected = images[event.Metadata_Event] - np.float32([event.Background_A, event.Background_B])[:, None, None]
        np.testing.assert_array_equal(row[:, top : top + height, left : left + width], expected)
        assert np.count_nonzero(row) == np.count_nonzero(expected)


def test_the_same_images_give_the_same_bytes_whatever_the_batches(tmp_path, monkeypatch):
    images = [with_cell(noise(1, 2, (20, 24), seed=k))[0] for k in range(7)]
    for name, batch in (("one", 256), ("two", 2)):
        monkeypatch.setattr("phenoloom.crops.stack.BATCH", batch)
        write_stack(tmp_path / name, enumerate(images), ["A", "B"], (24, 24), Ledger("stacks"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_sample_without_a_usable_event_says_so(tmp_path):
    with pytest.raises(InputError, match="none of 1 events"):
        write_stack(tmp_path / "s.npy", [(0, np.zeros((2, 9, 9)))], ["A", "B"], (9, 9), Ledger("stacks"))
    with pytest.raises(InputError, match="'RNA'"):
        write_stack(tmp_path / "s.npy", [], ["A"], (9, 9), Ledger("stacks"), centre="brightest", centre_channel="RNA")
