"""A part of the training split: to see how much data an encoding needs.

The part is a function of the seed and of nothing else, so that all encodings at one seed share it,
and smaller parts lie inside larger ones.
"""

import torch

from liere_cli.data.base import ByteStream, Examples
from liere_cli.utils.seeding import stream


def subset(examples: ByteStream | Examples, fraction: float, seed: int) -> ByteStream | Examples:
    """That share of the items, drawn at random; of text, the bytes from a random place on.

    Text that runs over the end goes on at the beginning, so that there is one seam at most. At
    least one item is kept; a fraction of 1 gives what it was given.
    """
    if fraction >= 1:
        return examples
    kept = max(round(fraction * len(examples)), 1)
    random = stream(seed, "subset")
    if isinstance(examples, ByteStream):
        data = examples.data
        start = int(torch.randint(len(data), (), generator=random))
        over = max(start + kept - len(data), 0)
        return ByteStream(torch.cat((data[start : start + kept], data[:over])))
    chosen = torch.randperm(len(examples), generator=random)[:kept].to(examples.labels.device)
    return Examples(examples.inputs[chosen], examples.labels[chosen], examples.groups[chosen])
