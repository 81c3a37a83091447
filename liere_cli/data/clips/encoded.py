"""Clips of videos, decoded each time they are needed.

Shapes: N videos, B of a batch, V views, F frames of a clip, T frames of a video, C channels.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from liere_cli.data.base import Array, Sampled

#: numbers of frames, from the number of frames of a video
Sampler = Callable[[int], Array]
Decoder = Callable[[tuple[int, ...], Sampler], Array]


@dataclass(frozen=True)
class EncodedClips(Sampled):
    """One random clip of each video in training, and fixed views in evaluation.

    Args:
        decoders: of each video, from the grid and the numbers of the frames to uint8 [C, *grid].
        grid: frames, rows, columns.
        stride: frames from one frame of a clip to the next; None: the frames are spread over the
            video.
        view_count: views of each video in evaluation.
    """

    decoders: Sequence[Decoder]
    grid: tuple[int, ...]
    channels: int
    stride: int | None
    view_count: int

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.decoders), self.channels, *self.grid

    @property
    def views(self) -> int:
        return self.view_count

    def random(self, chosen: Tensor, draws: Tensor) -> Tensor:
        samplers = [
            partial(clip_at, frames=self.grid[0], stride=self.stride, start=start)
            for start in draws[:, 0].tolist()
        ]
        return self._decoded(chosen.tolist(), samplers)

    def fixed(self, chosen: Tensor) -> Tensor:
        views = [
            partial(
                view_at, frames=self.grid[0], stride=self.stride, view=view, views=self.view_count
            )
            for view in range(self.view_count)
        ]
        return self._decoded(chosen.repeat_interleave(self.views).tolist(), views * len(chosen))

    def take(self, chosen: Tensor) -> "EncodedClips":
        return replace(self, decoders=[self.decoders[number] for number in chosen.tolist()])

    def _decoded(self, videos: list[int], samplers: Sequence[Sampler]) -> Tensor:
        out = np.empty((len(videos), self.channels, *self.grid), np.uint8)

        def decode(row: int) -> None:
            out[row] = self.decoders[videos[row]](self.grid, samplers[row])

        for _ in _pool().map(decode, range(len(videos))):
            pass
        return torch.from_numpy(out)


def clip_at(count: int, frames: int, stride: int | None, start: float | Fraction) -> Array:
    """The frames of a random clip, int64 [F], ascending.

    Without a stride each frame is drawn from an equal part of the video, all at the same share
    ``start``, in [0, 1), of their parts. With one, the clip begins at that share of the frames at
    which it fits; a video that is shorter has its frames spread over it.
    """
    if stride is None or (frames - 1) * stride >= count:
        return ((np.arange(frames) + float(start)) * count / frames).astype(np.int64)
    room = count - (frames - 1) * stride
    return int(start * room) + np.arange(frames) * stride


def view_at(count: int, frames: int, stride: int | None, view: int, views: int) -> Array:
    """The frames of one of ``views`` clips at equal distances, the centre for one: int64 [F]."""
    return clip_at(count, frames, stride, Fraction(2 * view + 1, 2 * views))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="liere-clips")
