"""Random generators named by what they are for, so that every site is made alone and always the same."""

import hashlib

import numpy as np


def generator(options, *names):
    """NumPy generator that depends on the options' seed and on `names` (any values), and on nothing else."""
    text = "\x1f".join([str(options["seed"]), *(str(name) for name in names)])
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big"))
