"""What a step sees follows from the seed and the step, and from nothing else."""

import numpy as np
import pytest
import torch
from training_model import Images

from phenoloom.training.data import Batches, EachOnce, Loader, Shuffles, reading_processes
from phenoloom.training.randomness import key, normal, uniform


def batches(n=20, batch=8, seed=1):
    return Batches(Images(n), EachOnce(np.arange(n), seed), batch, n // batch, seed)


def same(one, other):
    return all(torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name])) for name in one | other)


def test_a_step_is_the_same_whatever_was_asked_before_and_by_whomever_it_is_read():
    forward = list(Loader(batches(), 0, 6, workers=0))
    assert [batch["step"] for batch in forward] == list(range(6))
    again = batches()
    assert all(same(again[step], forward[step]) for step in (5, 0, 3))
    resumed = list(Loader(batches(), 4, 6, workers=2))
    assert all(same(one, other) for one, other in zip(resumed, forward[4:], strict=True))


def test_another_seed_gives_other_batches():
    assert not torch.equal(batches(seed=1)[0]["rows"], batches(seed=2)[0]["rows"])


def test_every_item_comes_once_before_any_comes_again():
    rows = torch.cat([batches()[step]["rows"] for step in range(5)]).numpy()
    assert all(sorted(part) == list(range(20)) for part in np.split(rows, 2))


def test_shuffles_differ_from_round_to_round():
    first, second = np.split(Shuffles(50, 3).at(np.arange(100)), 2)
    assert sorted(first) == sorted(second) == list(range(50)) and (first != second).any()


def test_processes_share_a_batch_that_is_that_of_one_process():
    whole = batches()[3]
    parts = [batches().of_process(rank, 2)[3] for rank in range(2)]
    for name in ("rows", "images", "keys"):
        assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])


def test_the_key_of_an_item_is_its_own_in_any_batch_and_no_two_places_share_one():
    rows = np.array([3, 1, 3, 2, 3])
    keys = batches()._keys(7, rows, 0)
    assert len(set(keys.tolist())) == 5
    alone = batches()._keys(7, np.array([3]), 0)
    assert keys[0] == alone[0]
    assert batches()._keys(8, np.array([3]), 0) != alone


def test_random_numbers_are_those_of_the_reference_generator():
    # SplitMix64 from state 0 (Vigna's reference implementation): its first three outputs, here without their low bits.
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    drawn = uniform(torch.zeros(1, dtype=torch.int64), 3)[0].double() * 2**24
    assert [int(value) for value in drawn] == [value >> 40 for value in first]


def test_random_numbers_are_uniform_and_normal():
    keys = key(5, torch.arange(2000))
    numbers = uniform(keys, 10)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers, 10, 0, 1)
    assert ((counts - 2000).abs() < 5 * np.sqrt(2000)).all()
    assert abs(np.corrcoef(numbers.T.numpy())[np.triu_indices(10, 1)]).max() < 0.12
    drawn = normal(keys, 10)
    assert abs(drawn.mean()) < 0.03 and abs(drawn.std() - 1) < 0.03 and drawn.isfinite().all()


@pytest.mark.parametrize(
    ("workers", "threads", "device", "expected"),
    [("auto", 4, "cpu", (0, 4)), ("auto", 4, "cuda", (3, 1)), ("auto", 1, "cuda", (0, 1)), (8, 4, "cuda", (3, 1))]
    + [(2, 4, "cpu", (2, 2)), (0, 4, "cuda", (0, 4))],
)
def test_reading_and_calculating_take_no_more_than_the_threads_of_the_job(workers, threads, device, expected):
    assert reading_processes(workers, threads, device) == expected
