"""Gathers items into a buffer: copies of stored tensors, or decoded by a pool of threads.

Shapes: B gathered items, C channels.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from liere_cli.data.augment.randaugment import randaugment
from liere_cli.data.augment.settings import View
from liere_cli.data.base import Array, Encoded, Examples

#: bytes that are worth another thread when they are only copied
_LARGE = 1 << 20


def gather(examples: Examples, chosen: Tensor, views: Sequence[View] | None, out: Tensor) -> Tensor:
    """Items on the CPU with the numbers ``chosen``, int64 [B], each in the view drawn for it, or in
    all V of its own, written to the first rows of ``out``, uint8 [at least B * V, C, *grid];
    returns these rows.

    Raises LiereError: an item that can't be decoded.
    """
    inputs, each = examples.inputs, 1 if views else examples.views
    rows = out[: len(chosen) * each]
    if isinstance(inputs, Tensor) and views is None:
        return torch.index_select(inputs, 0, chosen, out=rows)
    arrays = rows.numpy()

    def fill(first: int) -> None:
        for row in range(first, len(arrays), workers):
            item, number = divmod(row, each)
            view = None if views is None else views[item]
            if isinstance(inputs, Encoded):
                arrays[row] = inputs.decode(numbers[item], view, number)
            else:
                arrays[row] = seen(inputs[numbers[item]].cpu().numpy(), view)

    # a share of the items for each thread: a task for each costs more than a small image
    numbers, workers = chosen.tolist(), threads()
    jobs = [decoding_pool().submit(fill, first) for first in range(workers)]
    for job in jobs:
        job.result()
    return rows


def seen(pixels: Array, view: View | None) -> Array:
    """What a view shows of decoded pixels, uint8 [3, rows, columns]; they are not cropped."""
    if view is None or view.magnitude is None:
        return pixels
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return np.asarray(randaugment(image, view.magnitude, view.operations)).transpose(2, 0, 1)


def prepares_ahead(examples: Examples, device: torch.device, batch_size: int) -> bool:
    """Whether a thread gathers batches beside the step: where they are decoded, sent to another
    device, or large.
    """
    inputs = examples.inputs
    if isinstance(inputs, Encoded):
        return True
    apart = inputs.device.type == "cpu" and device.type != "cpu"
    return apart or (inputs.device.type == "cpu" and batch_size * inputs[:1].nbytes > _LARGE)


def threads() -> int:
    """Decoding threads: one for each core that this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def decoding_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads(), thread_name_prefix="liere-decode")
