"""Subsets of the training split, to measure how much data an encoding needs.

A subset depends on the seed alone, so that all encodings at one seed share it, and smaller subsets
are contained in larger ones.
"""

from dataclasses import replace

import torch

from liere_cli.data.base import ByteStream, Examples, Sampled
from liere_cli.utils.seeding import stream


def subset(examples: ByteStream | Examples, fraction: float, seed: int) -> ByteStream | Examples:
    """A random share of the items, at least one; for text, the bytes from a random position on.

    Text continues at the beginning after its end. A fraction of 1 returns ``examples``.
    """
    if fraction >= 1:
        return examples
    kept = max(round(fraction * len(examples)), 1)
    random = stream(seed, "subset")
    if isinstance(examples, ByteStream):
        data = examples.data
        start = int(torch.randint(len(data), (), generator=random))
        over = max(start + kept - len(data), 0)
        # a part of a mapped file stays mapped
        part = data[start : start + kept]
        return replace(examples, data=torch.cat((part, data[:over])) if over else part)
    chosen = torch.randperm(len(examples), generator=random)[:kept].to(examples.labels.device)
    inputs = examples.inputs
    taken = inputs.take(chosen) if isinstance(inputs, Sampled) else inputs[chosen]
    return Examples(taken, examples.labels[chosen], examples.groups[chosen])
