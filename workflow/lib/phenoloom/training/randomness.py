"""Random numbers by key: the same key gives the same numbers on any device, in any batch, in any order.

SplitMix64 as a function of a counter (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195) on whole tensors; the
state of no generator is to be kept, so that training goes on exactly where it was stopped.
"""

import math

import torch

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def key(*parts):
    """int64 tensor, one key per element: a hash of integers and int64 tensors, which are broadcast."""
    hashed = torch.zeros((), dtype=torch.int64)
    for part in parts:
        part = part if isinstance(part, torch.Tensor) else torch.tensor(_signed(part), dtype=torch.int64)
        hashed = _mix((hashed.to(part.device) ^ part) + _GOLDEN)
    return hashed


def uniform(keys, count):
    """(n, count) float32 in [0, 1) from keys (n,)."""
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device)
    return (_mix(keys[:, None] + counter * _GOLDEN) >> 40 & 0xFFFFFF).to(torch.float32) / 2**24


def normal(keys, count):
    """(n, count) float32 from the standard normal distribution, from keys (n,) (Box and Muller)."""
    first, second = uniform(keys, 2 * count).chunk(2, dim=1)
    return torch.sqrt(-2 * torch.log1p(-first)) * torch.cos(2 * math.pi * second)


def _mix(value):
    value = (value ^ _shifted(value, 30)) * _FIRST
    value = (value ^ _shifted(value, 27)) * _SECOND
    return value ^ _shifted(value, 31)


def _shifted(value, bits):
    """Shift to the right that brings in zeros, which torch has for signed integers only with the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number):
    return (int(number) + 2**63) % 2**64 - 2**63
