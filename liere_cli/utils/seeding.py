"""Independent, named random streams derived from one seed.

Two encodings at one seed share the initial value of every common weight, the order of the data,
augmentation and dropout, because each is drawn from a stream of its own name rather than from one
shared sequence. These common random numbers reduce the variance of differences.
"""

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed, a function of ``seed`` and the names alone."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A new generator of the named stream, on the CPU so that all devices get equal numbers."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))
