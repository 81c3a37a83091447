"""Independent, named random streams that all fan out from one seed.

Common random numbers make small differences decidable: two encodings at one seed share the
initial value of every common weight, the order of the data, augmentation and dropout, because each
draws from a stream of its own name rather than from one shared sequence.
"""

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on ``seed`` and every name, and on nothing else."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A fresh generator for the named stream, on the CPU so that all devices draw alike."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))
